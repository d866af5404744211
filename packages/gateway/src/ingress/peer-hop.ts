import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Relay } from '@mcp-gateway/mcp-http'
import { Pool, type Dispatcher } from 'undici'
import { GatewayError, unknownSession } from '../core/errors.ts'
import { headerFilter } from '../core/header-table.ts'
import type { PeerDirectory } from '../core/peers.ts'
import type { Principal } from '../core/principal.ts'
import { deriveKey } from '../crypto/keys.ts'
import { requestIdOf } from '../http/edge.ts'
import type { Endpoint } from '../http/server.ts'
import { Once } from '../lib/once.ts'
import { monotonicNow } from '../lib/clock.ts'

export interface HopOptions {
  /** Keys of 32 bytes that all gateway processes share, at least one; the first signs, all verify. */
  readonly keys: readonly Buffer[]
  /** How this process is called by the others. */
  readonly self: string
  /** Where the others listen. A request goes to nobody else. */
  readonly peers: readonly PeerDirectory[]
  /** Milliseconds since the epoch, which signatures carry. */
  readonly now: () => number
  /** Milliseconds that never jump, for the age of what is remembered. */
  readonly monotonicNow?: () => number
}

/** What a peer says of a request that it hands over. */
export interface HandedOver {
  readonly principal: Principal
  /** @throws GatewayError `unauthenticated` when the body is not the one that was handed over */
  checkBody(body: Buffer | null): void
}

/** The header by which one gateway process hands a request to the one that holds its state. */
export const hopHeader = 'x-mcpgw-hop'

/** To whom a signature speaks that any process of the cluster may take, as none is called so. */
export const anyPeer = '*'

/** How far the clocks may be apart, and how long a request may be on its way. */
const validMs = 30_000
/** A request as a signature speaks of it. */
export interface SignedRequest {
  /** Who is to take it: the name of a process, or `anyPeer`. */
  readonly to: string
  readonly method: string
  readonly url: string
  /** In lower case; those that decide are signed. */
  readonly headers: Readonly<Record<string, string>>
  readonly principal: Principal
  readonly body: Buffer | null
}

/** The part of an endpoint that serves peers: without the mark of one, there is nothing. */
export function forPeers(endpoint: Endpoint): Endpoint {
  return {
    handles: (url, request) =>
      request.headers[hopHeader] !== undefined && endpoint.handles(url, request),
    handle: (request, response) => endpoint.handle(request, response),
  }
}

/**
 * The internal hop: translated sessions and parked calls live in one process, and a request for them may reach another. It is signed with
 * a key that only gateways have, over all that decides what it does: for which process, method, address, headers, caller, body; and it
 * counts once, so that who sees it can neither change it nor send it again.
 */
export class Hop implements AsyncDisposable {
  readonly self: string
  readonly #options: HopOptions
  readonly #keys: readonly Buffer[]
  /** By origin. */
  readonly #pools = new Map<string, Pool>()
  readonly #stopListening: readonly (() => void)[]
  readonly #sender = randomBytes(9).toString('base64url')
  #sent = 0
  /** From the earliest moment at which a request may come to the latest. */
  readonly #once = new Once(2 * validMs)
  /** What was taken by a process before this one is not remembered here. */
  readonly #since: number
  readonly #begunAt: number
  readonly #monotonicNow: () => number

  constructor(options: HopOptions) {
    if (options.keys.length === 0)
      throw new Error('The hop between gateways needs at least one key.')
    this.#options = options
    this.self = options.self
    this.#since = options.now()
    this.#monotonicNow = options.monotonicNow ?? monotonicNow
    this.#begunAt = this.#monotonicNow()
    this.#keys = options.keys.map((key) => deriveKey(key, 'peerHop'))
    this.#stopListening = options.peers.map((directory) =>
      directory.onChange(() => this.#forgetGone()),
    )
  }

