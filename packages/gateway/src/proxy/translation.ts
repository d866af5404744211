import { randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { eraOf, readMessages, sendHttp, Translator, type HttpUpstream, type ServerEras } from '@mcp-gateway/bridge'
import { classify, DuplicateMember, errorCode, metaKey, modernVersion, outline, readMessage, requestMessage } from '@mcp-gateway/protocol'
import { GatewayError } from '../core/errors.ts'
import type { Principal } from '../core/principal.ts'
import type { Resource } from '../core/resource.ts'
import { identityHeaders } from './headers.ts'
import type { Upstream } from './replicas.ts'
import type { Session } from './sessions.ts'

export interface TranslationOptions {
  /** A replica that is ready now. @throws GatewayError when there is none */
  readonly pick: (resource: Resource) => Upstream
  readonly seal: (session: Session, principal: Principal) => string
  readonly answerTimeoutMs: number
  readonly now: () => number
}

/** What a sealed session says instead of a replica's name when this process translates it. */
export const translated = ''

const clientInfo = { name: 'mcp-gateway', version: '0.1.0' }
/** A verdict that is wrong by now is noticed after so long at the latest: servers learn new versions. */
const verdictMs = 24 * 3600_000
const probeTimeoutMs = 10_000
const limits = { maxSessions: 10_000, sessionIdleMs: 3600_000, sessionMaxMs: 7 * 24 * 3600_000 }

interface Server {
  readonly translator: Translator
  readonly generation: number
  eras: ServerEras | undefined
  probedAt: number
  probing: Promise<ServerEras | undefined> | undefined
}

/** Clients of one era in front of servers of the other: what each server speaks, and the translation where it is needed. */
export class Translation {
  readonly #options: TranslationOptions
  /** By the adapter's incarnation. */
  readonly #servers = new Map<string, Server>()

  constructor(options: TranslationOptions) {
    this.#options = options
  }

  /** What the server of an adapter speaks, as far as it is known. */
  known(resource: Resource): ServerEras | undefined {
    const server = this.#servers.get(resource.uid)
    if (server === undefined || server.generation !== resource.generation || this.#options.now() - server.probedAt > verdictMs)
      return undefined
    return server.eras
  }

  /** Asks the server what it speaks, never with a call of a client. Undefined when it can not be said now: it is down, or wants other credentials. */
  async eras(resource: Resource, upstream: Upstream, principal: Principal): Promise<ServerEras | undefined> {
    const known = this.known(resource)
    if (known !== undefined) return known
    const server = this.#server(resource)
    server.probing ??= probe(httpUpstream(upstream, principal)).finally(() => (server.probing = undefined))
    const eras = await server.probing
    server.eras = eras
    server.probedAt = this.#options.now()
    return eras
  }

  /** Answers a modern request in front of a legacy server. */
  modern(resource: Resource, principal: Principal, body: Buffer, request: IncomingMessage, response: ServerResponse): void {
    const classified = classifyBody(body, request)
    if (classified.era === 'modern') this.#server(resource).translator.modern(keyOf(principal), classified, request, response)
    else throw new GatewayError('invalid_request', { detail: 'The request names the modern version, but is no request of it.' })
  }

  /** Opens a legacy session in front of a modern server. */
  open(resource: Resource, principal: Principal, body: Buffer, response: ServerResponse): void {
    const id = randomBytes(16).toString('base64url')
    const sealed = this.#options.seal({ upstreamId: id, replica: translated, uid: resource.uid, issuedAt: this.#options.now() }, principal)
    this.#server(resource).translator.open(id, keyOf(principal), body, response, { 'mcp-session-id': sealed })
  }

  /** Goes on with a legacy session. */
  pass(resource: Resource, { upstreamId }: Session, body: Buffer | null, request: IncomingMessage, response: ServerResponse): void {
    const translator = this.#servers.get(resource.uid)?.translator
    const session = translator?.session(upstreamId)
    if (translator === undefined || session === undefined)
      throw new GatewayError('session_not_found', { detail: 'The session is not known. Initialize again.' })
    if (request.method === 'GET') {
      const { 'last-event-id': last } = request.headers
      return session.get(response, typeof last === 'string' ? last : undefined)
    }
    if (request.method === 'DELETE') {
      translator.end(session)
      return void response.writeHead(200).end()
    }
    checkJson(body ?? Buffer.alloc(0))
    session.post(body ?? Buffer.alloc(0), response)
  }

  /** Listen streams end in good order, so that their clients open them elsewhere; calls in progress go on. */
  drain(): void {
    for (const { translator } of this.#servers.values()) translator.drain()
  }

  close(): void {
    for (const { translator } of this.#servers.values()) translator.close('The gateway is shutting down.')
    this.#servers.clear()
  }

  #server(resource: Resource): Server {
    const known = this.#servers.get(resource.uid)
    if (known?.generation === resource.generation) return known
    // What was changed may speak otherwise; its sessions have ended with its replicas.
    known?.translator.close('The server was changed.')
    const server: Server = {
      generation: resource.generation,
      eras: undefined,
      probedAt: 0,
      probing: undefined,
      translator: new Translator({
        upstream: (principal) => httpUpstream(this.#options.pick(resource), JSON.parse(principal) as Principal),
        clientInfo,
        answerTimeoutMs: this.#options.answerTimeoutMs,
        ...limits,
      }),
    }
    this.#servers.set(resource.uid, server)
    return server
  }
}

/** Whether a POST without session opens one. */
export function opensSession(body: Buffer): boolean {
  return body.includes('"initialize"') && outline(body).method === 'initialize'
}

/** All that tells callers apart, and all that a server is told of one. */
function keyOf({ id, issuer, name, roles }: Principal): string {
  return JSON.stringify({ id, issuer, name, roles })
}

function httpUpstream({ pool, host, replica }: Upstream, principal: Principal): HttpUpstream {
  const identity = identityHeaders(principal)
  const headers: Record<string, string> = { host }
  for (let index = 0; index < identity.length; index += 2) headers[identity[index] as string] = identity[index + 1] as string
  return { pool, path: replica.path, headers }
}

function classifyBody(body: Buffer, { headers }: IncomingMessage): ReturnType<typeof classify> {
  checkJson(body)
  try {
    return classify(body.toString(), headers)
  } catch (error) {
    if (!(error instanceof DuplicateMember)) throw error
    return { era: 'modern', id: undefined, refusal: { status: 400, code: errorCode.invalidRequest, message: error.message } }
  }
}

function checkJson(body: Buffer): void {
  try {
    JSON.parse(body.toString())
  } catch (cause) {
    throw new GatewayError('invalid_json', { detail: (cause as Error).message.slice(0, 200), cause })
  }
}

/** MCP 2026-07-28, versioning: `server/discover`, and whether a server that knows it takes `initialize` too. */
async function probe(upstream: HttpUpstream): Promise<ServerEras | undefined> {
  const discovered = await ask(upstream, 'server/discover', {
    _meta: { [metaKey.protocolVersion]: modernVersion, [metaKey.clientInfo]: clientInfo, [metaKey.clientCapabilities]: {} },
  })
  if (discovered === undefined) return undefined
  if (eraOf(discovered.message?.get('result'), discovered.message?.get('error')) === 'legacy') return 'legacy'
  const opened = await ask(upstream, 'initialize', { protocolVersion: '2025-11-25', capabilities: {}, clientInfo })
  if (opened === undefined) return undefined
  return opened.message?.has('result') === true ? 'dual' : 'modern'
}

interface ProbeAnswer {
  readonly message: ReturnType<typeof readMessage>
}

/** Undefined when the answer says nothing of the era: the server is down, slow, or asks for credentials. */
function ask(upstream: HttpUpstream, method: string, params: object): Promise<ProbeAnswer | undefined> {
  return new Promise((resolve) => {
    let message: ReturnType<typeof readMessage>
    let session: string | undefined
    const headers: Record<string, string> = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' }
    if (method === 'server/discover') Object.assign(headers, { 'mcp-protocol-version': modernVersion, 'mcp-method': method })
    const decide = (answer: ProbeAnswer | undefined): void => {
      clearTimeout(timer)
      exchange.abort()
      if (session !== undefined) {
        const done = { head: () => undefined, chunk: () => undefined, end: () => undefined }
        sendHttp(upstream, { method: 'DELETE', headers: { 'mcp-session-id': session }, answerTimeoutMs: probeTimeoutMs }, done)
      }
      resolve(answer)
    }
    const timer = setTimeout(() => decide(undefined), probeTimeoutMs)
    const exchange = sendHttp(
      upstream,
      { method: 'POST', headers, body: requestMessage('"era-probe"', method, JSON.stringify(params)), answerTimeoutMs: probeTimeoutMs },
      readMessages(
        {
          head: (_status, given) => (session = given.get('mcp-session-id')),
          message: (text) => {
            try {
              message = readMessage(text)
            } catch (error) {
              if (!(error instanceof SyntaxError)) throw error
            }
          },
          end: ({ status, failure }) => {
            const says = failure === undefined && status !== 401 && status !== 403 && status < 500
            decide(says ? { message } : undefined)
          },
        },
        () => exchange.abort(),
      ),
    )
  })
}
