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
 * Answers where tokens for a resource come from. It is the same for every name, so that it does not tell which there are.
 * `describe` gives it for a path.
 */
export function resourceMetadata(
  app: FastifyInstance,
  describe: (request: IncomingMessage, path: string) => ResourceMetadata,
): void {
  for (const route of [wellKnown, `${wellKnown}*`]) {
    app.all(route, {
      // Before a body would be looked at.
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

/** The path of an MCP endpoint that tokens can be meant for; empty for the REST API, which is the whole gateway. */
export function resourcePath(url: string): string {
  const path = withoutSlash(pathOf(url))
  return isResourcePath(path) ? path : ''
}

/** The path of the resource that a metadata address describes, whether or not there is such a resource; undefined for what is no such address. */
export function describedPath(url: string): string | undefined {
  const path = pathOf(url)
  if (path === wellKnown) return ''
  if (!path.startsWith(`${wellKnown}/`)) return undefined
  const described = withoutSlash(path.slice(wellKnown.length))
  return isResourcePath(described) ? described : undefined
}

/** RFC 9728 section 3.1. */
export function metadataAddress(origin: string, path: string): string {
  return `${origin}${wellKnown}${path}`
}

/** Names as they can be registered, no other spelling of them. */
function isResourcePath(path: string): boolean {
  return path === '/mcp' || /^\/adapters\/[a-z]([a-z0-9-]{0,50}[a-z0-9])?\/mcp$/.test(path)
}

function pathOf(url: string): string {
  const question = url.indexOf('?')
  return question === -1 ? url : url.slice(0, question)
}

/** MCP endpoints are served with a slash after them too, and are the same resource. */
function withoutSlash(path: string): string {
  return path.endsWith('/mcp/') ? path.slice(0, -1) : path
}
