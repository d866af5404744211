import type { IncomingMessage, ServerResponse } from 'node:http'
import { mayBeModern } from '@mcp-gateway/protocol'
import type { ReplicaDirectory } from '../core/directory.ts'
import { GatewayError, unknownSession, type ErrorCode } from '../core/errors.ts'
import { authorize, mayWrite, type Permit } from '../core/permission.ts'
import { partyOf } from '../core/principal.ts'
import type { CallerShares } from '../core/shares.ts'
import type { Silences } from '../core/silences.ts'
import type { Resource } from '../core/resource.ts'
import type { Config } from '../config/config.ts'
import type { AddressPolicy } from '../lib/net/address-policy.ts'
import type { Entrance, RequestContext } from '../ingress/entrance.ts'
import { forward, type Forwarding } from './forward.ts'
import { headerRules } from './headers.ts'
import { ownerFailed, type Hop } from '../ingress/peer-hop.ts'
import type { DecideOutgoing } from '../upstream/outgoing.ts'
import type { Upstream } from '../upstream/upstream.ts'
import { Upstreams, type Sticky } from '../upstream/upstreams.ts'
import type { RouteTable } from './routes.ts'
import type { Session, SessionSealer } from '../ingress/session-sealer.ts'
import { loggedPath, parseTarget, sessionIdOf, type Target } from '../ingress/mcp-path.ts'
import { ToolGuard } from './tool-guard.ts'
import { opensSession, ownerOf, probeMs, stateReplica, Translation } from './translation.ts'

export interface DataPlaneOptions {
  readonly entrance: Entrance
  /** Hands a request to the gateway process that holds its session or its parked call. */
  readonly hop: Hop
  readonly routes: RouteTable
  readonly directory: ReplicaDirectory
  readonly sealer: SessionSealer
  readonly outgoing: DecideOutgoing
  /** The addresses that an adapter's endpoint may have. */
  readonly endpointPolicy: AddressPolicy
  readonly settings: Config['proxy']
  /** Most requests that may be open at one server outside the runtime. */
  readonly connectionsPerServer: number
  readonly shares: CallerShares
  /** Records the servers that do not answer. */
  readonly silences: Pick<Silences, 'failed' | 'answered'>
  readonly now: () => number
}

/** The data plane: MCP over streamable HTTP at `/adapters/{name}/mcp`. */
export interface DataPlane extends AsyncDisposable {
  /** True if a request target belongs to the data plane. */
  handles(url: string): boolean
  handle(request: IncomingMessage, response: ServerResponse): void
  /**
   * Ends listen streams of translated servers in order, so that clients open them elsewhere. Calls
   * in progress go on.
   */
  drain(): void
}