  /** The caller for whom a peer sends a request; undefined when no peer sends it. @throws GatewayError `unauthenticated` */
  open(request: IncomingMessage): HandedOver | undefined {
    const header = request.headers[hopHeader]
    if (header === undefined) return undefined
    const [to = '', time = '', nonce = '', who = '', digest = '', signature = ''] =
      String(header).split('.')
    const age = this.#monotonicNow() - this.#begunAt
    const at = Number(time)
    if (
      (to !== this.self && to !== anyPeer) ||
      // Later, no signature of that time is valid any more, unless the clock was set back since the
      // start.
      (age < 2 * validMs && at < this.#since) ||
      !(Math.abs(this.#options.now() - at) <= validMs)
    )
      throw forged()
    const signed = signedText(
      [to, request.method ?? '', request.url ?? '', time, nonce, who, digest],
      decidingHeaders(request.rawHeaders),
    )
    const given = Buffer.from(signature, 'base64url')
    const fits = this.#keys.some((key) => {
      const wanted = sign(key, signed)
      return given.length === wanted.length && timingSafeEqual(given, wanted)
    })
    if (!fits || !this.#once.passes(nonce, age)) throw forged()
    return {
      principal: JSON.parse(Buffer.from(who, 'base64url').toString()) as Principal,
      checkBody: (body) => {
        if (digestOf(body) !== digest) throw forged()
      },
    }
  }

  /**
   * Hands a request to the process that owns its state, and streams the answer back. `failed` when that process is not there, of which
   * nothing has been written to the client; `unsent` when the request cannot have run either.
   */
  forward(
    owner: string,
    {
      request,
      response,
      body,
      principal,
    }: {
      request: IncomingMessage
      response: ServerResponse
      body: Buffer | null
      principal: Principal
    },
    failed: (unsent: boolean) => void,
  ): void {
    const peer = this.#options.peers
      .map((directory) => directory.get(owner))
      .find((found) => found !== undefined)
    if (peer === undefined) return failed(true)
    const { method = '', url = '' } = request
    const headers: Record<string, string> = { 'x-request-id': requestIdOf(request) }
    for (const [name, value] of Object.entries(request.headers))
      if (isPassedOn(name)) headers[name] = String(value)
    headers[hopHeader] = this.sign({ to: owner, method, url, headers, principal, body })
    this.#pool(peer.origin).dispatch(
      {
        method: method as Dispatcher.HttpMethod,
        path: url,
        headers,
        body,
        headersTimeout: 0,
        bodyTimeout: 0,
      },
      answerTo(response, failed),
    )
  }

  /** The header's value for a request that this process makes of another. */
  sign({ to, method, url, headers, principal, body }: SignedRequest): string {
    const time = String(this.#options.now())
    const nonce = `${this.#sender}${(this.#sent += 1).toString(36)}`
    const who = Buffer.from(JSON.stringify(principal)).toString('base64url')
    const digest = digestOf(body)
    const signed = signedText(
      [to, method, url, time, nonce, who, digest],
      decidingHeaders(Object.entries(headers).flat()),
    )
    return [
      to,
      time,
      nonce,
      who,
      digest,
      sign(this.#keys[0] as Buffer, signed).toString('base64url'),
    ].join('.')
  }

  #pool(origin: string): Pool {
    let pool = this.#pools.get(origin)
    if (pool === undefined) {
      pool = new Pool(origin, {
        connections: null,
        connect: { timeout: 2000 },
        keepAliveTimeout: 4000,
      })
      this.#pools.set(origin, pool)
    }
    return pool
  }

  /** Of one that is gone, answers are waited for in vain: its machine may be gone with it, so that no connection breaks off. */
  #forgetGone(): void {
    const present = new Set(
      this.#options.peers.flatMap((directory) =>
        [...directory.entries()].map(([, { origin }]) => origin),
      ),
    )
    for (const [origin, pool] of this.#pools) {
      if (present.has(origin)) continue
      this.#pools.delete(origin)
      void pool.destroy()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const stop of this.#stopListening) stop()
    await Promise.all([...this.#pools.values()].map((pool) => pool.destroy()))
  }
}

/** The answer of a peer. `failed` when there is none, and the client has heard nothing. */
function answerTo(response: ServerResponse, failed: (unsent: boolean) => void): Relay {
  return new Relay(response, {
    head(status, raw) {
      if (status !== 401) return withoutHop(raw)
      // The peer takes nothing from here: its keys, its name or its clock are others. The client's
      // own credential was good, so that this is no answer for it.
      failed(true)
      return undefined
    },
    failed: (_error, stage) => {
      if (stage !== 'begun') failed(stage === 'unsent')
    },
  })
}

/** The headers of a peer's answer without those of the connection. */
function withoutHop(raw: readonly Buffer[]): string[] {
  const headers: string[] = []
  for (let index = 0; index < raw.length; index += 2) {
    const name = String(raw[index])
    if (!/^(connection|keep-alive|transfer-encoding|date)$/i.test(name))
      headers.push(name, (raw[index + 1] as Buffer).toString('latin1'))
  }
  return headers
}

/** What the owner needs to know of the client's request; the rest ends at the first process. */
const toPeer = headerFilter('peer')

function isPassedOn(name: string): boolean {
  return toPeer(name) === 'pass'
}

/** Of a raw list of names and values; `host` is the client's, or the other process's own, and decides nothing any more. */
function decidingHeaders(raw: readonly string[]): string[] {
  const found: string[] = []
  for (let index = 0; index < raw.length; index += 2) {
    const name = (raw[index] as string).toLowerCase()
    if (name === 'x-request-id' || (name !== 'host' && isPassedOn(name)))
      found.push(`${name}:${raw[index + 1]}`)
  }
  return found.sort()
}

/** Neither names, methods, addresses nor headers have line breaks in them, and the first parts are always as many. */
function signedText(parts: readonly string[], headers: readonly string[]): string {
  return [...parts, ...headers].join('\n')
}

function sign(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}

function digestOf(body: Buffer | null): string {
  return createHash('sha256')
    .update(body ?? '')
    .digest('base64url')
}

function forged(): GatewayError {
  return unsigned('The request was not handed over by a gateway.')
}

/**
 * The answer to a request whose process did not answer. One that may have run gets no 404, upon
 * which clients begin again.
 */
export function ownerFailed(unsent: boolean): GatewayError {
  if (unsent) return unknownSession()
  return new GatewayError('upstream_failed', {
    detail: 'The gateway process that holds the state broke off. The request may have run.',
  })
}

/** The refusal of what no gateway has signed; with a challenge, as each 401 has one (RFC 9110 section 15.5.2). */
export function unsigned(detail: string): GatewayError {
  return new GatewayError('unauthenticated', { detail, headers: { 'www-authenticate': 'Bearer' } })
}
