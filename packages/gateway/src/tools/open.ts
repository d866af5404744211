import type { Config } from '../config/config.ts'
import type { ReplicaDirectory } from '../core/directories/directory.ts'
import type { CallerShares } from '../core/shares.ts'
import { Parts } from '../lib/async/parts.ts'
import { SchemaChecks } from '../lib/json/schema-checks.ts'
import type { AddressPolicy } from '../lib/net/address-policy.ts'
import type { Store } from '../store/store.ts'
import type { DecideOutgoing } from '../upstream/outgoing.ts'
import { ToolCaller } from './caller.ts'
import { RegisteredTools, type SendCall } from './registered-tools.ts'

export interface ToolsOptions {
  readonly store: Pick<Store, 'list' | 'watch'>
  readonly directory: ReplicaDirectory
  readonly endpointPolicy: AddressPolicy
  readonly config: Pick<Config, 'tools' | 'proxy' | 'limits'>
  readonly outgoing: DecideOutgoing
  readonly shares: CallerShares
  /** Keys of 32 bytes that all processes of the gateway share. */
  readonly keys: readonly Buffer[]
  /** Calls tools in another process. Absent: this process calls them. */
  readonly send?: SendCall | undefined
  /** Receives the errors of following the store, which goes on. */
  readonly failed?: ((error: unknown) => void) | undefined
  readonly now: () => number
}

/** The registered tools, and the way to call them. */
export async function openTools(
  options: ToolsOptions,
): Promise<AsyncDisposable & { readonly tools: RegisteredTools }> {
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
        keys: options.keys,
        now: options.now,
      }),
    )
    const {
      send = ((permit, invocation, output) => caller.call(permit, invocation, output)) as SendCall,
    } = options

    const checks = parts.use(new SchemaChecks())
    const tools = parts.use(await RegisteredTools.open(options.store, checks, send, options.failed))
    return { tools, [Symbol.asyncDispose]: () => parts[Symbol.asyncDispose]() }
  } catch (error) {
    await parts[Symbol.asyncDispose]()
    throw error
  }
}
