import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Relay } from '@mcp-gateway/mcp-http'
import { Pool, type Dispatcher } from 'undici'
import { GatewayError, unknownSession } from '../core/errors.ts'
import { headerFilter } from '../core/header-table.ts'
import type { Peer, PeerDirectory } from '../core/directories/peers.ts'
import type { Principal } from '../core/principal.ts'
import { deriveKey } from '../crypto/keys.ts'
import { requestIdOf } from '../http/edge.ts'
import type { Endpoint } from '../http/server.ts'
import { Once } from '../lib/once.ts'
import { monotonicNow } from '../lib/clock.ts'
import { isRepeatable } from './body.ts'

export interface HopOptions {
  /**
   * Keys of 32 bytes that all gateway processes share, at least one. The first signs, all verify.
   */
  readonly keys: readonly Buffer[]
  /** The name of this process among the gateways. */
  readonly self: string
  /** The addresses at which the other processes listen. A request goes to no other address. */
  readonly peers: readonly PeerDirectory[]
  /** Milliseconds since the epoch, for signatures. */
  readonly now: () => number
  /** Milliseconds that never jump, for the age of remembered nonces. */
  readonly monotonicNow?: () => number
  /** So long a process that leaves may take to answer. The calls of a drained one end within it. */
  readonly graceMs?: number
}

/** A peer's signed statement about a request that it hands over. */
export interface HandedOver {
  readonly principal: Principal
  /** @throws GatewayError `unauthenticated` if the body is not the one that the peer signed */
  checkBody(body: Buffer | null): void
}

/** The parts of an exchange that a peer needs to go on with it. */
export interface ForHandOver {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly body: Buffer | null
  readonly principal: Principal
}

/** The header by which one gateway process hands a request to the one that holds its state. */
export const hopHeader = 'x-mcpgw-hop'

/** The addressee of a signature that any process may accept. No process has this name. */
export const anyPeer = '*'

/**
 * So long a connection waits for its next request. Less than `edge.drainDelaySeconds` of a cluster,
 * so that a process that stops closes no connection on which a request is under way.
 */
const idleMs = 2000

/** Limit for the difference of two clocks plus the way of a request. */
const validMs = 30_000

/** The parts that a signature covers: addressee, method, address, headers, caller and body. */
export interface SignedRequest {
  /** The addressee: the name of a process, or `anyPeer`. */
  readonly to: string
  readonly method: string
  readonly url: string
  /** Names in lower case. The signature covers the headers that decide. */
  readonly headers: Readonly<Record<string, string>>
  readonly principal: Principal
  readonly body: Buffer | null
}

/**
 * The part of an endpoint that serves peers. It does not exist for requests without the hop header.
 */
export function forPeers(endpoint: Endpoint): Endpoint {
  return {
    take: (request, response) =>
      request.headers[hopHeader] !== undefined && endpoint.take(request, response),
  }
}

/**
 * Hands requests to the process that holds their session or parked call. A signature covers all
 * that decides and counts once, so nobody without the gateways' key can make, change or replay it.
 */
export class Hop implements AsyncDisposable {
  readonly self: string
  readonly #options: HopOptions
  readonly #keys: readonly Buffer[]
  /** By origin. */
  readonly #pools = new Map<string, Pool>()
  /** Pools to processes that leave, until their last request has ended. */
  readonly #leaving = new Set<Pool>()
  readonly #stopListening: readonly (() => void)[]
  readonly #sender = randomBytes(9).toString('base64url')
  #sent = 0
  /** A nonce is remembered from the earliest to the latest moment at which its request is valid. */
  readonly #once = new Once(2 * validMs)
  /** Start of this process. It does not remember the nonces of its predecessor. */
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

