import { createHash, randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { followRedirects } from '@mcp-gateway/mcp-http'
import { Agent, type Dispatcher } from 'undici'
import type { Resource } from '../core/resource.ts'
import { defined } from '../lib/defined.ts'
import type { AddressPolicy } from '../lib/net/address-policy.ts'
import { endpointConnector, type Resolve } from './endpoint-connector.ts'
import { loopMarks } from './loop-mark.ts'
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

/** RFC 8586. */
const loopHeader = 'cdn-loop'
/** Stands in the names of all endpoints, and in no name of a replica. */
const mark = ':'

/** True if a session lives on an endpoint, by the name in place of its replica. */
export function isEndpoint(replica: string): boolean {
  return replica.includes(mark)
}

/** Servers elsewhere, each as one replica that is always ready, and the connections to them. */
export class Endpoints implements AsyncDisposable {
  readonly #agent: Agent
  /** Mark requests that this gateway has sent. */
  readonly #loopMarks: readonly string[]
  readonly #connections: ConnectionLimits
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
    resolve,
  }: EndpointOptions) {
    this.#loopMarks = loopMarks(keys ?? [randomBytes(32)])
    this.#connections = connections
    this.#agent = new Agent({
      connections: null,
      pipelining: 1,
      keepAliveTimeout: keepAliveMs,
      keepAliveMaxTimeout: keepAliveMs,
      headersTimeout: 0,
      bodyTimeout: 0,
      connect: endpointConnector({
        policy,
        timeoutMs: connectTimeoutMs,
        ...defined({ resolve }),
      }),
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
      this.#loopMarks[0] as string,
    ]
    // Node.js 20 takes seven times as long if a new member follows the spread.
    return this.#agent.dispatch({ origin, ...options, headers }, handler)
  }

  /** True if a process of this gateway has sent the request. */
  cameFromHere({ headers }: IncomingMessage): boolean {
    const senders = headers[loopHeader]
    return senders !== undefined && this.#loopMarks.some((name) => String(senders).includes(name))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent.destroy()
  }
}