export function createDataPlane(options: DataPlaneOptions): DataPlane {
  const { settings, entrance, hop, silences } = options
  const answerTimeoutMs = settings.answerTimeoutSeconds * 1000
  const handshakeMs = settings.handshakeTimeoutSeconds * 1000
  const rules = headerRules(settings)
  const upstreams = new Upstreams(options.directory, {
    connectTimeoutMs: settings.connectTimeoutSeconds * 1000,
    keepAliveMs: settings.upstreamKeepAliveSeconds * 1000,
    coldStartMs: settings.coldStartSeconds * 1000,
    endpointPolicy: options.endpointPolicy,
    endpointConnections: { most: options.connectionsPerServer, beyond: 'refuse' },
  })
  const guard = new ToolGuard({
    resource: (name) => options.routes.get(name),
    heldBytes: options.shares.heldBytes,
  })
  const translation = new Translation({
    guard,
    pick: (resource) => {
      const upstream = upstreams.pick(resource, undefined)
      if (upstream === undefined)
        throw new GatewayError('no_ready_replica', { headers: { 'retry-after': '1' } })
      return upstream
    },
    isLeaving: (upstream) => upstreams.isLeaving(upstream),
    isRouted: ({ name, uid }) => options.routes.get(name)?.uid === uid,
    sealer: options.sealer,
    outgoing: options.outgoing,
    self: hop.self,
    shares: options.shares,
    silences,
    answerTimeoutMs,
    handshakeMs,
    now: options.now,
  })

  /**
   * The life of a request, in the order of the picture in the README. The entrance turns any error
   * that is thrown here into the answer, once.
   */
  function pass(context: RequestContext, target: Target): void {
    const { request, response, principal, handed } = context // authenticate
    const found = options.routes.get(target.name) // resolve
    context.adapter = found?.name
    const permit = authorize(principal, 'use', found) // authorize
    const { resource } = permit
    context.subject = resource
    context.permittedBy((caller) => {
      const { uid, spec } = authorize(caller, 'use', options.routes.get(target.name)).resource
      if (uid !== resource.uid) throw unknownSession()
      // A call ends by itself. A stream would keep the old endpoint and would have no rules.
      const { endpoint, toolRules } = resource.spec
      const ruled = toolRules === undefined && spec.toolRules !== undefined
      if (!context.calling && (spec.endpoint !== endpoint || ruled)) throw unknownSession()
    })
    context.checkMethod()
    upstreams.checkLoop(resource, request)
    const sealed = sessionIdOf(request, target)
    const undecided = sealed !== undefined && namesModern(request)
    const early = undecided ? undefined : openSession(permit, sealed) // open session
    const run = (work: () => void): void => {
      context.replica = 'translated'
      const stopWatching = guard.watchDenials(
        resource,
        principal,
        context.body,
        () => (context.denied = resource),
      )
      if (stopWatching !== undefined) response.once('close', stopWatching)
      context.answer(work)
    }
    context.readBody((body) => {
      // A modern request belongs to no session, even if a client still sends a session id.
      const session =
        undecided && !mayBeModern(body ?? nothing, {}) ? openSession(permit, sealed) : early
      const opens = request.method === 'POST' && body !== null && session === undefined
      const modern = opens && mayBeModern(body, request.headers)
      const handshake =
        opens && (modern ? request.headers['mcp-method'] === discover : opensSession(body))
      const fail = (failure: unknown): void => context.fail(failure)
      const translating = opens
        ? { resource, principal, body, modern, request, response, run, fail }
        : undefined
      const sticky = session ?? (modern ? namedReplica(resource, body) : undefined)
      const exclude = new Set<string>()
      const attempt = (upstream: Upstream, mayTranslate = true): void => {
        context.replica = upstream.replica.name
        const passOn = (): void => attempt(upstream, false)
        const crossing = mayTranslate ? translating : undefined
        if (crossing !== undefined && translation.takes(crossing, upstream, passOn)) return // translate
        // The request has waited for a probe of the gateway, which the server did not answer.
        const asked = modern && translation.isUnheard(resource)
        const unheard = handshake || asked
        const patienceMs = asked ? handshakeMs - probeMs(handshakeMs) : handshakeMs
        const forwarding: Forwarding = {
          request,
          response,
          requestId: context.requestId,
          outgoing: options.outgoing(permit.resource, permit.principal),
          headerRules: rules,
          via: guard.guards(resource)
            ? guard.to(upstream, resource, principal, () => (context.denied = resource))
            : upstream.via(partyOf(principal)),
          path: pathOf(upstream, target),
          body,
          session,
          sealed,
          answerTimeoutMs,
          handshakeMs: unheard ? patienceMs : undefined,
          tellsRedirects: () => mayWrite(principal, resource),
          seal: (upstreamId, { replica }) =>
            options.sealer.seal(
              { upstreamId, replica: replica.name, uid: resource.uid, issuedAt: options.now() },
              principal,
            ),
          refused: crossing === undefined ? undefined : translation.onRefusal(crossing, upstream),
          flows: (cut) => context.flows(cut),
          finished: (failure) => {
            // A modern server that refuses a modern request may have become a legacy server.
            if (modern && [400, 404, 405].includes(response.statusCode)) translation.doubt(resource)
            if (session !== undefined && request.method === 'POST')
              upstreams.learn(resource, session, upstream, response.statusCode)
            if (unheard && failure === undefined && response.statusCode < 500)
              silences.answered(resource.uid)
            context.finish(failure)
          },
          failed: (failure, unsent) => {
            // An unsent request may go to another replica, unless its session lives on this one.
            const other =
              unsent && sticky === undefined && failure.code === 'upstream_unreachable'
                ? upstreams.pick(resource, undefined, exclude.add(upstream.replica.name))
                : undefined
            if (other !== undefined) return context.guard(() => attempt(other))
            if (unheard && tellsOfServer.has(failure.code))
              silences.failed(resource.uid, failure.message)
            context.fail(failure)
          },
        }
        const stop = forward(upstream, forwarding) // forward, stream back
        context.streams(stop)
      }
      const owner =
        session === undefined
          ? modern
            ? translation.stateOwner(resource, principal, body)
            : undefined
          : ownerOf(session)
      if (owner !== undefined && owner !== hop.self && handed === undefined) {
        return run(() => {
          hop.forward(owner, { request, response, body, principal }, (unsent) => {
            // Any replica can answer that it does not know the state of a call.
            if (session === undefined && unsent) pick(permit, sticky, context, attempt)
            else context.fail(ownerFailed(unsent))
          })
        })
      }
      if (session !== undefined && owner !== undefined)
        return run(() => translation.pass(resource, session, principal, body, request, response))
      pick(permit, sticky, context, attempt) // pick replica
    })
  }

  function openSession(
    { principal, resource }: Permit<'use', Resource>,
    sealed: string | undefined,
  ): Session | undefined {
    return sealed === undefined ? undefined : options.sealer.open(sealed, resource.uid, principal)
  }

  /** The replica that a retry names in its state, if that replica exists. */
  function namedReplica(resource: Resource, body: Buffer): Sticky | undefined {
    const replica = stateReplica(body)
    return replica !== undefined && upstreams.has(resource, replica)
      ? { replica, issuedAt: options.now() }
      : undefined
  }

  /**
   * Picks a ready replica at once, or waits for a cold or restarting replica, for a limited time.
   */
  function pick(
    { resource }: Permit<'use', Resource>,
    sticky: Sticky | undefined,
    context: RequestContext,
    attempt: (upstream: Upstream) => void,
  ): void {
    try {
      const ready = upstreams.pick(resource, sticky)
      if (ready !== undefined) return attempt(ready)
    } catch (error) {
      return context.fail(error)
    }
    const waiting = new AbortController()
    const { signal } = waiting
    context.response.once('close', () => waiting.abort(new GatewayError('client_closed_request')))
    context.interruptible((reason) => waiting.abort(reason))
    upstreams.waitFor(resource, sticky, signal).then(
      (upstream) =>
        context.guard(() => (signal.aborted ? context.fail(signal.reason) : attempt(upstream))),
      (error: unknown) => context.fail(signal.aborted ? signal.reason : error),
    )
  }

  return {
    handles: (url) => parseTarget(url).name !== '',
    handle(request, response) {
      const target = parseTarget(request.url as string)
      entrance.admit(request, response, loggedPath(target), (context) => pass(context, target))
    },
    drain: () => translation.drain(),
    async [Symbol.asyncDispose]() {
      translation.close()
      await upstreams[Symbol.asyncDispose]()
    },
  }
}

const discover = 'server/discover'

/**
 * Failures that the status of an adapter shows. Every reader of the adapter may see their messages.
 */
const tellsOfServer: ReadonlySet<ErrorCode> = new Set([
  'upstream_failed',
  'upstream_not_mcp',
  'upstream_timeout',
  'upstream_unauthorized',
  'upstream_unreachable',
])
const nothing = Buffer.alloc(0)

/** True if a POST names the modern version in its headers. Its body may still be legacy. */
function namesModern({ method, headers }: IncomingMessage): boolean {
  return method === 'POST' && mayBeModern(nothing, headers)
}

/**
 * Path and query at the server. A query that the owner has put into an endpoint stays unchanged.
 */
function pathOf({ replica: { path } }: Upstream, { query }: Target): string {
  return query === '' || path.includes('?') ? path : path + query
}
