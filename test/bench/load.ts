import { connect, type Socket } from 'node:net'
import { median } from './median.ts'

/**
 * The load. Each connection sends one `tools/call` after another, with arguments of its own, on an
 * MCP session from before the start. It uses raw sockets and a small parser, so that the servers
 * get the machine's time.
 */
export interface LoadOptions {
  readonly url: string
  readonly connections: number
  readonly seconds: number
  readonly warmupSeconds: number
  /** The load ends after this many calls, if it ends before the seconds. */
  readonly calls?: number
  /** Time between two new sessions. If it is long enough, a bridge has another warm child. */
  readonly sessionGapMs: number
  readonly client: Client
}

/** The caller of the load. */
export interface Client {
  /** A modern client has no session, and repeats the session's facts in each request. */
  readonly era: 'legacy' | 'modern'
  readonly headers?: Readonly<Record<string, string>>
  /** The name of the tool to call; `echo` by default. */
  readonly tool?: string
}

export interface LoadResult {
  readonly requests: number
  readonly errors: number
  readonly seconds: number
  /** Milliseconds. */
  readonly p50: number
  readonly p99: number
  /** Milliseconds from `initialize` to the answer of `notifications/initialized`. */
  readonly sessionP50: number
}

interface Answer {
  readonly status: number
  readonly session: string | undefined
  readonly body: string
}

/** One keep-alive connection with at most one open request. */
class Connection {
  readonly #socket: Socket
  readonly #head: string
  #buffer = ''
  #resolve: ((answer: Answer) => void) | undefined
  #reject: ((error: Error) => void) | undefined

  constructor(url: URL, { era, headers = {}, tool = 'echo' }: Client) {
    const lines = Object.entries({
      host: url.host,
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': era === 'legacy' ? '2025-11-25' : '2026-07-28',
      ...(era === 'legacy' ? {} : { 'mcp-method': 'tools/call', 'mcp-name': tool }),
      ...headers,
    })
    const first = `POST ${url.pathname}${url.search} HTTP/1.1\r\n`
    this.#head = first + lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')
    this.#socket = connect({ host: url.hostname, port: Number(url.port), noDelay: true })
    this.#socket.setEncoding('latin1')
    this.#socket.on('data', (text: string) => this.#take(text))
    this.#socket.on('error', (error) => this.#reject?.(error))
    this.#socket.on('close', () => this.#reject?.(new Error('the connection was closed')))
  }

  send(body: string, session: string | undefined): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
      const sessionId = session === undefined ? '' : `mcp-session-id: ${session}\r\n`
      const length = `content-length: ${body.length}\r\n\r\n`
      this.#socket.write(`${this.#head}${sessionId}${length}${body}`)
    })
  }

  end(): void {
    this.#reject = undefined
    this.#socket.destroy()
  }

  #take(text: string): void {
    this.#buffer = this.#buffer === '' ? text : this.#buffer + text
    const headEnd = this.#buffer.indexOf('\r\n\r\n')
    if (headEnd === -1) return
    const head = this.#buffer.slice(0, headEnd).toLowerCase()
    const bodyStart = headEnd + 4
    const length = /content-length: *(\d+)/.exec(head)?.[1]
    const status = Number(head.slice(9, 12))
    let end: number
    if (length !== undefined) end = bodyStart + Number(length)
    else if (head.includes('transfer-encoding: chunked')) {
      const last = this.#buffer.indexOf('0\r\n\r\n', bodyStart)
      if (last === -1) return
      end = last + 5
    } else end = bodyStart
    if (this.#buffer.length < end) return
    const body = this.#buffer.slice(bodyStart, end)
    const session = /mcp-session-id: *(\S+)/i.exec(this.#buffer.slice(0, headEnd))?.[1]
    this.#buffer = this.#buffer.slice(end)
    this.#resolve?.({ status, session, body })
  }
}

const initialize = JSON.stringify({
  jsonrpc: '2.0',
  id: 0,
  method: 'initialize',
  params: {
    protocolVersion: '2025-11-25',
    capabilities: {},
    clientInfo: { name: 'bench', version: '1' },
  },
})
const envelope = `,"_meta":${JSON.stringify({
  'io.modelcontextprotocol/protocolVersion': '2026-07-28',
  'io.modelcontextprotocol/clientCapabilities': {},
  'io.modelcontextprotocol/clientInfo': { name: 'bench', version: '1' },
})}`
const initialized = JSON.stringify({ jsonrpc: '2.0', method: 'notifications/initialized' })

