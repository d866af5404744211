import type { IncomingMessage } from 'node:http'
import { followRedirects } from '@mcp-gateway/mcp-http'
import { Pool } from 'undici'
import type { ReplicaDirectory } from '../core/directories/directory.ts'
import { GatewayError, unknownSession } from '../core/errors.ts'
import type { Resource } from '../core/resource.ts'
import type { Replica } from '../core/workload.ts'
import type { AddressPolicy } from '../lib/net/address-policy.ts'
import { BoundedCache } from '../lib/bounded-cache.ts'
import { monotonicNow } from '../lib/clock.ts'
import { timeoutOr } from '../lib/async/timeout-signal.ts'
import { Endpoints, isEndpoint, type EndpointOptions } from './external-endpoints.ts'
import type { Upstream } from './upstream.ts'

/** Ties a request to one replica, where its session lives or its call waits. */
export interface Sticky {
  readonly replica: string
  /** Milliseconds since the epoch. */
  readonly issuedAt: number
}

interface ReplicaUpstream extends Upstream {
  readonly connections: Pool
}

export interface UpstreamOptions {
  readonly connectTimeoutMs: number
  readonly keepAliveMs: number
  /** Time that a request waits for a replica to become ready. */
  readonly coldStartMs: number
  readonly endpointPolicy: AddressPolicy
  /** As `EndpointOptions.connections`. */
  readonly endpointConnections: EndpointOptions['connections']
  /** As `EndpointOptions.keys`. */
  readonly keys?: EndpointOptions['keys']
}

/** Chooses replicas, and keeps the connections to them and to servers elsewhere. */
export class Upstreams implements AsyncDisposable {
  readonly #directory: ReplicaDirectory
  readonly #options: UpstreamOptions
  readonly #byOrigin = new Map<string, ReplicaUpstream>()
  readonly #endpoints: Endpoints
  /** Uids of adapters with a session that has outlived the pod on which it was opened. */
  readonly #sessionsOutlive = new BoundedCache<string, true>(1000)
  readonly #stopWatching: () => void

  constructor(directory: ReplicaDirectory, options: UpstreamOptions) {
    this.#directory = directory
    this.#options = options
    const { endpointPolicy: policy, endpointConnections: connections } = options
    this.#endpoints = new Endpoints({ ...options, policy, connections })
    this.#stopWatching = directory.onChange((workload) => this.#cutTaken(workload))
  }

  /**
   * Picks a replica for a request, if one is ready now.
   * @throws GatewayError `session_not_found` if the replica of `sticky` is gone for good, `stopped`
   * if the adapter is to have no replicas
   */
  pick(
    resource: Resource,
    sticky: Sticky | undefined,
    exclude?: ReadonlySet<string>,
  ): Upstream | undefined {
    const { name: workload, spec } = resource
    if (spec.endpoint !== undefined) {
      const upstream = this.#endpoints.of(resource, spec.endpoint)
      if (sticky !== undefined && sticky.replica !== upstream.replica.name) throw unknownSession()
      return exclude?.has(upstream.replica.name) ? undefined : upstream
    }

    const entry = this.#directory.get(workload)
    if (entry === undefined || entry.uid !== resource.uid) {
      if (sticky !== undefined && isEndpoint(sticky.replica)) throw unknownSession()
      return undefined
    }

    if (sticky !== undefined) {
      const replica = entry.replicas.find(({ name }) => name === sticky.replica)
      if (replica === undefined) throw unknownSession()
      if (replica.phase === 'ready' || replica.phase === 'lost') return this.#upstream(replica)
      // The successor would not know the session, so the request does not wait for it.
      if (isOlder(sticky, replica) && !this.#sessionsOutlive.get(resource.uid))
        throw unknownSession()

      return undefined
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

  /**
   * Waits, for a limited time, until `pick` finds a replica.
   * @throws GatewayError `no_ready_replica`, and any error of `pick`
   */
  async waitFor(
    resource: Resource,
    sticky: Sticky | undefined,
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
      detail:
        `No replica of '${workload}' is ` +
        `ready${reason === undefined ? '' : ` (${reason})`}. ` +
        'Its status tells more.',
      headers: { 'retry-after': '5' },
    })
  }

  /** True if no replica that could serve will become ready without help. */
  #isStuck(workload: string, sticky: Sticky | undefined): boolean {
    const replicas = this.#directory.get(workload)?.replicas ?? []
    const candidates =
      sticky === undefined ? replicas : replicas.filter(({ name }) => name === sticky.replica)

    return candidates.length > 0 && candidates.every(isStuck)
  }

