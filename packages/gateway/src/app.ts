import { randomUUID } from 'node:crypto'
import { ApiKeys } from './auth/api-keys.ts'
import { developmentOwner } from './auth/development.ts'
import { openIdentity } from './auth/open.ts'
import { resourceMetadata } from './auth/resource-metadata.ts'
import { auditApiRequests, auditEdge } from './audit/api-requests.ts'
import type { Audited } from './audit/audit.ts'
import type { AddressOf } from './audit/decision.ts'
import { auditMcpRequests } from './audit/mcp-requests.ts'
import { openAudit } from './audit/open.ts'
import { AuditSinkConfig, type Config } from './config/config.ts'
import { privateFiles, privateFolders } from './config/private-files.ts'
import { describeRequest } from './control/audit-trail.ts'
import { DeclaredTarget, dryRun } from './control/declared-target.ts'
import { resourceKinds } from './control/kinds.ts'
import { controlPlane } from './control/plugin.ts'
import { Silences } from './core/silences.ts'
import { accessRules } from './core/access.ts'
import { createShares } from './core/shares.ts'
import { followSources } from './declared/follow.ts'
import { createClientView } from './http/client-view.ts'
import { openListener, type Listener } from './http/listener.ts'
import { publishKeys } from './http/published-keys.ts'
import { addProblems } from './http/rest.ts'
import { createAddressPolicy } from './lib/address-policy.ts'
import { Parts } from './lib/parts.ts'
import { SchemaChecks } from './lib/schema-checks.ts'
import { Entrance } from './ingress/entrance.ts'
import { forPeers, Hop } from './ingress/peer-hop.ts'
import { IdentitySigner } from './upstream/identity-signer.ts'
import { createOutgoing } from './upstream/outgoing.ts'
import { createDataPlane } from './proxy/pipeline.ts'
import { RouteTable } from './proxy/routes.ts'
import { loadSessionKeys } from './ingress/session-keys.ts'
import { createSessionSealer } from './ingress/session-sealer.ts'
import { startReconciler } from './reconcile/reconciler.ts'
import { renderWorkload } from './reconcile/render.ts'
import { builtinImages } from './runtime/builtin-images.ts'
import { openRuntime } from './runtime/open.ts'
import { openClusterSecrets } from './runtime/open-cluster-secrets.ts'
import { openPeers } from './runtime/open-peers.ts'
import { ClusterSource } from './secrets/cluster-source.ts'
import { fileSource } from './secrets/file-source.ts'
import { HeldSecrets } from './secrets/held-secrets.ts'
import { storeSource } from './secrets/store-source.ts'
import { openSealedStore } from './secrets/sealed-store.ts'
import type { Renewal } from './store/sealed.ts'
import { createAccessLog } from './telemetry/access-log.ts'
import type { Log } from './telemetry/log.ts'
import { ToolFeed } from './tools/feed.ts'
import { openToolRouter } from './tools/open.ts'
import { RemoteRouter } from './tools/remote-router.ts'

export interface AppOptions {
  readonly config: Config
  readonly log: Log
  /** The environment of the process; workloads get a small part of it. */
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly version: string
  /** The process is to end: what is waited for meanwhile is given up. */
  readonly signal: AbortSignal
}

/** A running gateway. Disposing drains it. */
export interface App extends AsyncDisposable {
  /** Where it listens: `http://127.0.0.1:8000`. */
  readonly origin: string
}

