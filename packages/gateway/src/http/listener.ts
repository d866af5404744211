import type { IncomingMessage, RequestListener, Server } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { fastify, type FastifyInstance, type FastifyRequest } from 'fastify'
import type { GatewayError } from '../core/errors.ts'
import { defined } from '../lib/defined.ts'
import { createEdge, requestIdOf } from './edge.ts'
import { health, healthPaths, type HealthChecks } from './health.ts'
import { refuse } from './refuse.ts'
import { whenOver } from './over.ts'
import { sendProblem } from './rest.ts'
import { HttpServer, type Endpoint, type Planes, type ServerOptions } from './server.ts'

const refuseSchemas = (): never => {
  throw new Error(
    'A route has a JSON Schema, for which no compiler is there. Check by zod instead.',
  )
}

/** zod checks the routes. Compilers of JSON Schemas would take a tenth of the start. */
const noSchemas = { buildValidator: refuseSchemas, buildSerializer: refuseSchemas }

/** A finished request of the REST side, or a request that the edge refused. */
interface Finished {
  readonly requestId: string
  readonly method: string
  readonly path: string
  readonly status: number
  readonly durationMs: number
  readonly error?: string
  readonly cause?: unknown
  readonly principal?: string
  readonly adapter?: string
  readonly tool?: string
}

export interface ListenerOptions extends ServerOptions {
  readonly host: string
  readonly port: number
  readonly allowedHosts: readonly string[]
  readonly allowedOrigins: readonly string[]
  /**
   * Time to serve on after the process has become unready, so that load balancers notice before it
   * refuses requests.
   */
  readonly drainDelaySeconds: number
  readonly drainSeconds: number
  /** The MCP endpoints, each with its own paths. */
  readonly endpoints: readonly Endpoint[]
  /** Adds the REST side. */
  readonly routes: (api: FastifyInstance) => void
  /** Rejects if the process cannot serve. */
  readonly ready: HealthChecks['ready']
  readonly requestFinished: (request: Finished) => void
  /** Adds the caller and the resource of a REST request to its log line. */
  readonly describe?: (request: FastifyRequest) => Pick<Finished, 'principal' | 'adapter' | 'tool'>
  /** Called when the edge has refused a request, before any endpoint saw it. */
  readonly refused: (request: IncomingMessage, error: GatewayError) => void
  /** Receives the address once the server listens, before it takes its first connection. */
  readonly listening?: (origin: string) => void
  /** Called when draining begins, to end the requests that would stay open without need. */
  readonly onDrain: () => void
}

/** The listening server. Disposing drains it. */
export interface Listener extends AsyncDisposable {
  /** The address: `http://127.0.0.1:8000`. */
  readonly origin: string
}

/** Opens the one port: MCP endpoints, REST and health behind one edge. */
export async function openListener(options: ListenerOptions): Promise<Listener> {
  let controlPlane: RequestListener = () => undefined
  const server = new HttpServer(
    options,
    planesOf(options, (request, response) => controlPlane(request, response)),
  )
  const api = createApi(options, (listener) => {
    controlPlane = listener
    return server.node
  })

  let draining = false
  options.routes(api)
  health(api, {
    ready: async () => {
      if (draining) throw new Error('draining')
      return options.ready()
    },
  })
  await api.ready()

  const address = await server.listen(options.port, options.host)
  const host = address.family === 'IPv6' ? `[${address.address}]` : address.address
  const origin = `http://${host}:${address.port}`
  // Connections come in a later turn of the event loop.
  options.listening?.(origin)
  return {
    origin,
    async [Symbol.asyncDispose]() {
      draining = true
      server.endConnections()
      await sleep(options.drainDelaySeconds * 1000)
      options.onDrain()
      await server.drain(AbortSignal.timeout(options.drainSeconds * 1000))
      await api.close()
    },
  }
}

function planesOf(options: ListenerOptions, controlPlane: RequestListener): Planes {
  const { endpoints, refused, requestFinished } = options
  return {
    edge: createEdge(options),
    endpoints,
    controlPlane,
    refuse: (request, response, error) => {
      refuse(request, response, error)
      refused(request, error)
      requestFinished({
        requestId: requestIdOf(request),
        method: request.method ?? '',
        path: pathOf(request.url),
        status: error.status,
        durationMs: 0,
        error: error.code,
      })
    },
    unread: (refusal) => requestFinished({ ...refusal, method: '', path: '', durationMs: 0 }),
  }
}

/** The framework of the REST side, which reports each request once it is over. */
function createApi(
  options: ListenerOptions,
  serverFactory: (listener: RequestListener) => Server,
): FastifyInstance {
  const { describe, requestFinished } = options
  const api = fastify({
    bodyLimit: options.bodyLimitBytes,
    forceCloseConnections: false,
    exposeHeadRoutes: true,
    // Names in registries have up to 200 characters.
    routerOptions: { maxParamLength: 256 },
    schemaController: { compilersFactory: noSchemas },
    genReqId: (request) => requestIdOf(request),
    frameworkErrors: (error, request, reply) => {
      // Fastify runs no hooks for requests that match no route, so they are logged here.
      reply.raw.once('close', () =>
        requestFinished({
          ...named(request),
          status: reply.statusCode,
          durationMs: 0,
          ...told(request.problem),
        }),
      )
      sendProblem(error, request, reply)
    },
    serverFactory,
  })

  api.decorateRequest('problem', null)
  api.addHook('onRequest', async (request, reply) => void reply.header('x-request-id', request.id))

  whenOver(api, ({ request, reply, error, durationMs }) => {
    // Probes come every few seconds, so a good answer to one is not logged.
    if (error === undefined && reply.statusCode === 200 && healthPaths.has(request.url)) return

    requestFinished({
      ...named(request),
      status: error?.status ?? reply.statusCode,
      durationMs,
      ...describe?.(request),
      ...told(error),
    })
  })
  return api
}

function named({
  id,
  method,
  raw,
}: FastifyRequest): Pick<Finished, 'requestId' | 'method' | 'path'> {
  return { requestId: id, method, path: pathOf(raw.url) }
}

function told(error: GatewayError | null | undefined): Pick<Finished, 'error' | 'cause'> {
  return error ? defined({ error: error.code, cause: error.cause }) : {}
}

/**
 * The path without the query, which may hold secrets, and without the host and user of a whole
 * address.
 */
function pathOf(url = ''): string {
  const path = url.startsWith('/') ? url : url.replace(/^[a-z][\w+.-]*:\/*[^/?#]*/i, '')
  const question = path.indexOf('?')
  return (question === -1 ? path : path.slice(0, question)).slice(0, 512)
}
