import type { IncomingMessage } from 'node:http'
import type { Config } from '../config/config.ts'
import type { ReplicaDirectory } from '../core/directory.ts'
import type { Principal } from '../core/principal.ts'
import type { AddressPolicy } from '../lib/address-policy.ts'
import { Parts } from '../lib/parts.ts'
import { Hop } from '../proxy/hop.ts'
import type { SessionSealer } from '../proxy/sessions.ts'
import type { Store } from '../store/store.ts'
import type { FinishedRequest } from '../telemetry/access-log.ts'
import type { Log } from '../telemetry/log.ts'
import { ToolCaller } from './caller.ts'
import { Catalogue } from './catalogue.ts'
import { ToolFront } from './front.ts'
import { RegisteredTools } from './registered-tools.ts'
import { Router } from './router.ts'

export interface ToolRouterOptions {
  readonly store: Store
  readonly directory: ReplicaDirectory
  readonly endpointPolicy: AddressPolicy
  readonly settings: Config['tools']
  readonly keepAliveSeconds: number
  readonly authenticate: (request: IncomingMessage) => Principal
  readonly sealer: SessionSealer
  /** Shared by all gateway processes. */
  readonly keys: readonly Buffer[]
  /** The name of this process among the gateways, and where the others are. */
  readonly cluster: { readonly name: string; readonly peers: Readonly<Record<string, string>> }
  readonly bodyLimitBytes: number
  readonly version: string
  readonly requestFinished: (request: FinishedRequest) => void
  readonly log: Log
  readonly now: () => number
}

/** The tool router with all its parts: `/mcp`. */
export interface ToolRouter extends AsyncDisposable, Pick<ToolFront, 'handles' | 'handle' | 'drain'> {}

export async function openToolRouter(options: ToolRouterOptions): Promise<ToolRouter> {
  const { settings } = options
  const parts = new Parts()
  try {
    const callTimeoutMs = settings.callTimeoutSeconds * 1000
    const caller = parts.use(
      new ToolCaller({
        directory: options.directory,
        endpointPolicy: options.endpointPolicy,
        callTimeoutMs,
        connectTimeoutMs: settings.connectTimeoutSeconds * 1000,
        keepAliveMs: options.keepAliveSeconds * 1000,
        answerLimitBytes: settings.answerLimitBytes,
        now: options.now,
      }),
    )
    const registered = parts.use(
      await RegisteredTools.open(options.store, (permit, invocation, output) => caller.call(permit, invocation, output)),
    )
    const router = new Router({
      catalogue: new Catalogue([registered]),
      version: options.version,
      pageSize: settings.pageSize,
      maxListenersPerCaller: settings.maxListenersPerCaller,
      settleMs: 100,
      callFailed: (error, requestId) => options.log.error({ requestId, err: error }, 'a tool call failed'),
    })
    const hop = parts.use(new Hop({ keys: options.keys, self: options.cluster.name, peers: options.cluster.peers, now: options.now }))
    const front = parts.use(new ToolFront({ ...options, router, hop, answerTimeoutMs: callTimeoutMs + 10_000 }))
    return {
      handles: (url) => front.handles(url),
      handle: (request, response) => front.handle(request, response),
      drain: () => front.drain(),
      [Symbol.asyncDispose]: () => parts[Symbol.asyncDispose](),
    }
  } catch (error) {
    await parts[Symbol.asyncDispose]()
    throw error
  }
}
