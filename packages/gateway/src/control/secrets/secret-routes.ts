import { calls, type SecretResource } from '@mcp-gateway/contract'
import type { FastifyInstance } from 'fastify'
import type { Secret } from '../../core/secret.ts'
import { addOwned, addReplace } from '../owned/owned-routes.ts'
import { SecretRegistry, type SecretRegistryOptions } from './secret-registry.ts'
import type { Warning } from '../validation.ts'

/** Adds the routes of secrets. */
export function addSecrets(app: FastifyInstance, options: SecretRegistryOptions): void {
  const registry = new SecretRegistry(options, (secret) => secretView(secret, []))
  const shown = { view: secretView, secretBody: true }
  addOwned(app, calls.secret, registry, shown)
  addReplace(app, calls.secret.replace, registry, shown)
}

function secretView(
  { name, owner, creator = owner, createdAt, lastUpdatedAt, spec }: Secret,
  warnings: readonly Warning[],
): SecretResource {
  return {
    name,
    keys: Object.keys(spec.values).toSorted((a, b) => (a < b ? -1 : 1)),
    description: spec.description,
    requiredRoles: [...spec.requiredRoles],
    ownerRoles: [...(spec.ownerRoles ?? [])],
    owner: { id: owner.id, issuer: owner.issuer },
    createdBy: creator.id,
    createdAt,
    lastUpdatedAt,
    ...(warnings.length === 0 ? {} : { warnings: [...warnings] }),
  }
}
