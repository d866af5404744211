import { PageQuery, SecretDeletion, type SecretResource } from '@mcp-gateway/contract'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Secret } from '../core/secret.ts'
import { audits } from './audit-trail.ts'
import { principalOf } from './callers.ts'
import { afterCursor, sendPage } from './page.ts'
import { etag, ifMatch } from './precondition.ts'
import { SecretRegistry, type SecretRegistryOptions } from './secret-registry.ts'
import { validateQuery, type Warning } from './validation.ts'

type Named = { Params: { name: string } }

const collection = '/secrets'
const one = `${collection}/:name`

/** Adds the routes of secrets. */
export function addSecrets(app: FastifyInstance, options: SecretRegistryOptions): void {
  const registry = new SecretRegistry(options)
  const versionOf = (request: FastifyRequest<Named>): Promise<number | undefined> =>
    ifMatch(request, () => registry.get(principalOf(request), request.params.name))
  const changes = {
    onRequest: (request: FastifyRequest<Named>) =>
      registry.checkChange(principalOf(request), request.params.name),
  }
  const answer = (
    reply: FastifyReply,
    secret: Secret,
    warnings: readonly Warning[],
  ): FastifyReply => {
    reply.request.subject = secret
    return reply.header('etag', etag(secret)).send(viewOf(secret, warnings))
  }

  const creates = {
    onRequest: async (request: FastifyRequest) => registry.checkCreate(principalOf(request)),
  }
  app.post(collection, { ...writes('create'), ...creates }, async (request, reply) => {
    const { secret, warnings } = await registry.create(principalOf(request), request.body)
    return answer(
      reply.code(201).header('location', `${collection}/${secret.name}`),
      secret,
      warnings,
    )
  })

  app.get(collection, audits('secret', 'list', false), async (request, reply) => {
    const principal = principalOf(request)
    const query = validateQuery(PageQuery, request.query)
    const page = await registry.list(
      principal,
      {
        limit: query.limit,
        after: afterCursor(query.cursor),
      },
      (secret) => viewOf(secret, []),
    )
    return sendPage(request, reply, page)
  })

  app.get<Named>(one, audits('secret', 'read', false), async (request, reply) =>
    answer(reply, await registry.get(principalOf(request), request.params.name), []),
  )

  app.put<Named>(one, { ...writes('replace'), ...changes }, async (request, reply) => {
    const written = await registry.replace(
      principalOf(request),
      request.params.name,
      request.body,
      await versionOf(request),
    )
    return answer(reply, written.secret, written.warnings)
  })

  app.patch<Named>(one, { ...writes('patch'), ...changes }, async (request, reply) => {
    const written = await registry.patch(
      principalOf(request),
      request.params.name,
      request.body,
      await versionOf(request),
    )
    return answer(reply, written.secret, written.warnings)
  })

  app.delete<Named>(one, writes('delete'), async (request, reply) => {
    const principal = principalOf(request)
    const { force } = validateQuery(SecretDeletion, request.query)
    request.subject = await registry.delete(
      principal,
      request.params.name,
      force,
      await versionOf(request),
    )
    return reply.code(204).send()
  })
}

/**
 * Audits a write without a digest of its body, which would reveal enough to guess a short value.
 */
function writes(verb: string) {
  return {
    ...audits('secret', verb),
    preValidation: async (request: FastifyRequest): Promise<void> => {
      request.bodyDigest = null
    },
  }
}

function viewOf(
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
