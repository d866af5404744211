import { PageQuery, type ApiKeyCreated, type ApiKeyResource } from '@mcp-gateway/contract'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { recognizablePart, type ApiKey } from '../core/api-key.ts'
import { principalOf } from './callers.ts'
import { atMost } from './body-limit.ts'
import { ApiKeyRegistry, type ApiKeyRegistryOptions } from './api-key-registry.ts'
import { audits } from './audit-trail.ts'
import { afterCursor, sendPage } from './page.ts'
import { etag, ifMatch } from './precondition.ts'
import { validateQuery, type Warning } from './validation.ts'

type Identified = { Params: { id: string } }

const collection = '/api-keys'
const one = `${collection}/:id`

/** Largest body in bytes: 100 roles of 256 characters in their longest JSON form. */
const longestBody = 256 * 1024

/** Adds the routes of API keys. */
export function addApiKeys(app: FastifyInstance, options: ApiKeyRegistryOptions): void {
  const registry = new ApiKeyRegistry(options)
  const versionOf = (request: FastifyRequest<Identified>): Promise<number | undefined> =>
    ifMatch(request, () => registry.get(principalOf(request), request.params.id))

  const bodyLimit = atMost(app, longestBody)
  const creates = {
    bodyLimit,
    onRequest: async (request: FastifyRequest) => registry.checkCreate(principalOf(request)),
  }
  app.post(collection, { ...audits('api-key', 'create'), ...creates }, async (request, reply) => {
    const { key, text, warnings } = await registry.create(principalOf(request), request.body)
    request.subject = key
    const { id, ...rest } = viewOf(key, warnings)
    const shown: ApiKeyCreated = { id, key: text, ...rest }
    // Only this answer holds a credential, so no cache may store it (RFC 9111 section 5.2.2.5).
    return tagged(
      reply.code(201).header('location', `${collection}/${id}`).header('cache-control', 'no-store'),
      key,
    ).send(shown)
  })

  app.get(collection, audits('api-key', 'list', false), async (request, reply) => {
    const query = validateQuery(PageQuery, request.query)
    const page = await registry.list(
      principalOf(request),
      {
        limit: query.limit,
        after: afterCursor(query.cursor),
      },
      (key) => viewOf(key, []),
    )
    return sendPage(request, reply, page)
  })

  app.get<Identified>(one, audits('api-key', 'read', false), async (request, reply) => {
    const key = await registry.get(principalOf(request), request.params.id)
    request.subject = key
    return tagged(reply, key).send(viewOf(key, []))
  })

  const changes = {
    bodyLimit,
    onRequest: (request: FastifyRequest<Identified>) =>
      registry.checkChange(principalOf(request), request.params.id),
  }
  app.patch<Identified>(
    one,
    { ...audits('api-key', 'patch'), ...changes },
    async (request, reply) => {
      const { key, warnings } = await registry.patch(
        principalOf(request),
        request.params.id,
        request.body,
        await versionOf(request),
      )
      request.subject = key
      return tagged(reply, key).send(viewOf(key, warnings))
    },
  )

  app.delete<Identified>(one, audits('api-key', 'revoke'), async (request, reply) => {
    request.subject = await registry.delete(
      principalOf(request),
      request.params.id,
      await versionOf(request),
    )
    return reply.code(204).send()
  })
}

function tagged(reply: FastifyReply, key: ApiKey): FastifyReply {
  return reply.header('etag', etag(key))
}

function viewOf(key: ApiKey, warnings: readonly Warning[]): ApiKeyResource {
  const { name: id, spec, owner, createdAt, lastUpdatedAt } = key
  const { name, roles, expiresAt, lastUsedAt } = spec
  return {
    id,
    name,
    prefix: recognizablePart(id),
    roles: [...roles],
    ...(expiresAt === undefined ? {} : { expiresAt }),
    ...(lastUsedAt === undefined ? {} : { lastUsedAt }),
    createdBy: owner.id,
    createdAt,
    lastUpdatedAt,
    ...(warnings.length === 0 ? {} : { warnings: [...warnings] }),
  }
}
