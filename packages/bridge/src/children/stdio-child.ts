import { statSync } from 'node:fs'
import { spawn, type ChildProcessByStdio } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { deaf } from '@mcp-gateway/mcp-http'
import { LineFramer, onOneLine } from '@mcp-gateway/protocol'
import { lastWords, newMark } from '@mcp-gateway/warden'
import type { Logger } from 'pino'
import { mostUnread, type Child, type ChildListener, type Said } from './child.ts'
import { Family } from './family.ts'
import { goesOn, LogLines } from './log-lines.ts'
import { ServerLines } from './server-lines.ts'

export interface ChildOptions {
  readonly command: string
  readonly args: readonly string[]
  /** The working directory. Unset: the directory of the bridge. */
  readonly directory?: string | undefined
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly stopGraceMs: number
  readonly maxLineBytes: number
  /** True if `endedBecause` quotes the server's last output. The log always does. */
  readonly tellsLastWords?: boolean
  readonly log: Logger
}

/** Milliseconds. A server that exits closes its pipes a moment before. */
const exitGraceMs = 1000

/**
 * A stdio server as a process, with lines in and out and its errors in the log. Its whole process
 * group ends with it.
 */
export class StdioChild implements Child {
  readonly #options: ChildOptions
  readonly #process: ChildProcessByStdio<Writable, Readable, Readable>
  readonly #family: Family | undefined
  readonly #exit: Promise<void>
  readonly #lastWords: string[] = []
  readonly #lines: ServerLines
  #listener: ChildListener | undefined
  #endedBecause: string | undefined
  #said: Said = 'nothing'
  #cutBecause: string | undefined
  #stopping = false
  #exited = false