async function openSession(
  connection: Connection,
): Promise<{ session: string | undefined; ms: number }> {
  const start = performance.now()
  const { status, session } = await connection.send(initialize, undefined)
  if (status !== 200) throw new Error(`initialize was answered with ${status}`)
  await connection.send(initialized, session)
  return { session, ms: performance.now() - start }
}

interface Opened {
  readonly connection: Connection
  readonly session: string | undefined
  /** Milliseconds that opening the session took. */
  readonly ms: number
}

/** The clients open sessions in turn, because the time of a new session counts alone. */
async function openInTurn({ url, client, connections, sessionGapMs }: LoadOptions) {
  const opened: Opened[] = []
  for (let index = 0; index < connections; index += 1) {
    const connection = new Connection(new URL(url), client)
    const { session, ms } =
      client.era === 'legacy' ? await openSession(connection) : { session: undefined, ms: 0 }
    opened.push({ connection, session, ms })
    await new Promise((resolve) => setTimeout(resolve, sessionGapMs))
  }
  return opened
}

async function run(options: LoadOptions): Promise<LoadResult> {
  const { client, calls = Number.POSITIVE_INFINITY } = options
  const latencies: number[] = []
  let errors = 0
  let measuring = false
  let over = false
  const opened = await openInTurn(options)

  let enough = (): void => undefined
  const called = new Promise<void>((resolve) => (enough = resolve))
  const loops = opened.map(async ({ connection, session }, who) => {
    for (let count = 1; !over; count += 1) {
      const marker = `${who}-${count}`
      const args = `{"marker":"${marker}","text":"the quick brown fox jumps over the lazy dog"}`
      const meta = client.era === 'legacy' ? '' : envelope
      const body =
        `{"jsonrpc":"2.0","id":${count},"method":"tools/call",` +
        `"params":{"name":"${client.tool ?? 'echo'}","arguments":${args}${meta}}}`
      const start = performance.now()
      try {
        const answer = await connection.send(body, session)
        if (measuring) latencies.push(performance.now() - start)
        if (latencies.length === calls) enough()
        // The load checks a sample closely: it must be the right answer.
        if (answer.status !== 200 || (count % 64 === 1 && !answer.body.includes(marker)))
          errors += 1
      } catch {
        errors += 1
        return
      }
    }
  })

  await new Promise((resolve) => setTimeout(resolve, options.warmupSeconds * 1000))
  process.send?.('start')
  measuring = true
  const start = performance.now()
  await Promise.race([
    called,
    new Promise((resolve) => setTimeout(resolve, options.seconds * 1000)),
  ])
  measuring = false
  const seconds = (performance.now() - start) / 1000
  process.send?.('end')
  over = true
  await Promise.race([Promise.all(loops), new Promise((resolve) => setTimeout(resolve, 2000))])
  for (const { connection } of opened) connection.end()

  latencies.sort((a, b) => a - b)
  const at = (share: number): number =>
    latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))] ?? Number.NaN
  return {
    requests: latencies.length,
    errors,
    seconds,
    p50: at(0.5),
    p99: at(0.99),
    sessionP50: median(opened.map(({ ms }) => ms)),
  }
}

/** Opens sessions and leaves them idle. Gives the number that succeeded. */
async function openMany(url: string, count: number): Promise<number> {
  let opened = 0
  const loops = Array.from({ length: 16 }, async (_, lane) => {
    const connection = new Connection(new URL(url), { era: 'legacy' })
    for (let index = lane; index < count; index += 16) {
      const { session } = await openSession(connection)
      if (session !== undefined) opened += 1
    }
    connection.end()
  })
  await Promise.all(loops)
  return opened
}

process.on('message', (message: LoadOptions | { readonly open: number; readonly url: string }) => {
  const work: Promise<unknown> =
    'open' in message ? openMany(message.url, message.open) : run(message)
  work.then(
    (result) => process.send?.({ result }),
    (error: unknown) => process.send?.({ failure: String(error) }),
  )
})
