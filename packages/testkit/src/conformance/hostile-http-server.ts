import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
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
  type ProbeReply,
} from './hostile-behaviours.ts'

/**
 * A streamable HTTP server that breaks the rule that a tool names. Any tool takes `framing` (bytes,
 * crlf, cr, lines, extras, named), `json` (one body), `contentType`, `status`, `retry` (ms after
 * which a GET with `Last-Event-ID` gets the rest) and `on: "get"` (asks on the GET stream). For
 * switches, see stdio.
 */
const { probe, modernOnly } = readManners()
const { HOST = '127.0.0.1', PORT = '0' } = process.env

/** Every character that a session id may hold, so that each id tests them all. */
const visible = Array.from({ length: 0x7e - 0x21 + 1 }, (_, index) =>
  String.fromCharCode(0x21 + index),
).join('')

interface Session {
  readonly id: string
  /** The open GET stream. */
  stream: ServerResponse | undefined
  /** Streams that were closed early and wait for their clients, by event id. */
  readonly polled: Map<string, (response: ServerResponse) => void>
}

const sessions = new Map<string, Session>()
const questions = new OpenQuestions()
let count = 0

const http = createServer((request, response) => {
  response.on('error', () => undefined)
  request.socket.setNoDelay(true)
  handle(request, response).catch(() => response.destroy())
})

async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const header = request.headers['mcp-session-id']
  const session = typeof header === 'string' ? sessions.get(header) : undefined
  if (header !== undefined && session === undefined) return void response.writeHead(404).end()
  if (request.method === 'GET') return openStream(request, response, session)
  if (request.method === 'DELETE')
    return void response.writeHead(sessions.delete(session?.id ?? '') ? 200 : 405).end()

  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  const source = Buffer.concat(chunks).toString()

  const message = readRequest(source)
  if (message === undefined) return void response.writeHead(400).end()
  if (message.method === undefined || message.id === undefined) {
    if (message.id !== undefined) questions.answer(keyOf(session, message.id), source)
    return void response.writeHead(202).end()
  }
  if (modernOnly && !message.modern)
    return answerProbe(response, message.id, { status: 400, body: modernAlone })
  if (isCommand(message)) return misbehave(message, exchangeOver(response, message, session))

  if (message.method === 'server/discover' && probe !== undefined)
    return answerProbe(response, message.id, probe)

  answerProperly(response, message)
}

const keyOf = (session: Session | undefined, id: string): string => `${session?.id ?? ''} ${id}`

function answerProbe(
  response: ServerResponse,
  id: string,
  { status, contentType = 'application/json', body }: ProbeReply,
): void {
  if (body === undefined) return
  const challenge = status === 401 ? { 'www-authenticate': 'Bearer realm="hostile"' } : {}
  response.writeHead(status, { 'content-type': contentType, ...challenge }).end(body(id))
}

function answerProperly(response: ServerResponse, message: HostileRequest): void {
  const result = handshake(message)
  const headers: Record<string, string> = { 'content-type': 'application/json' }
  if (result === undefined) {
    response.writeHead(message.modern ? 404 : 200, headers)
    return void response.end(
      `{"jsonrpc":"2.0","id":${message.id},"error":{"code":-32601,"message":"Method not found"}}`,
    )
  }
  if (message.method === 'initialize') {
    count += 1
    const session = { id: `${visible}${count}`, stream: undefined, polled: new Map() }
    sessions.set(session.id, session)
    headers['mcp-session-id'] = session.id
  }
  response.writeHead(200, headers).end(`{"jsonrpc":"2.0","id":${message.id},"result":${result}}`)
}

function openStream(
  request: IncomingMessage,
  response: ServerResponse,
  session: Session | undefined,
): void {
  if (session === undefined) return void response.writeHead(405).end()
  response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders()
  const resumed = session.polled.get(String(request.headers['last-event-id']))
  if (resumed !== undefined) return resumed(response)
  session.stream = response
  response.once('close', () => {
    if (session.stream === response) session.stream = undefined
  })
}

