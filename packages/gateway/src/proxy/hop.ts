import { createHash, createHmac, hkdfSync, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Pool, type Dispatcher } from 'undici'
import { GatewayError } from '../core/errors.ts'
import type { Principal } from '../core/principal.ts'

export interface HopOptions {
  /** Keys of 32 bytes that all gateway processes share; the first signs, all verify. */
  readonly keys: readonly Buffer[]
  /** How this process is called by the others. */
  readonly self: string
  /** Where the others listen, by their names. */
  readonly peers: Readonly<Record<string, string>>
  readonly now: () => number
}

/** What a peer says of a request that it hands over. */
export interface HandedOver {
  readonly principal: Principal
  /** @throws GatewayError `unauthenticated` when the body is not the one that was handed over */
  checkBody(body: Buffer | null): void
}

/** The header by which one gateway process hands a request to the one that holds its state. */
export const hopHeader = 'x-mcpgw-hop'

const validMs = 60_000
/** What the owner needs to know of the client's request; the rest ended at the first process. */
const passedOn = ['accept', 'content-type', 'host', 'last-event-id', 'mcp-session-id', 'mcp-protocol-version', 'mcp-method', 'mcp-name']

/**
 * The internal hop: translated sessions and parked calls live in one process, and a request for them may reach another. It is signed with
 * a key that only gateways have, over method, address, time, caller and body, so that nothing else can act for a caller.
 */
export class Hop implements AsyncDisposable {
  readonly self: string
  readonly #options: HopOptions
  readonly #keys: readonly Buffer[]
  readonly #pools = new Map<string, Pool>()

  constructor(options: HopOptions) {
    this.#options = options
    this.self = options.self
    this.#keys = options.keys.map((key) => Buffer.from(hkdfSync('sha256', key, '', 'mcp-gateway hop v1', 32)))
  }

  /** The caller for whom a peer sends a request; undefined when no peer sends it. @throws GatewayError `unauthenticated` */
  open(request: IncomingMessage): HandedOver | undefined {
    const header = request.headers[hopHeader]
    if (header === undefined) return undefined
    const [time = '', who = '', digest = '', signature = ''] = String(header).split('.')
    const given = Buffer.from(signature, 'base64url')
    const fits = this.#keys.some((key) => {
      const wanted = sign(key, [request.method ?? '', request.url ?? '', time, who, digest])
      return given.length === wanted.length && timingSafeEqual(given, wanted)
    })
    if (!fits || Math.abs(this.#options.now() - Number(time)) > validMs) throw forged()
    return {
      principal: JSON.parse(Buffer.from(who, 'base64url').toString()) as Principal,
      checkBody: (body) => {
        if (digestOf(body) !== digest) throw forged()
      },
    }
  }

  /**
   * Hands a request to the process that owns its state, and streams the answer back. `failed` when that process is not there, of which
   * nothing has been written to the client.
   */
  forward(
    owner: string,
    {
      request,
      response,
      body,
      principal,
    }: { request: IncomingMessage; response: ServerResponse; body: Buffer | null; principal: Principal },
    failed: () => void,
  ): void {
    const address = this.#options.peers[owner]
    const [key] = this.#keys
    if (address === undefined || key === undefined) return failed()
    const { method = '', url = '' } = request
    const parts = [String(this.#options.now()), Buffer.from(JSON.stringify(principal)).toString('base64url'), digestOf(body)]
    const headers: Record<string, string> = { [hopHeader]: [...parts, sign(key, [method, url, ...parts]).toString('base64url')].join('.') }
    for (const [name, value] of Object.entries(request.headers))
      if (passedOn.includes(name) || name.startsWith('mcp-param-')) headers[name] = String(value)
    this.#pool(address).dispatch(
      { method: method as Dispatcher.HttpMethod, path: url, headers, body, headersTimeout: 0, bodyTimeout: 0 },
      new HopExchange(response, failed),
    )
  }

  #pool(address: string): Pool {
    let pool = this.#pools.get(address)
    if (pool === undefined) {
      pool = new Pool(address, { connections: null, connect: { timeout: 2000 }, keepAliveTimeout: 4000 })
      this.#pools.set(address, pool)
    }
    return pool
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#pools.values()].map((pool) => pool.destroy()))
  }
}

class HopExchange implements Dispatcher.DispatchHandler {
  readonly #response: ServerResponse
  readonly #failed: () => void
  #abort: ((reason?: Error) => void) | undefined
  #gone = false

  constructor(response: ServerResponse, failed: () => void) {
    this.#response = response
    this.#failed = failed
    response.once('close', () => {
      this.#gone = true
      this.#abort?.(new Error('the client has gone'))
    })
  }

  onConnect(abort: (reason?: Error) => void): void {
    this.#abort = abort
    if (this.#gone) abort(new Error('the client has gone'))
  }

  onHeaders(status: number, raw: Buffer[], resume: () => void): boolean {
    if (status < 200) return true
    const headers: string[] = []
    for (let index = 0; index < raw.length; index += 2) {
      const name = String(raw[index])
      if (!/^(connection|keep-alive|transfer-encoding|date)$/i.test(name)) headers.push(name, (raw[index + 1] as Buffer).toString('latin1'))
    }
    this.#response.on('drain', resume)
    this.#response.writeHead(status, headers)
    this.#response.write(nothing)
    return true
  }

  onData(chunk: Buffer): boolean {
    return this.#response.write(chunk)
  }

  onComplete(): void {
    this.#response.end()
  }

  onError(): void {
    if (this.#gone) return
    if (this.#response.headersSent) this.#response.destroy()
    else this.#failed()
  }
}

const nothing = Buffer.alloc(0)

function sign(key: Buffer, parts: readonly string[]): Buffer {
  return createHmac('sha256', key).update(parts.join('\n')).digest()
}

function digestOf(body: Buffer | null): string {
  return createHash('sha256')
    .update(body ?? '')
    .digest('base64url')
}

function forged(): GatewayError {
  return new GatewayError('unauthenticated', { detail: 'The request was not handed over by a gateway.' })
}
