import type { IncomingMessage, ServerResponse } from 'node:http'
import { mayBeModern, outline } from '@mcp-gateway/protocol'
import type { ReplicaDirectory } from '../core/directory.ts'
import { GatewayError, toGatewayError } from '../core/errors.ts'
import { authorize, type Permit } from '../core/permission.ts'
import type { Principal } from '../core/principal.ts'
import type { Adapter, Resource } from '../core/resource.ts'
import type { Config } from '../config/config.ts'
import { requestIdOf } from '../http/edge.ts'
import { sendRpcError } from '../http/refuse.ts'
import type { FinishedRequest } from '../telemetry/access-log.ts'
import { readBody } from './body.ts'
import { forward, type Forwarding } from './forward.ts'
import { Upstreams, type Upstream } from './replicas.ts'
import type { RouteTable } from './routes.ts'
import type { SessionSealer } from './sessions.ts'
import { Hop } from './hop.ts'
import { ownerOf, stateReplica, Translation } from './translation.ts'

export interface DataPlaneOptions {
  readonly authenticate: (request: IncomingMessage) => Principal
  readonly routes: RouteTable
  readonly directory: ReplicaDirectory
  readonly sealer: SessionSealer
  /** Shared by all gateway processes; they sign what one hands to another. */
  readonly keys: readonly Buffer[]
  /** The name of this process among the gateways, and where the others are. */
  readonly cluster: { readonly name: string; readonly peers: Readonly<Record<string, string>> }
  readonly settings: Config['proxy']
  readonly bodyLimitBytes: number
  readonly requestFinished: (request: FinishedRequest) => void
  readonly now: () => number
}

/** The data plane: MCP over streamable HTTP at `/adapters/{name}/mcp`. */
export interface DataPlane extends AsyncDisposable {
  /** Whether a request target is the data plane's. */
  handles(url: string): boolean
  handle(request: IncomingMessage, response: ServerResponse): void
  /** New requests are refused and open event streams end, so that clients reconnect elsewhere; calls in progress go on. */
  drain(): void
}