function exchangeOver(
  post: ServerResponse,
  message: HostileRequest,
  session: Session | undefined,
): Exchange {
  const { arguments: options } = message
  const framing = typeof options['framing'] === 'string' ? options['framing'] : ''
  const asJson = options['json'] === true
  const status = typeof options['status'] === 'number' ? options['status'] : 200

  const contentType =
    typeof options['contentType'] === 'string'
      ? options['contentType']
      : asJson
        ? 'application/json'
        : 'text/event-stream'

  /** The response that carries the messages: the POST's, or the one of the client's later GET. */
  let current: Promise<ServerResponse> | undefined

  const target = (): Promise<ServerResponse> => {
    if (current !== undefined) return current
    post.writeHead(status, { 'content-type': contentType })
    post.flushHeaders()
    current =
      typeof options['retry'] === 'number' && session !== undefined
        ? closeEarly(post, session, options['retry'])
        : Promise.resolve(post)

    return current
  }

  const write = async (pieces: Iterable<Buffer>): Promise<void> => {
    const response = await target()
    if (framing === 'bytes')
      return writeApart((piece) => void response.write(piece), flattened(pieces))
    for (const piece of pieces) if (!response.write(piece)) await drained(response)
  }

  let began = false

  const exchange: Exchange = {
    id: message.id ?? 'null',
    progressToken: message.progressToken,
    arguments: options,
    modern: message.modern,
    send: (data) => write(asJson ? [Buffer.from(data)] : [framed(Buffer.from(data), framing)]),
    async raw(bytes) {
      await write([Buffer.from(began || asJson ? '' : 'data: '), Buffer.from(bytes)])
      began = true
    },
    async ask(id, method, params) {
      const answer = questions.next(keyOf(session, id))
      const question = `{"jsonrpc":"2.0","id":${id},"method":"${method}","params":${params}}`
      if (options['on'] === 'get') session?.stream?.write(framed(Buffer.from(question), framing))
      else await exchange.send(question)
      return answer
    },
    end: () => void target().then((response) => response.end()),
    // Earlier writes must leave the process first.
    cut: () => void setTimeout(() => post.socket?.destroy(), 50),
  }

  return exchange
}

/** Waits until more can be written. Rejects once the client has gone. */
async function drained(response: ServerResponse): Promise<void> {
  if (response.destroyed) throw new Error('The client has gone')
  const settled = new AbortController()
  const closed = once(response, 'close', settled).then(() =>
    Promise.reject(new Error('The client has gone')),
  )
  await Promise.race([once(response, 'drain', settled), closed]).finally(() => settled.abort())
}

/**
 * Sends an event id, closes the stream, and resolves with the stream that the client then opens.
 */
function closeEarly(
  post: ServerResponse,
  session: Session,
  retry: number,
): Promise<ServerResponse> {
  count += 1
  const event = `event/${count}`
  post.end(`id: ${event}\nretry: ${retry}\ndata: \n\n`)
  return new Promise((resolve) => session.polled.set(event, resolve))
}

/** One message as a server-sent event, in a form that the standard allows, or in an illegal one. */
function framed(message: Buffer, framing: string): Buffer {
  const event = (before: string, after: string): Buffer =>
    Buffer.concat([Buffer.from(before), message, Buffer.from(after)])
  switch (framing) {
    case 'crlf':
      return event('event: message\r\ndata: ', '\r\n\r\n')
    case 'cr':
      return event('event: message\rdata: ', '\r\r')
    case 'lines':
      return Buffer.from(`data:${message.toString().replaceAll(',"', ',\ndata:"')}\n\n`)
    case 'extras':
      return event(
        '\uFEFF: a comment\nunknown: field\nid: 1\nretry: soon\ndata\n\nevent: message\ndata: ',
        '\n\n: bye\n\n',
      )
    case 'named':
      return event('event: surprise\ndata: ', '\n\n')
    default:
      return event('data: ', '\n\n')
  }
}

function* flattened(pieces: Iterable<Buffer>): Generator<Buffer> {
  for (const piece of pieces) yield* everyByte(piece)
}

http.listen(Number(PORT), HOST, () =>
  console.log(`http://${HOST}:${(http.address() as AddressInfo).port}/mcp`),
)
process.once('SIGTERM', () => process.exit(0))
