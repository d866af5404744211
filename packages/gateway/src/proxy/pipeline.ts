import type { IncomingMessage, ServerResponse } from 'node:http'
import { mayBeModern } from '@mcp-gateway/protocol'
import { unknownSession } from '../core/errors.ts'
import { authorize, type Permit } from '../core/permission.ts'
import type { Adapter } from '../core/resource.ts'
import type { Entrance } from '../ingress/entrance.ts'
import type { Exchange } from '../ingress/exchange.ts'
import { loggedPath, parseTarget, sessionIdOf, type Target } from '../ingress/mcp-path.ts'
import { ownerFailed, type Hop } from '../ingress/peer-hop.ts'
import type { Session, SessionSealer } from '../ingress/session-sealer.ts'
import { answerCall, describeCall, type Call } from './call.ts'
import { Delivery, type DeliveryParts } from './delivery.ts'
import type { RouteTable } from '../servers/routes.ts'
import { ownerOf } from '../ingress/session-owner.ts'

export interface PipelineParts extends DeliveryParts {
  readonly entrance: Entrance
  /** Hands a request to the gateway process that holds its session or its parked call. */
  readonly hop: Hop
  readonly routes: Pick<RouteTable, 'get'>
  readonly sealer: SessionSealer
}

/** The life of a request to `/adapters/{name}/mcp`. */
export class Pipeline {
  readonly #parts: PipelineParts

  constructor(parts: PipelineParts) {
    this.#parts = parts
  }

  /** Serves a request of the data plane. Returns false for any other. */
  take(request: IncomingMessage, response: ServerResponse): boolean {
    const target = parseTarget(request.url ?? '')
    if (target.name === '') return false

    const { entrance } = this.#parts
    entrance.admit(request, response, loggedPath(target), (exchange) =>
      this.#serve(exchange, target),
    )
    return true
  }

  /**
   * The steps of the picture in the README, in its order; the entrance has authenticated the
   * caller. An error that is thrown here becomes the answer.
   */
  #serve(exchange: Exchange, target: Target): void {
    // Resolve.
    const { routes, upstreams } = this.#parts
    const found = routes.get(target.name)
    exchange.note({ adapter: found?.name })

    // Authorize.
    const permit = authorize(exchange.principal, 'use', found)
    const { resource } = permit
    exchange.note({ subject: resource })
    exchange.permittedBy((caller) => {
      const now = authorize(caller, 'use', routes.get(target.name)).resource
      checkStillServes(now, resource, exchange.calling)
    })
    exchange.checkMethod()
    upstreams.checkLoop(resource, exchange.request)

    // Open session.
    const sealed = sessionIdOf(exchange.request, target)
    const undecided = sealed !== undefined && namesModern(exchange.request)
    const early = undecided ? undefined : this.#openSession(permit, sealed)
    exchange.readBody((body) => {
      // A modern request belongs to no session, even if a client still sends a session id.
      const late = undecided && !mayBeModern(body ?? nothing, {})
      const session = late ? this.#openSession(permit, sealed) : early
      const call = describeCall(exchange, permit, target, session)
      if (this.#leavesToOwner(call)) return

      // Pick replica, forward, stream back.
      new Delivery(call, this.#parts).start()
    })
  }

  #openSession(
    { principal, resource }: Permit<'use', Adapter>,
    sealed: string | undefined,
  ): Session | undefined {
    return sealed === undefined
      ? undefined
      : this.#parts.sealer.open(sealed, resource.uid, principal)
  }

  /** Leaves a call to the process that owns its session or its parked call, if one does. */
  #leavesToOwner(call: Call): boolean {
    const { translation, hop } = this.#parts
    const { exchange, session } = call
    const owner = session === undefined ? translation.stateOwner(call) : ownerOf(session)
    if (owner === undefined) return false

    if (owner !== hop.self && !exchange.isHandedOver) this.#handOver(call, owner)
    else if (session !== undefined) translation.proceed(call, session)
    else return false
    return true
  }

  #handOver(call: Call, owner: string): void {
    const { hop, guard } = this.#parts
    const { exchange, session } = call
    answerCall(call, guard, () => {
      hop.forward(owner, exchange, (repeatable) => {
        // Any replica can answer that it does not know the state of a call.
        if (session === undefined && repeatable) new Delivery(call, this.#parts).start()
        else exchange.fail(ownerFailed(repeatable))
      })
    })
  }
}

const nothing = Buffer.alloc(0)

/** True if a POST names the modern version in its headers. Its body may still be legacy. */
function namesModern({ method, headers }: IncomingMessage): boolean {
  return method === 'POST' && mayBeModern(nothing, headers)
}

/**
 * Ends an exchange with an adapter that is another one by now. A call ends by itself, but a stream
 * would keep the old endpoint and would have no rules.
 * @throws GatewayError `session_not_found`
 */
function checkStillServes(now: Adapter, then: Adapter, calling: boolean): void {
  if (now.uid !== then.uid) throw unknownSession()
  if (calling) return

  const moved = now.spec.endpoint !== then.spec.endpoint
  const ruled = then.spec.toolRules === undefined && now.spec.toolRules !== undefined
  if (moved || ruled) throw unknownSession()
}
