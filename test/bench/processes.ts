import { spawn, type ChildProcess } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { hasEnded } from '@mcp-gateway/testkit'

/** A process under measurement. */
export class Measured implements AsyncDisposable {
  readonly child: ChildProcess
  output = ''

  constructor(command: readonly string[], environment: Readonly<Record<string, string>>) {
    const [program = '', ...args] = command
    this.child = spawn(program, args, {
      env: { ...process.env, ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    for (const stream of [this.child.stdout, this.child.stderr])
      stream
        ?.setEncoding('utf8')
        .on('data', (text: string) => (this.output = (this.output + text).slice(-20_000)))
  }

  get pid(): number {
    return this.child.pid ?? -1
  }

  async untilListening(port: number): Promise<void> {
    for (let tries = 0; tries < 1500; tries += 1) {
      const open = await new Promise<boolean>((resolve) => {
        const socket = connect({ port, host: '127.0.0.1' }, () => resolve(true))
        socket.once('error', () => resolve(false))
        socket.once('connect', () => socket.destroy())
      })
      if (open) return
      if (hasEnded(this.child)) break
      await sleep(20)
    }
    throw new Error(`did not listen on ${port}: ${this.output.slice(-2000)}`)
  }

  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number> {
    const start = performance.now()
    if (!hasEnded(this.child)) {
      const exit = new Promise((resolve) => this.child.once('exit', resolve))
      this.child.kill(signal)
      await Promise.race([exit, sleep(10_000, undefined, { ref: false })])
    }
    const ms = performance.now() - start
    try {
      process.kill(-this.pid, 'SIGKILL')
    } catch {
      // All processes of the group have ended.
    }
    return ms
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end()
  }
}

/** Microseconds of processor time of a process (proc(5): utime and stime in ticks of 10 ms). */
export function cpuMicros(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10_000
}

/** Ids of the children of a process whose command line holds a text. */
export function childrenOf(parent: number, text: string): number[] {
  return readdirSync('/proc').flatMap((name) => {
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8')
      const isChild = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1] === String(parent)
      return isChild && readFileSync(`/proc/${name}/cmdline`, 'utf8').includes(text)
        ? [Number(name)]
        : []
    } catch {
      return []
    }
  })
}

/** Resident memory in MB. */
export function rssMb(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024
}
