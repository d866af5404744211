import { calls, type ApiKeyCreated, type ApiKeyResource } from '@mcp-gateway/contract'
import type { FastifyInstance } from 'fastify'
import { recognizablePart, type ApiKey } from '../../core/api-key.ts'
import { ApiKeyRegistry, type ApiKeyRegistryOptions } from './api-key-registry.ts'
import { addOwned } from '../owned/owned-routes.ts'
import type { Warning } from '../validation.ts'

/** Largest body in bytes: 100 roles of 256 characters in their longest JSON form. */
const longestBody = 256 * 1024

/** Adds the routes of API keys. */
export function addApiKeys(app: FastifyInstance, options: ApiKeyRegistryOptions): void {
  const registry = new ApiKeyRegistry(options, (key) => keyView(key, []))
  addOwned(app, calls.apiKey, registry, {
    bodyLimit: longestBody,
    view: keyView,
    created({ resource, text, warnings }, reply): ApiKeyCreated {
      // Only this answer holds a credential, so no cache may store it (RFC 9111 section 5.2.2.5).
      reply.header('cache-control', 'no-store')
      const { id, ...rest } = keyView(resource, warnings)
      return { id, key: text, ...rest }
    },
  })
}

function keyView(key: ApiKey, warnings: readonly Warning[]): ApiKeyResource {
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
