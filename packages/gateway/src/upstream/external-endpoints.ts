import { createHash, randomBytes } from 'node:crypto'
import {
  lookup as resolveName,
  type LookupAddress,
  type LookupAllOptions,
  type LookupOptions,
} from 'node:dns'
import type { IncomingMessage } from 'node:http'
import { followRedirects } from '@mcp-gateway/mcp-http'
import { Agent, buildConnector, type Dispatcher } from 'undici'
import { GatewayError } from '../core/errors.ts'
import type { Resource } from '../core/resource.ts'
import { deriveKey } from '../crypto/keys.ts'
import { literalAddress, type AddressPolicy } from '../lib/net/address-policy.ts'
import { SharedConnections, type ConnectionLimits } from './shared-connections.ts'
import type { Upstream } from './upstream.ts'

export interface EndpointOptions {
  /** Decides on every address that is connected to, after names are resolved. */
  readonly policy: AddressPolicy
  readonly connectTimeoutMs: number
  readonly keepAliveMs: number
  /** Limits for each server. */
  readonly connections: ConnectionLimits
  /**
   * Keys of 32 bytes by which the processes of a gateway know their requests. The first marks, all
   * are recognized. Absent: a process knows only its own.
   */
  readonly keys?: readonly Buffer[] | undefined
  /** Finds the addresses of a name. The default is the system's resolver. */
  readonly resolve?: Resolve
}

