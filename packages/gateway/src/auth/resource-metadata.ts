import type { IncomingMessage } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { GatewayError } from '../core/errors.ts'

/** OAuth 2.0 Protected Resource Metadata (RFC 9728 section 2). */
export interface ResourceMetadata {
  readonly resource: string
  readonly authorization_servers: readonly string[]
  readonly scopes_supported?: readonly string[]
  readonly bearer_methods_supported: readonly string[]
}

/**
 * Serves the metadata of resources, which says where to get tokens. It answers for every valid
 * name, so it does not reveal which names exist. `describe` gives the metadata of a path.
 */
export function resourceMetadata(
  app: FastifyInstance,
  describe: (request: IncomingMessage, path: string) => ResourceMetadata,
): void {
  for (const route of [wellKnown, `${wellKnown}*`]) {
    app.all(route, {
      // Answer before Fastify reads a body.
      async onRequest({ raw }, reply) {
        const path = describedPath(raw.url ?? '')
        if (path === undefined) throw new GatewayError('not_found')
        if (raw.method !== 'GET' && raw.method !== 'HEAD')
          throw new GatewayError('method_not_allowed', { headers: { allow: 'GET, HEAD' } })
        return reply.header('cache-control', 'public, max-age=300').send(describe(raw, path))
      },
      handler: () => undefined,
    })
  }
}

const wellKnown = '/.well-known/oauth-protected-resource'

/**
 * Path of the MCP endpoint that a token may name as audience. Empty for the REST API, whose
 * audience is the whole gateway.
 */
export function resourcePath(url: string): string {
  const path = withoutSlash(pathOf(url))
  return isResourcePath(path) ? path : ''
}

/**
 * Path of the resource that a metadata address describes, even if no such resource exists.
 * Undefined for other addresses.
 */
export function describedPath(url: string): string | undefined {
  const path = pathOf(url)
  if (path === wellKnown) return ''
  if (!path.startsWith(`${wellKnown}/`)) return undefined
  const described = withoutSlash(path.slice(wellKnown.length))
  return isResourcePath(described) ? described : undefined
}

/** The address of a resource's metadata (RFC 9728 section 3.1). */
export function metadataAddress(origin: string, path: string): string {
  return `${origin}${wellKnown}${path}`
}

/** True for `/mcp` and for adapter names that can be registered, in no other spelling. */
function isResourcePath(path: string): boolean {
  return path === '/mcp' || /^\/adapters\/[a-z]([a-z0-9-]{0,50}[a-z0-9])?\/mcp$/.test(path)
}

function pathOf(url: string): string {
  const question = url.indexOf('?')
  return question === -1 ? url : url.slice(0, question)
}

/** MCP endpoints also accept a trailing slash, which does not make another resource. */
function withoutSlash(path: string): string {
  return path.endsWith('/mcp/') ? path.slice(0, -1) : path
}