  constructor(options: ChildOptions) {
    this.#options = options
    const mark = newMark('MCPGW_CHILD')
    // A process group of its own: `npx` and shells fork the actual server, and all of it must end.
    this.#process = spawn(options.command, options.args, {
      detached: true,
      cwd: options.directory,
      env: { ...options.environment, [mark.name]: mark.value } as NodeJS.ProcessEnv,
      stdio: ['pipe', 'pipe', 'pipe'],
    })

    const { pid } = this.#process
    if (pid !== undefined) this.#family = new Family(pid, mark.text)
    this.#lines = this.#openLines()
    const framer = this.#openFramer()
    const errors = new LogLines((line) => this.#logLine(line))

    this.#exit = this.#whenEnded(() => {
      framer.end()
      errors.end()
      this.#lines.end()
    })

    this.#process.stdout.on('data', (chunk: Buffer) => framer.push(chunk))
    this.#process.stdout.once('end', () => this.#cut('output'))
    // Until a listener is set, the pipe holds back the server's output.
    this.#process.stdout.pause()
    this.#process.stderr.on('data', (chunk: Buffer) => errors.push(chunk))
    this.#process.stdin.on('error', () => this.#cut('input'))
  }

  #openLines(): ServerLines {
    return new ServerLines({
      message: (line, message) => {
        this.#said = 'messages'
        this.#listener?.line(line, message)
      },
      noMessage: (line) => {
        if (this.#said === 'nothing') this.#said = 'text'
        this.#options.log.warn(
          { pid: this.pid, line: Buffer.from(line.subarray(0, 500)).toString() },
          'the server wrote a line to standard output that is no message',
        )
      },
    })
  }

  #openFramer(): LineFramer {
    const { log, maxLineBytes } = this.#options
    return new LineFramer(maxLineBytes, {
      line: (line) => this.#lines.line(line),
      tooLong: (head) => {
        log.warn(
          { pid: this.pid, maxLineBytes },
          'the server wrote a line that is too long; it was dropped',
        )
        this.#lines.tooLong(head)
      },
    })
  }

  /** Resolves once the process has ended and its last output was read. */
  #whenEnded(outputsEnded: () => void): Promise<void> {
    return new Promise((resolve) => {
      this.#process.once('error', (error: NodeJS.ErrnoException) => {
        this.#end(whyNotStarted(this.#options, error))
        resolve()
      })

      // `close`, not `exit`: the child's last output is read first. However, a forked process may
      // hold the outputs open.
      this.#process.once('exit', (code, signal) => {
        const { stdout, stderr } = this.#process
        this.#exited = true
        if (this.#listener !== undefined) stdout.resume()

        // If this process stood still, the time may be over before any read. One turn reads the
        // pending output.
        setTimeout(
          () => setImmediate(() => [stdout, stderr].forEach((output) => output.destroy())),
          200,
        ).unref()

        this.#process.once('close', () => {
          outputsEnded()
          this.#end(this.#cutBecause ?? howEnded(code, signal))
          resolve()
        })
      })
    })
  }

  get pid(): number | undefined {
    return this.#process.pid
  }

  /** The reason why the child has ended, if it has. */
  get endedBecause(): string | undefined {
    return this.#endedBecause
  }

  get said(): Said {
    return this.#said
  }

  /** Resolves when the child has ended. */
  ended(): Promise<void> {
    return this.#exit
  }

  listen(listener: ChildListener): void {
    this.#listener = listener
    if (this.#endedBecause !== undefined)
      queueMicrotask(() => listener.ended(this.#endedBecause ?? ''))
    else this.#process.stdout.resume()
  }

  /** Removes the listener. The next listener gets all later output. */
  unlisten(): void {
    this.#listener = undefined
    this.#process.stdout.pause()
  }

  /**
   * Writes one message as one line. No other code writes to the child, so that a part of a message
   * cannot become a line of its own.
   */
  send(message: Uint8Array): void {
    if (this.unread > mostUnread) {
      this.#cutBecause ??= deaf
      return void this.stop()
    }
    const { stdin } = this.#process
    this.#lines.sent(message)
    stdin.cork()
    stdin.write(onOneLine(message))
    stdin.write('\n')
    stdin.uncork()
  }

  /** Bytes that were sent and that the child has not read. */
  get unread(): number {
    return this.#process.stdin.writableLength
  }

  /** Stops reading, so that the server feels a slow client, until `resume`. */
  pause(): void {
    // After an exit, the rest is no more than a pipe holds.
    if (!this.#exited) this.#process.stdout.pause()
  }

  resume(): void {
    this.#process.stdout.resume()
  }

  /** Ends a server that has closed a pipe but lives on. A server that exits needs no help. */
  #cut(pipe: 'input' | 'output'): void {
    setTimeout(() => {
      if (this.#exited || this.#stopping) return
      this.#cutBecause = `The server closed its standard ${pipe}, so it was ended.`
      void this.stop()
    }, exitGraceMs).unref()
  }

  /**
   * Closes the input, then sends SIGTERM and SIGKILL to all processes of the server. Resolves when
   * the child has ended.
   */
  async stop(): Promise<void> {
    if (!this.#stopping) {
      this.#stopping = true
      // While the child lives, even children that have left its group are found through it.
      this.#family?.look()
      this.#process.stdin.end()
      this.#process.stdout.resume()
      // Many servers end by themselves when their input ends, and may have something to save.
      await Promise.race([
        this.#exit,
        sleep(Math.min(300, this.#options.stopGraceMs), undefined, { ref: false }),
      ])
      this.#signal('SIGTERM')
      await Promise.race([this.#exit, sleep(this.#options.stopGraceMs, undefined, { ref: false })])
      this.#signal('SIGKILL')
    }
    await this.#exit
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.pid === undefined) return
    try {
      process.kill(-this.pid, signal)
    } catch {
      // The group has ended.
    }
    this.#family?.signal(signal)
  }

  #logLine(line: string): void {
    // The rest of a long line would push out earlier lines.
    if (!line.startsWith(goesOn)) this.#lastWords.push(line.slice(0, 500))
    if (this.#lastWords.length > 50) this.#lastWords.shift()
    this.#options.log.info({ pid: this.pid, stderr: line }, 'server')
  }

  #end(how: string): void {
    const words = lastWords(this.#lastWords)
    const reason = words === '' ? how : `${how} It said last: ${words}`
    this.#endedBecause = this.#options.tellsLastWords === false ? how : reason
    if (!this.#stopping || this.#cutBecause !== undefined)
      this.#options.log.warn({ pid: this.pid, reason }, 'the server ended')
    // Ends processes that the server forked and left behind.
    this.#signal('SIGKILL')
    this.#listener?.ended(this.#endedBecause)
  }
}

function howEnded(code: number | null, signal: NodeJS.Signals | null): string {
  return signal === null
    ? `The server exited with code ${code}.`
    : `The server was ended by ${signal}.`
}

/** The system blames the command even if the working directory is at fault. */
function whyNotStarted({ command, directory }: ChildOptions, error: NodeJS.ErrnoException): string {
  if (directory !== undefined && !isDirectory(directory))
    return (
      `The working directory '${directory}' (MCP_CWD) does not exist, ` +
      'or the server may not see it.'
    )
  return error.code === 'ENOENT'
    ? `The command '${command}' does not exist.`
    : `The command '${command}' could not be started: ${error.message}`
}

function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory()
  } catch {
    return false
  }
}