export function createDataPlane(options: DataPlaneOptions): DataPlane {
  const { settings } = options
  const upstreams = new Upstreams(options.directory, {
    connectTimeoutMs: settings.connectTimeoutSeconds * 1000,
    keepAliveMs: settings.upstreamKeepAliveSeconds * 1000,
    coldStartMs: settings.coldStartSeconds * 1000,
  })
  /** What draining does not wait for: event streams, and requests that were not sent yet. */
  const translation = new Translation({
    pick: (resource) => {
      const upstream = upstreams.pick(resource.name, resource.uid, undefined)
      if (upstream === undefined) throw new GatewayError('no_ready_replica', { headers: { 'retry-after': '1' } })
      return upstream
    },
    sealer: options.sealer,
    self: options.cluster.name,
    answerTimeoutMs: settings.answerTimeoutSeconds * 1000,
    now: options.now,
  })
  const hop = new Hop({ keys: options.keys, self: options.cluster.name, peers: options.cluster.peers, now: options.now })
  const interrupts = new Map<ServerResponse, (reason: GatewayError) => void>()
  let draining = false

  function onDrain(response: ServerResponse, interrupt: (reason: GatewayError) => void): void {
    if (!interrupts.has(response)) response.once('close', () => interrupts.delete(response))
    interrupts.set(response, interrupt)
  }

  /** The life of a request, in the order of the picture in the README. What throws here becomes the answer, once, in `handle`. */
  function pass(request: IncomingMessage, response: ServerResponse, life: Life): void {
    if (draining) throw drained()
    const handed = hop.open(request)
    const principal = (life.principal = handed?.principal ?? options.authenticate(request)) // authenticate
    const target = parseTarget(request.url as string)
    life.name = target.name
    const resource = resolve(options.routes, target.name) // resolve
    life.adapter = resource.name
    const permit = authorize(principal, 'use', resource) // authorize
    checkMethod(request)
    const sealed = sessionIdOf(request, target)
    const session = sealed === undefined ? undefined : options.sealer.open(sealed, resource.uid, principal) // open session
    readBody(request, options.bodyLimitBytes, (error, body) => {
      if (error !== undefined) return life.fail(error)
      life.body = body
      if (handed !== undefined) {
        try {
          handed.checkBody(body)
        } catch (mistake) {
          return life.fail(mistake)
        }
      }
      const opens = request.method === 'POST' && body !== null && session === undefined
      const modern = opens && mayBeModern(body, request.headers)
      const translating = opens
        ? {
            resource,
            principal,
            body,
            modern,
            request,
            response,
            run: run(life, request, response),
            fail: (failure: unknown) => life.fail(failure),
          }
        : undefined
      const sticky = session?.replica ?? (modern ? knownReplica(resource, stateReplica(body)) : undefined)
      const exclude = new Set<string>()
      const attempt = (upstream: Upstream, mayTranslate = true): void => {
        life.replica = upstream.replica.name
        const passOn = (): void => attempt(upstream, false)
        const crossing = mayTranslate ? translating : undefined
        if (crossing !== undefined && translation.takes(crossing, upstream, passOn)) return // translate
        const forwarding: Forwarding = {
          request,
          response,
          requestId: life.requestId,
          principal: permit.principal,
          path: upstream.replica.path + target.query,
          body,
          session,
          sealed,
          answerTimeoutMs: settings.answerTimeoutSeconds * 1000,
          seal: (upstreamId, { replica }) =>
            options.sealer.seal({ upstreamId, replica: replica.name, uid: resource.uid, issuedAt: options.now() }, principal),
          refused: crossing === undefined ? undefined : translation.onRefusal(crossing, upstream, passOn),
          finished: (failure) => {
            // A modern server that refuses a modern request may have become a legacy one.
            if (modern && [400, 404, 405].includes(response.statusCode)) translation.doubt(resource)
            life.finish(failure)
          },
          failed: (failure, unsent) => {
            // What was never sent may go to another replica, unless the session lives on this one.
            const other =
              unsent && sticky === undefined && failure.code === 'upstream_unreachable'
                ? upstreams.pick(resource.name, resource.uid, undefined, exclude.add(upstream.replica.name))
                : undefined
            if (other === undefined) life.fail(failure)
            else attempt(other)
          },
        }
        const stop = forward(upstream, forwarding) // forward, stream back
        if (request.method === 'GET') onDrain(response, stop)
        else interrupts.delete(response)
      }
      const owner = session === undefined ? (modern ? translation.stateOwner(resource, principal, body) : undefined) : ownerOf(session)
      if (owner !== undefined && owner !== hop.self && handed === undefined) {
        return run(
          life,
          request,
          response,
        )(() => {
          hop.forward(owner, { request, response, body, principal }, () => {
            // Whoever held it is no more: a session is to be opened anew, a call to be made anew.
            if (session === undefined) pick(permit, sticky, life, attempt)
            else life.fail(new GatewayError('session_not_found', { detail: 'The session is not known. Initialize again.' }))
          })
        })
      }
      if (session !== undefined && owner !== undefined)
        return run(life, request, response)(() => translation.pass(resource, session, body, request, response))
      pick(permit, sticky, life, attempt) // pick replica
    })
  }

  function knownReplica({ name }: Resource, replica: string | undefined): string | undefined {
    return options.directory.get(name)?.replicas.some((each) => each.name === replica) === true ? replica : undefined
  }

  /** For what answers by itself, not by forwarding: what it throws before that is the answer. */
  function run(life: Life, request: IncomingMessage, response: ServerResponse): (work: () => void) => void {
    return (work) => {
      life.replica = 'translated'
      response.setHeader('x-request-id', life.requestId)
      response.once('close', () => life.finish(response.writableFinished ? undefined : new GatewayError('client_closed_request')))
      if (request.method === 'GET') onDrain(response, () => response.end())
      try {
        work()
      } catch (error) {
        life.fail(error)
      }
    }
  }

  /** At once when a replica is ready; otherwise waits, bounded, for a cold or restarting one. */
  function pick(
    { resource }: Permit<'use', Resource>,
    sticky: string | undefined,
    life: Life,
    attempt: (upstream: Upstream) => void,
  ): void {
    try {
      const ready = upstreams.pick(resource.name, resource.uid, sticky)
      if (ready !== undefined) return attempt(ready)
    } catch (error) {
      return life.fail(error)
    }
    const waiting = new AbortController()
    const { signal } = waiting
    life.response.once('close', () => waiting.abort(new GatewayError('client_closed_request')))
    onDrain(life.response, (reason) => waiting.abort(reason))
    upstreams.waitFor(resource.name, resource.uid, sticky, signal).then(
      (upstream) => (signal.aborted ? life.fail(signal.reason) : attempt(upstream)),
      (error: unknown) => life.fail(signal.aborted ? signal.reason : error),
    )
  }

  return {
    handles: (url) => parseTarget(url).name !== '',
    handle(request, response) {
      const life = new Life(request, response, options)
      try {
        pass(request, response, life)
      } catch (error) {
        life.fail(error)
      }
    },
    drain() {
      draining = true
      for (const interrupt of interrupts.values()) interrupt(drained())
      translation.drain()
    },
    async [Symbol.asyncDispose]() {
      translation.close()
      await hop[Symbol.asyncDispose]()
      await upstreams[Symbol.asyncDispose]()
    },
  }
}