/** Makes every part in order, the first of which are the last to go. Alone knows which is connected to which. */
export async function openApp({
  config,
  log,
  environment,
  version,
  signal,
}: AppOptions): Promise<App> {
  const parts = new Parts()
  try {
    const { dataDir } = config
    const store = parts.use(
      await openSealedStore({
        dataDir,
        settings: config.store,
        signal,
        keys: config.secrets.keys,
        report: storeReport(log),
      }),
    )
    const { files, kubernetes: opened } = config.secrets
    const clusterSecrets = parts.use(
      await openClusterSecrets({ opened, settings: config.runtime.kubernetes, log }),
    )
    const kubernetes = new ClusterSource(opened, clusterSecrets)
    const secretSources = { store: storeSource(store.secrets), file: fileSource(files), kubernetes }
    logRenewal(await store.renewSeals(), log)
    const keys = await loadSessionKeys({ dataDir, configured: config.sessions.keys })
    const programs = { ...builtinImages(), ...config.runtime.images }
    const access = accessRules(config.access, {
      development: config.identity.mode === 'development',
      lendsIdentity: config.runtime.kind === 'kubernetes',
      anonymous: config.identity.allowAnonymous,
      imageVariables: Object.fromEntries(
        Object.entries(config.runtime.images).map(([name, { variables }]) => [name, variables]),
      ),
    })
    const runtime = parts.use(
      await openRuntime({
        settings: config.runtime,
        dataDir,
        privateFiles: privateFiles(config, environment),
        privateFolders: privateFolders(config),
        programs,
        environment,
        log,
      }),
    )
    const reconciler = parts.use(
      startReconciler({
        store,
        runtime,
        render: (resource) => renderWorkload(resource, secretSources, access),
        onClusterSecret: (listener) => kubernetes.onChange(listener),
        log,
        resyncMs: 60_000,
        retry: { firstMs: 200, maxMs: 30_000 },
      }),
    )
    const routes = parts.use(await RouteTable.open(store))
    const development = config.identity.mode === 'development'
    const loopback = development ? ['127.0.0.0/8', '::1'] : []
    const apiKeys = parts.use(
      await ApiKeys.open({
        collection: store.apiKeys,
        log,
        now: () => Date.now(),
        development,
        tellUseMs: 60_000,
      }),
    )
    const networks = config.endpointNetworks ?? loopback
    const endpointRules = {
      adapter: { policy: createAddressPolicy(networks), setting: 'endpointNetworks' },
      tool: {
        policy: createAddressPolicy(config.tools.endpointNetworks ?? networks),
        setting: 'tools.endpointNetworks',
      },
    }
    const requestFinished = createAccessLog(log, config.edge.accessLog)
    const now = (): number => Date.now()
    const self = config.cluster.name ?? randomUUID().slice(0, 8)
    const known = { settings: config.runtime.kubernetes, log }
    const peers = parts.use(
      await openPeers({
        ...known,
        fixed: config.cluster.peers,
        service: config.cluster.peersService,
      }),
    )
    const { gateways, gatewaysService } = config.tools
    const toolGateways = parts.use(
      await openPeers({ ...known, fixed: gateways, service: gatewaysService }),
    )
    const hop = parts.use(
      new Hop({ keys, self, peers: [peers.directory, toolGateways.directory], now }),
    )
    const sealer = createSessionSealer({
      keys,
      maxAgeMs: config.proxy.sessionMaxAgeSeconds * 1000,
      now,
    })
    let origin = config.publicOrigin === undefined ? '' : new URL(config.publicOrigin).origin
    const signer = new IdentitySigner({ keys, issuer: () => origin, now })
    const held = parts.use(
      await HeldSecrets.open({
        store,
        files: secretSources.file,
        cluster: kubernetes,
        refreshMs: 5000,
      }),
    )
    const outgoing = createOutgoing(signer, (reference) => held.find(reference))
    const { bodyLimitBytes, trustedProxies, forwardedBy } = config.edge
    const hosts = [
      ...config.edge.allowedHosts,
      ...(config.publicOrigin === undefined ? [] : [new URL(config.publicOrigin).hostname]),
    ]
    const client = createClientView({
      publicOrigin: config.publicOrigin,
      trustedProxies,
      forwardedBy,
      allowedHosts: hosts,
      listening: () => origin,
    })
    const warn = (about: object, what: string): void =>
      log.warn(about, `identity provider: ${what}`)
    const identity = parts.use(
      openIdentity({
        settings: config.identity,
        isWorkload: runtime.isWorkload,
        methods: [(request) => apiKeys.authenticate(request)],
        client,
        warn,
        now,
      }),
    )
    const { authenticate, challenge } = identity
    const recheckMs = config.proxy.streamRecheckSeconds * 1000
    const audit = parts.use(
      await openAudit({
        sinks: config.audit.sinks ?? [AuditSinkConfig.parse({ type: 'file' })],
        queueRecords: config.audit.queueRecords,
        dataDir: config.dataDir,
        instance: self,
        version,
        log,
        now,
      }),
    )
    const addressOf: AddressOf = (request) => client.addressOf(request)
    const audited: Audited = (event) => audit.record(event)
    const { dataPlane: audits } = config.audit
    const auditMcp = audits === 'off' ? undefined : auditMcpRequests(audited, audits, addressOf)
    const shares = createShares(config.limits, bodyLimitBytes)
    const entrance = new Entrance({
      authenticate,
      challenge,
      hop,
      bodyLimitBytes,
      shares,
      recheckMs,
      requestFinished,
      audit: auditMcp,
    })
    apiKeys.onEnd(() => entrance.askAgain())
    parts.defer(async () => entrance[Symbol.dispose]())
    const { directory } = runtime
    const { policy: endpointPolicy } = endpointRules.adapter
    const silences = new Silences(now)
    const passing = {
      entrance,
      silences,
      hop,
      routes,
      directory,
      sealer,
      outgoing,
      endpointPolicy,
      settings: config.proxy,
      connectionsPerServer: config.limits.connectionsPerServer,
      shares,
      now,
    }
    const dataPlane = parts.use(createDataPlane(passing))
    const toolRouter =
      Object.keys(gateways).length > 0 || gatewaysService !== undefined
        ? new RemoteRouter({ toolGateways: toolGateways.directory, entrance, hop, sealer })
        : parts.use(
            await openToolRouter({
              store,
              directory,
              endpointPolicy: endpointRules.tool.policy,
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
    const endpoints = [
      dataPlane,
      toolRouter,
      new ToolFeed({ store, directory, entrance, keys, secrets: held, issuer: () => origin }),
    ]

    const checks = parts.use(new SchemaChecks())
    const { maxReplicas } = config.runtime
    const kinds = resourceKinds({ maxReplicas, endpoints: endpointRules, checks })
    const writing = {
      store,
      sealedResources: store.sealedResources,
      nudge: (name: string) => reconciler.nudge(name),
      access,
      secretSources,
      sources: new Set(Object.keys(config.declared)),
      kinds,
      now: () => new Date(),
      newUid: randomUUID,
    }
    const declared = parts.use(
      followSources({
        sources: config.declared,
        // On a laptop the files belong to the caller who says nothing of itself.
        ownerOf: (source) => (development ? developmentOwner : { id: source, issuer: 'declared' }),
        targets: (source, principal) => {
          const options = { ...writing, source, principal, audited }
          return { target: new DeclaredTarget(options), trial: dryRun(options) }
        },
        reconciler,
        runtime,
        log,
        now: writing.now,
      }),
    )
    const listeners: Listener[] = []
    parts.defer(
      async () => void (await Promise.all(listeners.map((each) => each[Symbol.asyncDispose]()))),
    )
    // The store serves changes. What is known is served without it, so that an outage of a database that all share takes no gateway away.
    const ready = (): Promise<Readonly<Record<string, string>>> =>
      store.ping().then(
        () => ({}),
        () => ({ store: 'unavailable' }),
      )
    const common = {
      ...config.edge,
      ready,
      requestFinished,
      refused: auditEdge(audited, addressOf),
    }
    const listener = await openListener({
      ...common,
      connections: {
        shares: shares.connections,
        isProxy: (address) => client.isProxy(address),
      },
      host: config.host,
      port: config.port,
      allowedHosts: hosts,
      // Behind a proxy, pages of the gateway's own address may call by another Host.
      allowedOrigins: [...config.edge.allowedOrigins, ...(origin === '' ? [] : [origin])],
      endpoints,
      describe: describeRequest,
      routes: (api) => {
        controlPlane(api, {
          ...writing,
          runtime,
          declared: () => declared.status(),
          problem: (name) => reconciler.problem(name),
          silences,
          authenticate,
          challenge,
          shares,
          apiKeys: config.apiKeys,
          secrets: config.secrets,
          sealedSecrets: store.sealedSecrets,
          recheckMs,
          version,
          audit: auditApiRequests(audited, addressOf),
        })
        publishKeys(api, signer.jwks)
        if (identity.metadata !== undefined) resourceMetadata(api, identity.metadata)
      },
      onDrain: () => {
        entrance.drain()
        dataPlane.drain()
        if ('drain' in toolRouter) toolRouter.drain()
      },
    })
    listeners.push(listener)
    if (config.cluster.port !== undefined) {
      const { host, port } = config.cluster
      const peers = {
        host,
        port,
        allowedHosts: ['*'],
        allowedOrigins: [],
        endpoints: endpoints.map(forPeers),
        routes: addProblems,
      }
      listeners.push(await openListener({ ...common, ...peers, onDrain: () => undefined }))
    }
    if (origin === '') origin = listener.origin
    log.info(
      {
        address: listener.origin,
        version,
        store: config.store.url === undefined ? 'sqlite' : 'postgres',
        runtime: runtime.name,
      },
      'ready',
    )
    return { origin: listener.origin, [Symbol.asyncDispose]: () => parts[Symbol.asyncDispose]() }
  } catch (error) {
    await parts[Symbol.asyncDispose]()
    throw error
  }
}

function storeReport(log: Log): (problem: Error | undefined) => void {
  return (problem) => {
    if (problem === undefined) log.info('the database answers again')
    else log.error({ err: problem }, 'the database does not answer; trying again')
  }
}

function logRenewal({ renewed, unreadable }: Renewal, log: Log): void {
  if (renewed > 0) log.info({ resources: renewed }, 'stored secrets were sealed with the first key')
  if (unreadable.length > 0)
    log.error({ resources: unreadable }, 'stored secrets cannot be decrypted; see docs/secrets.md')
}
