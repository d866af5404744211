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
 * A streamable HTTP server that breaks the rule that a tool names. Any tool takes the arguments
 * that `HttpExchange` reads. For switches, see the stdio server.
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
  if (isCommand(message)) return misbehave(message, new HttpExchange(response, message, session))

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

/** An exchange over the response to a POST, or over the stream by which the client resumes it. */
class HttpExchange implements Exchange {
  readonly id: string
  readonly progressToken: string | undefined
  readonly arguments: HostileRequest['arguments']
  readonly modern: boolean
  readonly #post: ServerResponse
  readonly #session: Session | undefined
  /** Argument `framing`: bytes, crlf, cr, lines, extras or named. */
  readonly #framing: string
  /** Argument `json`: one body in place of an event stream. */
  readonly #asJson: boolean
  #target: Promise<ServerResponse> | undefined
  #began = false

  constructor(post: ServerResponse, message: HostileRequest, session: Session | undefined) {
    this.id = message.id ?? 'null'
    this.progressToken = message.progressToken
    this.arguments = message.arguments
    this.modern = message.modern
    this.#post = post
    this.#session = session
    this.#framing = this.#textArgument('framing') ?? ''
    this.#asJson = message.arguments['json'] === true
  }

  async send(message: string | Buffer): Promise<void> {
    const bytes = Buffer.from(message)
    await this.#write([this.#asJson ? bytes : framed(bytes, this.#framing)])
  }

  async raw(bytes: string | Buffer): Promise<void> {
    const start = this.#began || this.#asJson ? '' : 'data: '
    await this.#write([Buffer.from(start), Buffer.from(bytes)])
    this.#began = true
  }

  /** Argument `on: "get"`: asks on the GET stream. */
  async ask(id: string, method: string, params: string): Promise<string> {
    const answer = questions.next(keyOf(this.#session, id))
    const question = `{"jsonrpc":"2.0","id":${id},"method":"${method}","params":${params}}`

    if (this.arguments['on'] === 'get')
      this.#session?.stream?.write(framed(Buffer.from(question), this.#framing))
    else await this.send(question)
    return answer
  }

  end(): void {
    void this.#response().then((response) => response.end())
  }

  cut(): void {
    // Earlier writes must leave the process first.
    setTimeout(() => this.#post.socket?.destroy(), 50)
  }

  #textArgument(name: string): string | undefined {
    const value = this.arguments[name]
    return typeof value === 'string' ? value : undefined
  }

  #numberArgument(name: string): number | undefined {
    const value = this.arguments[name]
    return typeof value === 'number' ? value : undefined
  }

  async #write(pieces: Iterable<Buffer>): Promise<void> {
    const response = await this.#response()
    if (this.#framing === 'bytes')
      return writeApart((piece) => void response.write(piece), flattened(pieces))
    for (const piece of pieces) if (!response.write(piece)) await drained(response)
  }

  /** The response that carries the messages: the POST's, or the one of the client's later GET. */
  #response(): Promise<ServerResponse> {
    this.#target ??= this.#begin()
    return this.#target
  }

  /**
   * Arguments `status`, `contentType`, and `retry`: milliseconds after which a GET with
   * `Last-Event-ID` gets the rest.
   */
  #begin(): Promise<ServerResponse> {
    const usual = this.#asJson ? 'application/json' : 'text/event-stream'
    this.#post.writeHead(this.#numberArgument('status') ?? 200, {
      'content-type': this.#textArgument('contentType') ?? usual,
    })
    this.#post.flushHeaders()

    const retry = this.#numberArgument('retry')
    return retry === undefined || this.#session === undefined
      ? Promise.resolve(this.#post)
      : closeEarly(this.#post, this.#session, retry)
  }
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