  /**
   * The caller for whom a peer sends a request, or undefined if no peer sends it.
   * @throws GatewayError `unauthenticated`
   */
  open(request: IncomingMessage): HandedOver | undefined {
    const header = request.headers[hopHeader]
    if (header === undefined) return undefined

    const [to = '', time = '', nonce = '', who = '', digest = '', signature = ''] =
      String(header).split('.')
    const age = this.#monotonicNow() - this.#begunAt
    const at = Number(time)
    if (
      (to !== this.self && to !== anyPeer) ||
      // After this age, signatures from before the start have expired, unless the clock was set
      // back.
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
   * Hands a request to the process that owns its state, and streams the answer back. Calls `failed`
   * if the client has got nothing; `repeatable` means that the request has not run, or may run twice.
   */
  forward(
    owner: string,
    { request, response, body, principal }: ForHandOver,
    failed: (repeatable: boolean) => void,
  ): void {
    const peer = this.#peer(owner)
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
      answerTo(response, (unsent) => failed(unsent || isRepeatable(request, body))),
    )
  }

  /**
   * All processes that can take over what another has left, this one among them, in an order that
   * depends on the key alone, so that all choose the same one (rendezvous hashing).
   */
  heirs(key: string, peers: PeerDirectory): readonly string[] {
    const ready = [...peers.entries()].filter(([, peer]) => peer.ready).map(([name]) => name)
    const ranked = [this.self, ...ready.filter((name) => name !== this.self)].map((name) => {
      const rank = createHash('sha256')
        .update(JSON.stringify([key, name]))
        .digest('hex')
      return { name, rank }
    })
    return ranked.toSorted((a, b) => (a.rank < b.rank ? -1 : 1)).map(({ name }) => name)
  }

  /**
   * The way to another process for requests of this process's own, for a caller. Undefined if no
   * process has the name.
   */
  to(
    name: string,
    principal: Principal,
    requestId: string,
  ): Pick<Dispatcher, 'dispatch'> | undefined {
    const peer = this.#peer(name)
    if (peer === undefined) return undefined
    const { origin } = peer
    return {
      dispatch: (options, handler) => {
        const { method, path: url } = options
        const body = Buffer.from(options.body as string)
        const given = options.headers as readonly string[]
        const headers: Record<string, string> = { 'x-request-id': requestId }
        for (let index = 0; index < given.length; index += 2) {
          const header = (given[index] as string).toLowerCase()
          if (isPassedOn(header)) headers[header] = given[index + 1] as string
        }
        headers[hopHeader] = this.sign({ to: name, method, url, headers, principal, body })
        const signed = { ...options, headers, body, bodyTimeout: 0 }
        return this.#pool(origin).dispatch(signed, handler)
      },
    }
  }

  #peer(name: string): Peer | undefined {
    return this.#options.peers
      .map((directory) => directory.get(name))
      .find((found) => found !== undefined)
  }

  /** The value of the hop header for a request to another process. */
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
        keepAliveTimeout: idleMs,
        // The other process offers to keep the connection for longer.
        keepAliveMaxTimeout: idleMs,
      })
      this.#pools.set(origin, pool)
    }
    return pool
  }

  /**
   * Ends the connections to processes that leave, when their open requests have ended. If a machine
   * is gone, no connection breaks, so the requests to it end after a grace.
   */
  #forgetGone(): void {
    const present = new Set(
      this.#options.peers.flatMap((directory) =>
        [...directory.entries()].map(([, { origin }]) => origin),
      ),
    )
    for (const [origin, pool] of this.#pools) {
      if (present.has(origin)) continue
      this.#pools.delete(origin)
      this.#leaving.add(pool)
      const { graceMs = 30_000 } = this.#options
      const end = setTimeout(() => void pool.destroy(), graceMs).unref()
      void pool.close().finally(() => {
        clearTimeout(end)
        this.#leaving.delete(pool)
      })
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const stop of this.#stopListening) stop()
    const pools = [...this.#pools.values(), ...this.#leaving]
    await Promise.all(pools.map((pool) => pool.destroy()))
  }
}

/** Relays a peer's answer. Calls `failed` if there is none and the client has got nothing. */
function answerTo(response: ServerResponse, failed: (unsent: boolean) => void): Relay {
  return new Relay(response, {
    head(status, raw) {
      if (status !== 401) return withoutHop(raw)
      // The peer rejects this process: its keys, name or clock differ. The client's credential was
      // good, so the client does not get this answer.
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

/**
 * The headers of the client's request that the owner needs. All others end at the first process.
 */
const toPeer = headerFilter('peer')

function isPassedOn(name: string): boolean {
  return toPeer(name) === 'pass'
}

/**
 * The headers that a signature covers, from a raw list. `host` decides nothing any more: it names
 * the first gateway or the peer.
 */
function decidingHeaders(raw: readonly string[]): string[] {
  const found: string[] = []
  for (let index = 0; index < raw.length; index += 2) {
    const name = (raw[index] as string).toLowerCase()
    if (name === 'x-request-id' || (name !== 'host' && isPassedOn(name)))
      found.push(`${name}:${raw[index + 1]}`)
  }
  return found.sort()
}

/** The text is unambiguous: no part can hold a line break, and the number of `parts` is fixed. */
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
 * The error if the owner did not answer. Clients begin again after a 404, so a request that must
 * not run twice gets no 404.
 */
export function ownerFailed(repeatable: boolean): GatewayError {
  if (repeatable) return unknownSession()
  return new GatewayError('upstream_failed', {
    detail: 'The gateway process that holds the state broke off. The request may have run.',
  })
}

/**
 * Refuses a request that no gateway has signed. Each 401 needs a challenge (RFC 9110 section
 * 15.5.2).
 */
export function unsigned(detail: string): GatewayError {
  return new GatewayError('unauthenticated', { detail, headers: { 'www-authenticate': 'Bearer' } })
}