  /**
   * Learns from an answer if the server's sessions survive a new pod, as sessions in a database do.
   * Calls of such sessions wait for the new pod.
   */
  learn(resource: Resource, sticky: Sticky, { replica }: Upstream, status: number): void {
    if (!isOlder(sticky, replica)) return
    if (status === 200) this.#sessionsOutlive.set(resource.uid, true)
    if (status === 404) this.#sessionsOutlive.delete(resource.uid)
  }

  /**
   * Refuses a request that came from here and would go to an endpoint again, without end.
   * @throws GatewayError `loop_detected`
   */
  checkLoop({ spec }: Resource, request: IncomingMessage): void {
    if (spec.endpoint !== undefined && this.cameFromHere(request))
      throw new GatewayError('loop_detected')
  }

  /** True if a process of this gateway has sent a request, to an endpoint. */
  cameFromHere(request: IncomingMessage): boolean {
    return this.#endpoints.cameFromHere(request)
  }

  /** True if a replica of this name exists and is not about to go for good. */
  has({ name, spec }: Resource, replica: string): boolean {
    return (
      spec.endpoint === undefined &&
      this.#directory
        .get(name)
        ?.replicas.some((each) => each.name === replica && each.keepsSince !== gone) === true
    )
  }

  /** True if a replica has left its address, or is about to go for good. */
  isLeaving(upstream: Upstream): boolean {
    if (upstream.external) return false
    const present = this.#present(upstream)
    return present === undefined || present.keepsSince === gone
  }

  /** The directory's entry for a replica, if the replica still has the same address. */
  #present({ replica: { name }, origin }: Upstream): Replica | undefined {
    const workload = name.slice(0, name.lastIndexOf('-'))
    return this.#directory
      .get(workload)
      ?.replicas.find((replica) => replica.origin === origin && replica.name === name)
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
      // A stream occupies its connection, and each session may have one. The limit is on the open
      // requests of callers instead.
      connections: null,
      pipelining: 1,
      connect: { timeout: this.#options.connectTimeoutMs },
      // Below five seconds, after which common servers close idle connections, so that no request
      // meets a connection that is being closed.
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

  /**
   * Cuts the connections of a replica whose port another server has taken, because that server
   * answers on them too.
   */
  #cutTaken(workload: string): void {
    for (const { name, phase, reason } of this.#directory.get(workload)?.replicas ?? []) {
      if (phase === 'ready' || reason !== 'PortTaken') continue
      for (const [origin, upstream] of this.#byOrigin) {
        if (upstream.replica.name !== name) continue
        this.#byOrigin.delete(origin)
        upstream.connections.destroy().catch(() => undefined)
      }
    }
  }

  /** Closes the connections of replicas that are gone, once their last request has ended. */
  #forgetVanished(): void {
    for (const [origin, upstream] of this.#byOrigin) {
      if (this.#present(upstream) !== undefined) continue
      this.#byOrigin.delete(origin)
      // Closing waits for open requests. It rejects only if the pool is destroyed meanwhile.
      upstream.connections.close().catch(() => undefined)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopWatching()
    await Promise.all([
      this.#endpoints[Symbol.asyncDispose](),
      ...[...this.#byOrigin.values()].map(({ connections }) => connections.destroy()),
    ])
  }
}

/** `keepsSince` of a replica that goes for good. */
const gone = Number.POSITIVE_INFINITY

/** The largest difference between the clocks of a gateway and a cluster. */
const clockSlackMs = 2000

/** True if a session is older than the memory of its replica. */
function isOlder({ issuedAt }: Sticky, { keepsSince = 0 }: Replica): boolean {
  return issuedAt + clockSlackMs < keepsSince
}

/** Time that a request still waits for a replica that will not become ready without help. */
const patienceMs = 2000

/** Reasons of Kubernetes that last, from their first report, until somebody mends the cause. */
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
