import type { IncomingMessage } from 'node:http'
import { followRedirects } from '@mcp-gateway/mcp-http'
import { Pool } from 'undici'
import type { ReplicaDirectory } from '../core/directory.ts'
import { GatewayError } from '../core/errors.ts'
import type { Resource } from '../core/resource.ts'
import type { Replica } from '../core/workload.ts'
import type { AddressPolicy } from '../lib/address-policy.ts'
import { monotonicNow } from '../lib/clock.ts'
import { timeoutOr } from '../lib/timeout-signal.ts'
import { Endpoints, isEndpoint, type EndpointOptions } from './endpoints.ts'
import { unknownSession } from './sessions.ts'
import type { Dispatching } from './shared-connections.ts'

/** A replica, or what stands for one elsewhere, as requests use it: its connections and how busy it is. */
export interface Upstream {
  readonly replica: Replica
  readonly origin: string
  readonly host: string
  /** It is no replica of ours. */
  readonly external: boolean
  /** Sends requests of one caller, within its share of the connections. `caller` as by `partyOf`. */
  readonly via: (caller: string) => Dispatching
  /** Requests and streams that are open on it. */
  inFlight: number
}

interface ReplicaUpstream extends Upstream {
  readonly connections: Pool
}

export interface UpstreamOptions {
  readonly connectTimeoutMs: number
  readonly keepAliveMs: number
  /** How long a request waits for a replica to become ready. */
  readonly coldStartMs: number
  readonly endpointPolicy: AddressPolicy
  /** As `EndpointOptions.connections`. */
  readonly endpointConnections: EndpointOptions['connections']
}

/** Chooses replicas and keeps their connections, and those to what is served elsewhere. */
export class Upstreams implements AsyncDisposable {
  readonly #directory: ReplicaDirectory
  readonly #options: UpstreamOptions
  readonly #byOrigin = new Map<string, ReplicaUpstream>()
  readonly #endpoints: Endpoints

  constructor(directory: ReplicaDirectory, options: UpstreamOptions) {
    this.#directory = directory
    this.#options = options
    const { endpointPolicy: policy, endpointConnections: connections } = options
    this.#endpoints = new Endpoints({ ...options, policy, connections })
  }

  /**
   * The replica for a request if one is ready now. `sticky` is the name of the replica that a session lives on.
   * @throws GatewayError `session_not_found` when that replica is gone for good, `stopped` when there are to be none
   */
  pick(
    resource: Resource,
    sticky: string | undefined,
    exclude?: ReadonlySet<string>,
  ): Upstream | undefined {
    const { name: workload, spec } = resource
    if (spec.endpoint !== undefined) {
      const upstream = this.#endpoints.of(resource, spec.endpoint)
      if (sticky !== undefined && sticky !== upstream.replica.name) throw unknownSession()
      return exclude?.has(upstream.replica.name) ? undefined : upstream
    }
    const entry = this.#directory.get(workload)
    if (entry === undefined || entry.uid !== resource.uid) {
      if (sticky !== undefined && isEndpoint(sticky)) throw unknownSession()
      return undefined
    }
    if (sticky !== undefined) {
      const replica = entry.replicas.find(({ name }) => name === sticky)
      if (replica === undefined) {
        throw unknownSession()
      }
      return replica.phase === 'ready' || replica.phase === 'lost'
        ? this.#upstream(replica)
        : undefined
    }
    if (entry.desiredReplicas === 0) {
      throw new GatewayError('stopped', {
        detail: `'${workload}' is stopped: its replicaCount is 0.`,
        headers: { 'retry-after': '30' },
      })
    }
    let best: Upstream | undefined
    let ties = 0
    for (const replica of entry.replicas) {
      if (replica.phase !== 'ready' || exclude?.has(replica.name)) continue
      const upstream = this.#upstream(replica)
      if (upstream === undefined) continue
      if (best === undefined || upstream.inFlight < best.inFlight) {
        best = upstream
        ties = 1
      } else if (upstream.inFlight === best.inFlight) {
        // Each of n equals is kept with probability 1/n, so that idle replicas share the load.
        ties += 1
        if (Math.random() * ties < 1) best = upstream
      }
    }
    return best
  }

