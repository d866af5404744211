import type { RouteTable } from '../servers/routes.ts'
import { GatewayTurns } from '../tools/feed/gateway-turns.ts'
import { remoteCalls } from '../tools/feed/remote-call.ts'
import { RemoteRouter } from '../tools/feed/remote-router.ts'
import type { Cluster } from './cluster.ts'
import type { Composition } from './composition.ts'
import type { Door } from './door.ts'

/**
 * Where tool gateways serve `/mcp`, this process hands its requests over, and calls no tool itself.
 * Undefined where it serves everything.
 */
export function remoteTools(
  { config }: Composition,
  { hop, sealer, toolGateways }: Cluster,
  { entrance, shares }: Door,
  routes: RouteTable,
) {
  if (toolGateways === undefined) return undefined
  const turns = new GatewayTurns(toolGateways)
  const callTimeoutMs = config.tools.callTimeoutSeconds * 1000
  return {
    router: new RemoteRouter({ entrance, hop, sealer, turns, adaptersJoin: joining(routes) }),
    send: remoteCalls({ turns, hop, shares, callTimeoutMs }),
  }
}

/** True if an adapter joins `/mcp`. Looks at the adapters again only after a change. */
function joining(routes: RouteTable): () => boolean {
  let known: boolean | undefined
  routes.onChange(() => (known = undefined))
  return () => (known ??= [...routes.values()].some(({ spec }) => spec.aggregate === true))
}
