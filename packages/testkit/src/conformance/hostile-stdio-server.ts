import { once } from 'node:events'
import { createInterface } from 'node:readline'
import {
  everyByte,
  handshake,
  isCommand,
  misbehave,
  modernAlone,
  OpenQuestions,
  readManners,
  readRequest,
  writeApart,
  type Exchange,
  type HostileRequest,
} from './hostile-behaviours.ts'

/**
 * The hostile server on stdio. The tool names the broken rule. Any tool takes `framing`: bytes,
 * crlf, blank (empty lines around), noise (text between messages), glued (two in a line). `--probe
 * NAME` chooses the `server/discover` answer. `--modern-only` refuses legacy clients.
 */
const { probe, modernOnly } = readManners()
const questions = new OpenQuestions()

/** Messages of several calls stay in order, even while one is written byte by byte. */
let written = Promise.resolve()

function write(bytes: Buffer, apart = false): Promise<void> {
  written = written.then(async () => {
    if (apart) await writeApart((piece) => void process.stdout.write(piece), everyByte(bytes))
    else if (!process.stdout.write(bytes)) await once(process.stdout, 'drain')
  })
  return written
}

createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY }).on(
  'line',
  (line) => {
    const message = readRequest(line)
    if (message?.id === undefined) return
    if (message.method === undefined) return questions.answer(message.id, line)
    if (modernOnly && !message.modern)
      return void write(Buffer.from(`${modernAlone(message.id)}\n`))
    if (isCommand(message)) return void misbehave(message, exchangeFor(message))
    if (message.method === 'server/discover' && probe !== undefined) {
      if (probe.body !== undefined) void write(Buffer.from(`${probe.body(message.id)}\n`))
      return
    }

    const result = handshake(message)
    const outcome =
      result === undefined
        ? '"error":{"code":-32601,"message":"Method not found"}'
        : `"result":${result}`

    void write(Buffer.from(`{"jsonrpc":"2.0","id":${message.id},${outcome}}\n`))
  },
)

function exchangeFor(message: HostileRequest): Exchange {
  const named = message.arguments['framing']
  const framing = typeof named === 'string' ? named : ''
  const exchange: Exchange = {
    id: message.id ?? 'null',
    progressToken: message.progressToken,
    arguments: message.arguments,
    modern: message.modern,
    send: (data) => write(framed(Buffer.from(data), framing), framing === 'bytes'),
    raw: (bytes) => write(Buffer.from(bytes)),
    async ask(id, method, params) {
      const answer = questions.next(id)
      await exchange.send(`{"jsonrpc":"2.0","id":${id},"method":"${method}","params":${params}}`)
      return answer
    },
    // The pipe stays open for other calls.
    end: () => undefined,
    cut: () => process.exit(1),
  }

  return exchange
}

function framed(message: Buffer, framing: string): Buffer {
  const line = (before: string, after: string): Buffer =>
    Buffer.concat([Buffer.from(before), message, Buffer.from(after)])
  switch (framing) {
    case 'crlf':
      return line('', '\r\n')
    case 'blank':
      return line('\n\n \n', '\n\n')
    case 'noise':
      return line('Listening…\n[1mdebug[0m\n', '\nDone.\n')
    case 'glued':
      return line('', `${message.toString()}\n`)
    default:
      return line('', '\n')
  }
}