/** What is known of a request until its one line in the log is written. */
class Life {
  readonly requestId: string
  readonly response: ServerResponse
  readonly #request: IncomingMessage
  readonly #options: DataPlaneOptions
  readonly #start = performance.now()
  principal: Principal | undefined
  /** What the caller asked for, be there such an adapter or not. */
  name = ''
  adapter: string | undefined
  replica: string | undefined
  body: Buffer | null = null
  #over = false

  constructor(request: IncomingMessage, response: ServerResponse, options: DataPlaneOptions) {
    this.requestId = requestIdOf(request)
    this.response = response
    this.#request = request
    this.#options = options
  }

  /** Answers with the error and ends. */
  fail(thrown: unknown): void {
    const error = toGatewayError(thrown)
    if (!this.response.headersSent && !this.response.destroyed) sendRpcError(this.response, error, this.requestId, requestedId(this.body))
    this.finish(error)
  }

  finish(error?: GatewayError): void {
    if (this.#over) return
    this.#over = true
    const { method = '' } = this.#request
    this.#options.requestFinished({
      requestId: this.requestId,
      method,
      path: `${prefix}${this.name.slice(0, 64)}${suffix}`,
      status: error?.status ?? this.response.statusCode,
      durationMs: Math.round((performance.now() - this.#start) * 100) / 100,
      bytesIn: this.body?.length ?? 0,
      ...(this.principal === undefined ? {} : { principal: this.principal.id }),
      ...(this.adapter === undefined ? {} : { adapter: this.adapter }),
      ...(this.replica === undefined ? {} : { replica: this.replica }),
      ...(error === undefined ? {} : { error: error.code, ...(error.cause === undefined ? {} : { cause: error.cause }) }),
    })
  }
}

/** The raw id of the request in a body that may be anything. */
function requestedId(body: Buffer | null): string {
  try {
    const { id } = body === null ? { id: undefined } : (JSON.parse(body.toString()), outline(body))
    return id !== undefined && /^["\-\d]/.test(id) ? id : 'null'
  } catch {
    return 'null'
  }
}

interface Target {
  /** Empty when the request is not the data plane's. */
  readonly name: string
  readonly sessionId: string | undefined
  /** What of the query goes on to the server, with its `?`. */
  readonly query: string
}

const prefix = '/adapters/'
const suffix = '/mcp'
const nowhere: Target = { name: '', sessionId: undefined, query: '' }

/** Reads `/adapters/{name}/mcp`, exactly: no other spelling of the path (escapes, doubled or trailing slashes) reaches a server. */
function parseTarget(url: string): Target {
  if (!url.startsWith(prefix)) return nowhere
  const question = url.indexOf('?')
  const end = question === -1 ? url.length : question
  const slash = url.indexOf('/', prefix.length)
  if (slash <= prefix.length || end - slash !== suffix.length || !url.startsWith(suffix, slash)) return nowhere
  const name = url.slice(prefix.length, slash)
  return question === -1 ? { name, sessionId: undefined, query: '' } : { name, ...splitQuery(url.slice(question + 1)) }
}

/** The original accepts a session id as `session_id` in the query. It is ours, so the server does not get it. */
function splitQuery(query: string): { sessionId: string | undefined; query: string } {
  const parts = query.split('&')
  const kept = parts.filter((part) => !part.startsWith('session_id='))
  const given = parts.find((part) => part.startsWith('session_id='))?.slice('session_id='.length)
  return { sessionId: given === '' ? undefined : given, query: kept.length === 0 || query === '' ? '' : `?${kept.join('&')}` }
}

function resolve(routes: RouteTable, name: string): Adapter {
  const resource = routes.get(name)
  if (resource === undefined || resource.kind !== 'adapter') throw new GatewayError('not_found')
  return resource as Adapter
}

function checkMethod({ method }: IncomingMessage): void {
  if (method === 'POST' || method === 'GET' || method === 'DELETE') return
  throw new GatewayError('method_not_allowed', { headers: { allow: 'POST, GET, DELETE' } })
}

/** The header outranks the query parameter, because a query may be old: it stands in configuration files. */
function sessionIdOf({ headers }: IncomingMessage, target: Target): string | undefined {
  const header = headers['mcp-session-id']
  // Node joins repeated headers; a sealed id has no comma, so such a request opens nothing.
  return typeof header === 'string' && header !== '' ? header : target.sessionId
}

function drained(): GatewayError {
  return new GatewayError('draining', { headers: { 'retry-after': '1', connection: 'close' } })
}
