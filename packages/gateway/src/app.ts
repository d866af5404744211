import { randomUUID } from 'node:crypto'
import type { RequestListener } from 'node:http'
import { fastify } from 'fastify'
import { authenticateDevelopment } from './auth/development.ts'
import type { Config } from './config/config.ts'
import { controlPlane } from './control/plugin.ts'
import { accessRules } from './core/access.ts'
import { createEdge, requestIdOf } from './http/edge.ts'
import { health } from './http/health.ts'
import { refuse } from './http/refuse.ts'
import { sendProblem } from './http/rest.ts'
import { createHttpServer, drain, listen } from './http/server.ts'
import { createAddressPolicy } from './lib/address-policy.ts'
import { Parts } from './lib/parts.ts'
import { Entrance } from './proxy/entrance.ts'
import { Hop } from './proxy/hop.ts'
import { createDataPlane } from './proxy/pipeline.ts'
import { RouteTable } from './proxy/routes.ts'
import { loadSessionKeys } from './proxy/session-keys.ts'
import { createSessionSealer } from './proxy/sessions.ts'
import { startReconciler } from './reconcile/reconciler.ts'
import { renderWorkload } from './reconcile/render.ts'
import { builtinImages } from './runtime/builtin-images.ts'
import { openRuntime } from './runtime/open.ts'
import { openStore } from './store/open.ts'
import { createAccessLog } from './telemetry/access-log.ts'
import type { Log } from './telemetry/log.ts'
import { openToolRouter } from './tools/open.ts'

export interface AppOptions {
  readonly config: Config
  readonly log: Log
  /** The environment of the process; workloads get a small part of it. */
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly version: string
}

/** A running gateway. Disposing drains it. */
export interface App extends AsyncDisposable {
  /** Where it listens: `http://127.0.0.1:8000`. */
  readonly origin: string
}

/** Makes every part in order, the first of which are the last to go. Alone knows which is connected to which. */
export async function openApp({ config, log, environment, version }: AppOptions): Promise<App> {
  const parts = new Parts()
  try {
    const store = parts.use(await openStore({ dataDir: config.dataDir }))
    const keys = await loadSessionKeys({ dataDir: config.dataDir, configured: config.sessions.keys })
    const programs = { ...builtinImages(), ...config.runtime.images }
    const runtime = parts.use(await openRuntime({ settings: config.runtime, dataDir: config.dataDir, programs, environment, log }))
    const reconciler = parts.use(
      await startReconciler({ store, runtime, render: renderWorkload, log, resyncMs: 60_000, retry: { firstMs: 200, maxMs: 30_000 } }),
    )
    const routes = parts.use(await RouteTable.open(store))
    const loopback = config.identity.mode === 'development' ? ['127.0.0.0/8', '::1'] : []
    const endpointPolicy = createAddressPolicy(config.tools.endpointNetworks ?? loopback)
    const requestFinished = createAccessLog(log, config.edge.accessLog)
    const now = (): number => Date.now()
    const self = config.cluster.name ?? randomUUID().slice(0, 8)
    const hop = parts.use(new Hop({ keys, self, peers: config.cluster.peers, now }))
    const sealer = createSessionSealer({ keys, maxAgeMs: config.proxy.sessionMaxAgeSeconds * 1000, now })
    const { bodyLimitBytes } = config.edge
    const entrance = new Entrance({ authenticate: authenticateDevelopment, hop, bodyLimitBytes, requestFinished })
    const { directory } = runtime
    const dataPlane = parts.use(createDataPlane({ entrance, hop, routes, directory, sealer, settings: config.proxy, now }))
    const toolRouter = parts.use(
      await openToolRouter({
        store,
        directory,
        endpointPolicy,
        settings: config.tools,
        keepAliveSeconds: config.proxy.upstreamKeepAliveSeconds,
        entrance,
        hop,
        sealer,
        version,
        log,
        now,
      }),
    )

    let handler: RequestListener = () => undefined
    const hosts = [...config.edge.allowedHosts, ...(config.publicOrigin === undefined ? [] : [new URL(config.publicOrigin).hostname])]
    const server = createHttpServer(config.edge, {
      edge: createEdge({ allowedHosts: hosts, allowedOrigins: config.edge.allowedOrigins }),
      dataPlane: {
        handles: (url) => toolRouter.handles(url) || dataPlane.handles(url),
        handle: (request, response) => (toolRouter.handles(request.url ?? '') ? toolRouter : dataPlane).handle(request, response),
      },
      controlPlane: (request, response) => handler(request, response),
      refuse: (request, response, error) => {
        refuse(request, response, error)
        requestFinished({
          requestId: requestIdOf(request),
          method: request.method ?? '',
          path: pathOf(request.url),
          status: error.status,
          durationMs: 0,
          error: error.code,
        })
      },
    })

    let draining = false
    const api = fastify({
      bodyLimit: config.edge.bodyLimitBytes,
      forceCloseConnections: false,
      exposeHeadRoutes: true,
      genReqId: (request) => requestIdOf(request),
      frameworkErrors: sendProblem,
      serverFactory: (listener) => {
        handler = listener
        return server
      },
    })
    api.decorateRequest('problem', null)
    api.addHook('onRequest', async (request, reply) => void reply.header('x-request-id', request.id))
    api.addHook('onResponse', async (request, reply) => {
      const error = request.problem
      requestFinished({
        requestId: request.id,
        method: request.method,
        path: pathOf(request.url),
        status: reply.statusCode,
        durationMs: Math.round(reply.elapsedTime * 100) / 100,
        ...(error === null ? {} : { error: error.code, ...(error.cause === undefined ? {} : { cause: error.cause }) }),
      })
    })
    controlPlane(api, {
      store,
      runtime,
      nudge: (name) => reconciler.nudge(name),
      problem: (name) => reconciler.problem(name),
      authenticate: authenticateDevelopment,
      maxReplicas: config.runtime.maxReplicas,
      endpointPolicy,
      access: accessRules(config.access, config.identity.mode === 'development'),
      now: () => new Date(),
      newUid: randomUUID,
      version,
    })
    health(api, {
      ready: async () => {
        if (draining) throw new Error('draining')
        await store.ping()
      },
    })
    await api.ready()
    const address = await listen(server, config.port, config.host)
    parts.defer(async () => {
      draining = true
      entrance.drain()
      dataPlane.drain()
      toolRouter.drain()
      await drain(server, AbortSignal.timeout(config.edge.drainSeconds * 1000))
      await api.close()
    })
    const host = address.family === 'IPv6' ? `[${address.address}]` : address.address
    log.info({ address: `http://${host}:${address.port}`, version, store: 'sqlite', runtime: runtime.name }, 'ready')
    return { origin: `http://${host}:${address.port}`, [Symbol.asyncDispose]: () => parts[Symbol.asyncDispose]() }
  } catch (error) {
    await parts[Symbol.asyncDispose]()
    throw error
  }
}

/** Without the query, which may hold what must not be in a log. */
function pathOf(url = ''): string {
  const question = url.indexOf('?')
  return (question === -1 ? url : url.slice(0, question)).slice(0, 512)
}
