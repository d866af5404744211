import type { IncomingMessage } from 'node:http'
import type { App, AppOptions } from './app.ts'
import { auditEdge } from './audit/api-requests.ts'
import type { Audited } from './audit/audit.ts'
import { auditMcpRequests } from './audit/mcp-requests.ts'
import { openAudit } from './audit/open.ts'
import { createShares } from './core/shares.ts'
import { openListener } from './http/listener.ts'
import { addProblems } from './http/rest.ts'
import { createAddressPolicy } from './lib/address-policy.ts'
import { Parts } from './lib/parts.ts'
import { Entrance } from './ingress/entrance.ts'
import { Hop, unsigned } from './ingress/peer-hop.ts'
import { IdentitySigner } from './upstream/identity-signer.ts'
import { createOutgoing } from './upstream/outgoing.ts'
import { loadSessionKeys } from './ingress/session-keys.ts'
import { createSessionSealer } from './ingress/session-sealer.ts'
import { createAccessLog } from './telemetry/access-log.ts'
import { FollowedTools } from './tools/followed-tools.ts'
import { openToolRouter } from './tools/open.ts'

/** The role tool-gateway: `/mcp` for what gateways hand over. It has no store, no runtime and nothing on disk. */
export async function openToolGateway({
  config,
  log,
  version,
}: Omit<AppOptions, 'environment' | 'signal'>): Promise<App> {
  const parts = new Parts()
  try {
    const keys = await loadSessionKeys({
      dataDir: config.dataDir,
      configured: config.sessions.keys,
    })
    const now = (): number => Date.now()
    const requestFinished = createAccessLog(log, config.edge.accessLog)
    const hop = parts.use(new Hop({ keys, self: config.cluster.name ?? '', peers: [], now }))
    const sealer = createSessionSealer({
      keys,
      maxAgeMs: config.proxy.sessionMaxAgeSeconds * 1000,
      now,
    })
    const { bodyLimitBytes } = config.edge
    const recheckMs = config.proxy.streamRecheckSeconds * 1000
    // Of the gateway that has handed the request over, which knows the client's.
    const addressOf = ({ socket }: IncomingMessage): string => socket.remoteAddress ?? ''
    const { sinks = [], queueRecords, dataPlane } = config.audit
    const audit = parts.use(
      await openAudit({
        sinks,
        queueRecords,
        dataDir: config.dataDir,
        instance: hop.self,
        version,
        log,
        now,
      }),
    )
    const audited: Audited = (event) => audit.record(event)
    const auditMcp =
      dataPlane === 'off' ? undefined : auditMcpRequests(audited, dataPlane, addressOf)
    const shares = createShares(config.limits, bodyLimitBytes)
    const entrance = new Entrance({
      authenticate: refuseUnsigned,
      hop,
      bodyLimitBytes,
      shares,
      recheckMs,
      requestFinished,
      audit: auditMcp,
    })
    parts.defer(async () => entrance[Symbol.dispose]())
    const tools = parts.use(new FollowedTools({ gateways: config.tools.followed, hop, keys, log }))
    const endpointPolicy = createAddressPolicy(
      config.tools.endpointNetworks ?? config.endpointNetworks ?? [],
    )
    const { directory } = tools
    // Whatever the address of this process is, clients and servers know the gateway by another.
    const signer = new IdentitySigner({ keys, issuer: () => tools.issuer, now })
    // The feed has values in place of references.
    const outgoing = createOutgoing(signer, () => ({
      message: 'The gateway did not have it either.',
    }))
    const router = parts.use(
      await openToolRouter({
        store: tools,
        directory,
        endpointPolicy,
        config,
        entrance,
        hop,
        sealer,
        outgoing,
        shares,
        version,
        log,
        now,
      }),
    )
    const listener = parts.use(
      await openListener({
        ...config.edge,
        host: config.host,
        port: config.port,
        // The name is the one by which the client has reached a gateway, which has checked it; the signature counts here.
        allowedHosts: ['*'],
        endpoints: [router],
        routes: addProblems,
        ready: async () => {
          if (!tools.complete) throw new Error('the tools are not known yet')
          return {}
        },
        requestFinished,
        refused: auditEdge(audited, addressOf),
        onDrain: () => {
          entrance.drain()
          router.drain()
        },
      }),
    )
    log.info({ address: listener.origin, version, role: config.role, name: hop.self }, 'ready')
    return { origin: listener.origin, [Symbol.asyncDispose]: () => parts[Symbol.asyncDispose]() }
  } catch (error) {
    await parts[Symbol.asyncDispose]()
    throw error
  }
}

function refuseUnsigned(): never {
  throw unsigned('A tool gateway takes requests of gateways only.')
}
