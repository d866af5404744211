import type { Config } from '../config/config.ts'
import type { ReplicaDirectory } from '../core/directories/directory.ts'
import type { CallerShares } from '../core/shares.ts'
import type { AddressPolicy } from '../lib/net/address-policy.ts'
import { Parts } from '../lib/async/parts.ts'
import { SchemaChecks } from '../lib/json/schema-checks.ts'
import type { Entrance } from '../ingress/entrance.ts'
import type { Hop } from '../ingress/peer-hop.ts'
import type { DecideOutgoing } from '../upstream/outgoing.ts'
import type { SessionSealer } from '../ingress/session-sealer.ts'
import type { Store } from '../store/store.ts'
import type { Log } from '../telemetry/log.ts'
import { ToolCaller } from './caller.ts'
import { Catalogue } from './catalogue.ts'
import { ToolFront } from './front.ts'
import { RegisteredTools } from './registered-tools.ts'
import { Router } from './router.ts'

export interface ToolRouterOptions {
  readonly store: Pick<Store, 'list' | 'watch'>
  readonly directory: ReplicaDirectory
  readonly endpointPolicy: AddressPolicy
  readonly config: Pick<Config, 'tools' | 'proxy' | 'limits'>
  readonly entrance: Entrance
  /** Hands a request to the gateway process that holds its session. */
  readonly hop: Hop
  readonly sealer: SessionSealer
  readonly outgoing: DecideOutgoing
  readonly shares: CallerShares
  readonly version: string
  readonly log: Log
  readonly now: () => number
}

/** The tool router with all its parts: `/mcp`. */
export interface ToolRouter extends AsyncDisposable, Pick<ToolFront, 'take' | 'drain'> {}

export async function openToolRouter(options: ToolRouterOptions): Promise<ToolRouter> {
  const { tools: settings, proxy, limits } = options.config
  const parts = new Parts()

  try {
    const caller = parts.use(
      new ToolCaller({
        directory: options.directory,
        endpointPolicy: options.endpointPolicy,
        outgoing: options.outgoing,
        callTimeoutMs: settings.callTimeoutSeconds * 1000,
        connectTimeoutMs: settings.connectTimeoutSeconds * 1000,
        keepAliveMs: proxy.upstreamKeepAliveSeconds * 1000,
        answerLimitBytes: settings.answerLimitBytes,
        connectionsPerServer: limits.callsPerServer,
        heldBytes: options.shares.heldBytes,
        now: options.now,
      }),
    )

    const checks = parts.use(new SchemaChecks())
    const registered = parts.use(
      await RegisteredTools.open(
        options.store,
        checks,
        (permit, invocation, output) => caller.call(permit, invocation, output),
        (error) => options.log.error({ err: error }, 'following the tools failed, trying again'),
      ),
    )

    const router = new Router({
      catalogue: new Catalogue([registered]),
      version: options.version,
      pageSize: settings.pageSize,
      maxListenersPerCaller: settings.maxListenersPerCaller,
      settleMs: 100,
      callFailed: (error, requestId) =>
        options.log.error({ requestId, err: error }, 'a tool call failed'),
    })

    const front = parts.use(new ToolFront({ ...options, router }))
    return {
      take: (request, response) => front.take(request, response),
      drain: () => front.drain(),
      [Symbol.asyncDispose]: () => parts[Symbol.asyncDispose](),
    }
  } catch (error) {
    await parts[Symbol.asyncDispose]()
    throw error
  }
}