  /** Waits, bounded, until `pick` finds one. @throws GatewayError `no_ready_replica`, and what `pick` throws */
  async waitFor(
    resource: Resource,
    sticky: string | undefined,
    signal: AbortSignal,
  ): Promise<Upstream> {
    const { name: workload } = resource
    const bounded = timeoutOr(signal, this.#options.coldStartMs)
    let stuckSince: number | undefined
    for (;;) {
      const found = this.pick(resource, sticky)
      if (found !== undefined) return found
      const refused = this.#directory.get(workload)?.refused
      if (refused !== undefined)
        throw new GatewayError('no_ready_replica', {
          detail: `'${workload}' cannot run now (${refused}). Its status tells more.`,
          headers: { 'retry-after': '30' },
        })
      if (bounded.aborted) break

      stuckSince = this.#isStuck(workload, sticky) ? (stuckSince ?? monotonicNow()) : undefined
      const left = stuckSince === undefined ? undefined : stuckSince + patienceMs - monotonicNow()
      if (left !== undefined && left <= 0) break
      await this.#directory.changed(
        workload,
        left === undefined ? bounded : timeoutOr(bounded, Math.ceil(left)),
      )
    }
    const reason = this.#directory
      .get(workload)
      ?.replicas.find(({ phase }) => phase !== 'ready')?.reason
    throw new GatewayError('no_ready_replica', {
      detail: `No replica of '${workload}' is ready${reason === undefined ? '' : ` (${reason})`}. Its status tells more.`,
      headers: { 'retry-after': '5' },
    })
  }

  /** Whether no replica that could serve will become ready without help. */
  #isStuck(workload: string, sticky: string | undefined): boolean {
    const replicas = this.#directory.get(workload)?.replicas ?? []
    const candidates =
      sticky === undefined ? replicas : replicas.filter(({ name }) => name === sticky)

    return candidates.length > 0 && candidates.every(isStuck)
  }

  /** @throws GatewayError as `Endpoints.checkLoop` */
  checkLoop({ spec }: Resource, request: IncomingMessage): void {
    if (spec.endpoint !== undefined) this.#endpoints.checkLoop(request)
  }

  /** Whether there is a replica of this name. */
  has({ name, spec }: Resource, replica: string): boolean {
    return (
      spec.endpoint === undefined &&
      this.#directory.get(name)?.replicas.some((each) => each.name === replica) === true
    )
  }

  #upstream(replica: Replica): Upstream | undefined {
    if (replica.origin === undefined) return undefined
    const known = this.#byOrigin.get(replica.origin)
    if (known !== undefined && known.replica === replica) return known
    if (known !== undefined && known.replica.name === replica.name) {
      const renewed = Object.assign(known, { replica })
      return renewed
    }
    this.#forgetVanished()
    const connections = new Pool(replica.origin, {
      // A stream occupies its connection, and there may be one for each session: the open requests
      // of callers are what is bounded.
      connections: null,
      pipelining: 1,
      connect: { timeout: this.#options.connectTimeoutMs },
      // Below the five seconds after which common servers close idle connections, so that no request meets a closing one.
      keepAliveTimeout: this.#options.keepAliveMs,
      keepAliveMaxTimeout: this.#options.keepAliveMs,
      bodyTimeout: 0,
      headersTimeout: 0,
    })
    const following = followRedirects(connections, replica.origin)
    const upstream: ReplicaUpstream = {
      replica,
      origin: replica.origin,
      host: replica.origin.slice(replica.origin.indexOf('//') + 2),
      external: false,
      inFlight: 0,
      connections,
      via: () => following,
    }
    this.#byOrigin.set(replica.origin, upstream)
    return upstream
  }

  /** Connections of replicas that are gone are closed once their last request has ended. */
  #forgetVanished(): void {
    for (const [origin, upstream] of this.#byOrigin) {
      const workload = upstream.replica.name.slice(0, upstream.replica.name.lastIndexOf('-'))
      const lives = this.#directory
        .get(workload)
        ?.replicas.some(
          (replica) => replica.origin === origin && replica.name === upstream.replica.name,
        )
      if (lives === true) continue
      this.#byOrigin.delete(origin)
      // Closing waits for open requests; it rejects only if the pool is destroyed meanwhile.
      upstream.connections.close().catch(() => undefined)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([
      this.#endpoints[Symbol.asyncDispose](),
      ...[...this.#byOrigin.values()].map(({ connections }) => connections.destroy()),
    ])
  }
}

/** How long a request still waits for a replica that will not become ready without help. */
const patienceMs = 2000

/** Reasons that Kubernetes gives once, and that somebody has to mend. */
const stuckReasons: ReadonlySet<string> = new Set([
  'CrashLoopBackOff',
  'CreateContainerConfigError',
  'CreateContainerError',
  'ErrImageNeverPull',
  'ErrImagePull',
  'ImageInspectError',
  'ImagePullBackOff',
  'InvalidImageName',
  'RunContainerError',
  'Unschedulable',
])

function isStuck({ phase, restarts, reason = '' }: Replica): boolean {
  if (phase === 'backoff') return restarts >= 2 || stuckReasons.has(reason)
  return phase === 'pending' && stuckReasons.has(reason)
}
