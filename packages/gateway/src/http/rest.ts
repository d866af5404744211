import { findDuplicateKey, Pieces } from '@mcp-gateway/protocol'
import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { GatewayError, toGatewayError, type ErrorCode } from '../core/errors.ts'
import { discardBody } from './discard.ts'
import { requestIdOf } from './edge.ts'
import { checkContentHeaders, jsonText } from './json-body.ts'
import { problemOf } from './refuse.ts'

/** Parses JSON bodies strictly: a body that two readers could take differently is refused. */
export function addJsonParser(app: FastifyInstance): void {
  app.decorateRequest('bodyDigest', null)
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(
    /^application\/(merge-patch\+)?json(;|$)/i,
    async (request: FastifyRequest, body: IncomingMessage) => {
      const bytes = await readWhole(body, request.routeOptions.bodyLimit)
      // Many clients send a Content-Type with every request, even without a body.
      if (bytes.length === 0 && takesNoBody(request)) return undefined

      request.bodyDigest = createHash('sha256').update(bytes).digest('hex')
      return strictJson(bytes, request.raw)
    },
  )
}

/**
 * Fastify's own reader would keep every piece of a body, however small.
 * @throws GatewayError `body_too_large`
 */
export function readWhole(body: IncomingMessage, limit: number): Promise<Buffer> {
  const pieces = new Pieces()
  return new Promise((resolve, reject) => {
    const tooLarge = (): void => {
      pieces.clear()
      reject(
        new GatewayError('body_too_large', { detail: `The body is larger than ${limit} bytes.` }),
      )
    }

    if (Number(body.headers['content-length'] ?? 0) > limit) return tooLarge()
    let over = false
    body.on('data', (chunk: Buffer) => {
      if (over) return
      pieces.push(chunk)
      if (pieces.length <= limit) return
      over = true
      tooLarge()
    })

    body.on('end', () => resolve(pieces.take()))
    body.on('error', reject)
  })
}

/** @throws GatewayError `unsupported_media_type`, `invalid_json`, `validation_failed` */
function strictJson(body: Buffer, request: IncomingMessage): unknown {
  checkContentHeaders(request)
  const text = jsonText(body)
  const pointer = findDuplicateKey(text)
  if (pointer !== undefined)
    throw new GatewayError('validation_failed', {
      mistakes: [{ pointer, code: 'duplicate_key', detail: 'stands more than once' }],
    })

  return JSON.parse(text)
}

function takesNoBody({ method, routeOptions }: FastifyRequest): boolean {
  return method === 'DELETE' || routeOptions.config.takesBody === false
}

/** Errors that come before a body is read whole. */
const unread: ReadonlySet<ErrorCode> = new Set(['body_too_large', 'share_used_up', 'no_room'])

const fromFastify: Readonly<Record<string, ErrorCode>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'body_too_large',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'unsupported_media_type',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'invalid_json',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'invalid_request',
  FST_ERR_BAD_URL: 'not_found',
  FST_ERR_MAX_PARAM_LENGTH: 'not_found',
  FST_ERR_ASYNC_CONSTRAINT: 'invalid_request',
}

function adviceOn(code: ErrorCode): { readonly detail?: string } {
  return code === 'unsupported_media_type'
    ? { detail: 'The body must be JSON. Send the header Content-Type: application/json.' }
    : {}
}

/** Answers with an RFC 9457 problem, for errors of the gateway and of Fastify. */
export function sendProblem(
  thrown: Error & { readonly code?: string },
  request: FastifyRequest,
  reply: FastifyReply,
): void {
  // Any other error is the reason of the refusal, even if the client has gone meanwhile.
  const brokeOff = thrown === request.raw.errored
  const known = brokeOff ? 'client_closed_request' : fromFastify[thrown.code ?? '']
  const error =
    known === undefined
      ? toGatewayError(thrown)
      : new GatewayError(known, { cause: thrown, ...adviceOn(known) })

  request.problem = error
  if (unread.has(error.code)) {
    reply.removeHeader('connection')
    discardBody(request.raw)
  }

  // Sent as bytes, because Fastify adds a charset to text, and JSON has none (RFC 8259 section 11).
  const body = Buffer.from(JSON.stringify(problemOf(error, requestIdOf(request.raw))))
  void reply.code(error.status).headers(error.headers).type('application/problem+json').send(body)
}

/** Makes every error of the REST API a problem, including those for unknown paths and methods. */
export function addProblems(app: FastifyInstance): void {
  app.setErrorHandler(sendProblem)

  const routes: { readonly method: string; readonly pattern: RegExp }[] = []
  app.addHook('onRoute', ({ method, url }) => {
    for (const each of [method].flat())
      routes.push({ method: each, pattern: new RegExp(`^${url.replaceAll(/:\w+/g, '[^/]+')}$`) })
  })

  app.setNotFoundHandler((request) => {
    const path = request.url.split('?')[0] ?? ''
    const allowed = routes.filter(({ pattern }) => pattern.test(path)).map(({ method }) => method)
    throw allowed.length === 0
      ? new GatewayError('not_found')
      : new GatewayError('method_not_allowed', {
          headers: { allow: [...new Set(allowed)].join(', ') },
        })
  })
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** False for routes whose requests have no body. */
    takesBody?: boolean
  }
  interface FastifyRequest {
    /** The error that the request ended with, for the log. */
    problem: GatewayError | null
    /** SHA-256 of the JSON body as it came, for the audit log. */
    bodyDigest: string | null
  }
}