type Resolve = (
  name: string,
  options: LookupAllOptions,
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void

/** RFC 8586. */
const loopHeader = 'cdn-loop'
/** Stands in the names of all endpoints, and in no name of a replica. */
const mark = ':'

/** The names that all processes of a gateway have in the requests that they send. */
function pseudonymsOf(keys: readonly Buffer[]): readonly string[] {
  return keys.map((key) => {
    const digest = createHash('sha256').update(deriveKey(key, 'loop')).digest('hex')
    return `mcp-gateway-${digest.slice(0, 12)}`
  })
}

/** True if a session lives on an endpoint, by the name in place of its replica. */
export function isEndpoint(replica: string): boolean {
  return replica.includes(mark)
}

/** Servers elsewhere, each as one replica that is always ready, and the connections to them. */
export class Endpoints implements AsyncDisposable {
  readonly #agent: Agent
  readonly #policy: AddressPolicy
  /** Mark requests that this gateway has sent. */
  readonly #pseudonyms: readonly string[]
  readonly #connections: ConnectionLimits
  readonly #resolve: Resolve
  /** Each change of a resource makes a new upstream. */
  readonly #upstreams = new WeakMap<Resource, Upstream>()
  /** By origin, for servers with open requests. */
  readonly #shared = new Map<string, SharedConnections>()

  constructor({
    policy,
    connectTimeoutMs,
    keepAliveMs,
    connections,
    keys,
    resolve = resolveName,
  }: EndpointOptions) {
    this.#pseudonyms = pseudonymsOf(keys ?? [randomBytes(32)])
    this.#policy = policy
    this.#connections = connections
    this.#resolve = resolve
    this.#agent = new Agent({
      connections: null,
      pipelining: 1,
      keepAliveTimeout: keepAliveMs,
      keepAliveMaxTimeout: keepAliveMs,
      headersTimeout: 0,
      bodyTimeout: 0,
      connect: this.#connector(connectTimeoutMs),
    })
  }

  of(resource: Resource, endpoint: string): Upstream {
    let upstream = this.#upstreams.get(resource)
    if (upstream === undefined)
      this.#upstreams.set(resource, (upstream = this.#upstream(resource, endpoint)))
    return upstream
  }

  #upstream({ name, generation }: Resource, endpoint: string): Upstream {
    const { origin, host, pathname, search } = new URL(endpoint)
    // A session of one address is unknown at another.
    const address = createHash('sha256').update(endpoint).digest('hex').slice(0, 12)
    const sending = followRedirects(
      { dispatch: (options, handler) => this.#dispatch(origin, options, handler) },
      origin,
    )

    return {
      replica: {
        name: `${name}${mark}${address}`,
        index: 0,
        phase: 'ready',
        origin,
        path: pathname + search,
        generation,
        restarts: 0,
      },
      origin,
      host,
      external: true,
      inFlight: 0,
      via: (caller) => ({
        dispatch: (options, handler) =>
          this.#sharedBy(origin).dispatch(caller, sending, options, handler),
      }),
    }
  }

  #sharedBy(origin: string): SharedConnections {
    let shared = this.#shared.get(origin)
    if (shared === undefined) {
      shared = new SharedConnections(this.#connections, () => this.#shared.delete(origin))
      this.#shared.set(origin, shared)
    }
    return shared
  }

  #dispatch(
    origin: string,
    options: Dispatcher.DispatchOptions,
    handler: Dispatcher.DispatchHandler,
  ): boolean {
    // The marks of gateways before this one are among the headers.
    const headers = [
      ...((options.headers ?? []) as readonly string[]),
      loopHeader,
      this.#pseudonyms[0] as string,
    ]
    // Node.js 20 takes seven times as long if a new member follows the spread.
    return this.#agent.dispatch({ origin, ...options, headers }, handler)
  }

  /** True if a process of this gateway has sent the request. */
  cameFromHere({ headers }: IncomingMessage): boolean {
    const senders = headers[loopHeader]
    return senders !== undefined && this.#pseudonyms.some((name) => String(senders).includes(name))
  }

  /**
   * Connects to addresses that the policy allows. The errors tell callers nothing about the
   * network.
   */
  #connector(timeout: number): buildConnector.connector {
    const connect = buildConnector({
      timeout,
      lookup: (...asked) => this.#lookUp(...asked),
    } as buildConnector.BuildOptions)
    return (options, callback) => {
      const fail = (error: GatewayError): void => queueMicrotask(() => callback(error, null))
      const address = literalAddress(options.hostname)
      // Address literals are never looked up.
      if (address !== undefined && this.#policy.refusal(address) !== undefined)
        return fail(forbidden())
      connect(options, (...[error, socket]) => {
        if (error === null) callback(null, socket)
        else callback(explained(error), null)
      })
    }
  }

  /**
   * Resolves a name, and refuses it if any address is forbidden, because the gateway does not
   * choose the address.
   */
  #lookUp(
    name: string,
    options: LookupOptions,
    callback: (
      error: NodeJS.ErrnoException | null,
      address: string | LookupAddress[],
      family?: number,
    ) => void,
  ): void {
    this.#resolve(name, { ...options, all: true }, (error, addresses) => {
      if (error !== null) return callback(error, [])
      if (addresses.some(({ address }) => this.#policy.refusal(address) !== undefined))
        return callback(forbidden(), [])
      const [first] = addresses
      if (options.all === true) callback(null, addresses)
      else if (first !== undefined) callback(null, first.address, first.family)
      else callback(Object.assign(new Error('no address'), { code: 'ENOTFOUND' }), [])
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent.destroy()
  }
}

function forbidden(): GatewayError {
  return new GatewayError('endpoint_forbidden')
}

/** Translates the reason why there is no connection. */
function explained(cause: Error): GatewayError {
  const known = [cause, cause.cause].find((error) => error instanceof GatewayError)
  if (known !== undefined) return known
  const { code = '' } = cause as NodeJS.ErrnoException
  if (
    /^(ERR_TLS_CERT|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|HOSTNAME_MISMATCH|INVALID_CA|INVALID_PURPOSE)/.test(
      code,
    )
  )
    return new GatewayError('upstream_untrusted', { cause })
  return new GatewayError('upstream_unreachable', {
    detail: 'The server could not be reached. The request was not run.',
    cause,
  })
}
