import { Readable } from 'node:stream'
import { ListQuery, LogsQuery, openApiDocument, type ResourceStatus } from '@mcp-gateway/contract'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { ApiRequest } from '../audit/api-requests.ts'
import { GatewayError } from '../core/errors.ts'
import { mayReadLogs } from '../core/permission.ts'
import { adminRole, hasRole, partyOf, type Principal } from '../core/principal.ts'
import { shortOf, type CallerShares } from '../core/shares.ts'
import type { Resource } from '../core/resource.ts'
import { addJsonParser, addProblems } from '../http/rest.ts'
import type { ReadLogs } from '../runtime/permitted-logs.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { apiPage } from './api-page.ts'
import { knowCallers, principalOf, type CallerOptions } from './callers.ts'
import type { Kind } from './kind.ts'
import { Registry, type RegistryOptions, type Written } from './registry.ts'
import type { ResourceKinds } from './kinds.ts'
import { addSecrets } from './secret-routes.ts'
import type { SecretRegistryOptions } from './secret-registry.ts'
import type { Silences } from '../core/silences.ts'
import { statusOf } from './status.ts'
import { addApiKeys } from './api-key-routes.ts'
import type { ApiKeyRegistryOptions } from './api-key-registry.ts'
import { addAuditTrail, audits } from './audit-trail.ts'
import { atMost } from './body-limit.ts'
import { addGatewayStatus, type GatewayStatusOptions } from './gateway-status.ts'
import { afterCursor, sendPage } from './page.ts'
import { etag, ifMatch, isKnown } from './precondition.ts'
import { validateQuery } from './validation.ts'

export interface ControlPlaneOptions
  extends
    RegistryOptions,
    ApiKeyRegistryOptions,
    SecretRegistryOptions,
    CallerOptions,
    GatewayStatusOptions {
  readonly kinds: ResourceKinds
  /** Read side only. The reconciler alone writes to a runtime. */
  readonly runtime: Pick<Runtime, 'name' | 'status'>
  readonly logs: ReadLogs
  /** The last failure to reconcile a name, if any. */
  readonly problem: (name: string) => string | undefined
  readonly silences: Pick<Silences, 'of'>
  readonly shares: CallerShares
  readonly audit: (request: ApiRequest) => void
  /** Milliseconds between checks that the callers of open streams are still allowed. */
  readonly recheckMs: number
}

type Named = { Params: { name: string } }

/**
 * The control plane: `/adapters`, `/tools`, `/api-keys`, `/secrets`, `/status`, and their API
 * document.
 */
export function controlPlane(app: FastifyInstance, options: ControlPlaneOptions): void {
  addJsonParser(app)
  addProblems(app)
  void app.register(async (resources) => {
    addAuditTrail(resources, options.audit)
    knowCallers(resources, options)
    addKind(resources, options.kinds.adapter, options)
    addKind(resources, options.kinds.tool, options)
    addApiKeys(resources, options)
    addSecrets(resources, options)
    addGatewayStatus(resources, options)
  })
  addApiDocument(app, options.version)
}

/**
 * Builds the document once, on the first request. Anybody may request it, but most gateways are
 * never asked.
 */
function addApiDocument(app: FastifyInstance, version: string): void {
  const making = (): { readonly json: Buffer; readonly page: Buffer } => {
    const document = openApiDocument(version)
    return { json: Buffer.from(JSON.stringify(document)), page: Buffer.from(apiPage(document)) }
  }
  let made: ReturnType<typeof making> | undefined
  const document = () => (made ??= making())

  app.get('/openapi.json', (_request, reply) =>
    reply.type('application/json').send(document().json),
  )
  app.get('/docs', (_request, reply) =>
    reply
      .type('text/html; charset=utf-8')
      .header('content-security-policy', "default-src 'none'; style-src 'unsafe-inline'")
      .send(document().page),
  )
}

/** Largest body in bytes. An environment may have 768 KiB, and JSON makes it longer. */
const longestBody = 2 * 1024 * 1024

/** Largest body in bytes that names an owner. */
const longestOwner = 16 * 1024

/** Adds the routes of one kind of resources. */
function addKind<R extends Resource, Input extends { readonly name: string }>(
  app: FastifyInstance,
  kind: Kind<R, Input>,
  options: ControlPlaneOptions,
): void {
  const registry = new Registry(kind, options)
  const { collection } = kind
  const one = `${collection}/:name`
  const versionOf = (request: FastifyRequest<Named>): Promise<number | undefined> =>
    ifMatch(request, () => registry.get(principalOf(request), request.params.name))
  // Check rights before reading the body, so that bodies of strangers cost nothing.
  const bodyLimit = atMost(app, longestBody)
  const creates = {
    bodyLimit,
    onRequest: async (request: FastifyRequest) => registry.checkCreate(principalOf(request)),
  }
  const changes = (action: 'read' | 'write', most = bodyLimit) => ({
    bodyLimit: most,
    onRequest: (request: FastifyRequest<Named>) =>
      registry.check(principalOf(request), action, request.params.name),
  })
  const answer = (reply: FastifyReply, { resource, warnings }: Written<R>): FastifyReply => {
    reply.request.subject = resource
    return reply.header('etag', etag(resource)).send(kind.view(resource, warnings))
  }

  const status = async (principal: Principal, resource: R): Promise<ResourceStatus> =>
    statusOf(
      resource,
      await options.runtime.status(resource.name),
      options.problem(resource.name),
      {
        logs: mayReadLogs(principal, resource, options.access),
        isAdministrator: hasRole(principal, adminRole),
      },
      options.silences.of(resource.uid),
    )

  app.post(collection, { ...audits(kind.kind, 'create'), ...creates }, async (request, reply) => {
    const written = await registry.create(principalOf(request), request.body)
    return answer(
      reply.code(201).header('location', `${collection}/${written.resource.name}`),
      written,
    )
  })

  app.get(collection, audits(kind.kind, 'list', false), async (request, reply) => {
    const principal = principalOf(request)
    const query = validateQuery(ListQuery, request.query)
    const after = afterCursor(query.cursor)
    const page = await registry.list(principal, {
      limit: query.limit,
      after,
      prefix: query.name,
      text: query.q,
    })
    return sendPage(request, reply, page)
  })

  app.get<Named>(one, audits(kind.kind, 'read', false), async (request, reply) => {
    const resource = await registry.get(principalOf(request), request.params.name)
    if (isKnown(request, resource)) return reply.code(304).header('etag', etag(resource)).send()
    return answer(reply, { resource, warnings: [] })
  })

  app.put<Named>(
    one,
    { ...audits(kind.kind, 'replace'), ...changes('write') },
    async (request, reply) =>
      answer(
        reply,
        await registry.replace(
          principalOf(request),
          request.params.name,
          request.body,
          await versionOf(request),
        ),
      ),
  )

  app.patch<Named>(
    one,
    { ...audits(kind.kind, 'patch'), ...changes('write') },
    async (request, reply) =>
      answer(
        reply,
        await registry.patch(
          principalOf(request),
          request.params.name,
          request.body,
          await versionOf(request),
        ),
      ),
  )

  const names = changes('read', atMost(app, longestOwner))
  app.put<Named>(
    `${one}/owner`,
    { ...audits(kind.kind, 'transfer'), ...names },
    async (request, reply) => {
      const resource = await registry.transfer(
        principalOf(request),
        request.params.name,
        request.body,
        await versionOf(request),
      )
      request.subject = resource
      return reply.header('etag', etag(resource)).send(resource.owner)
    },
  )

  app.put<Named>(
    `${one}/offer`,
    { ...audits(kind.kind, 'offer'), ...names },
    async (request, reply) => {
      const resource = await registry.offer(
        principalOf(request),
        request.params.name,
        request.body,
        await versionOf(request),
      )
      request.subject = resource
      return reply.header('etag', etag(resource)).send(resource.offeredTo)
    },
  )

  app.delete<Named>(`${one}/offer`, audits(kind.kind, 'decline'), async (request, reply) => {
    request.subject = await registry.decline(
      principalOf(request),
      request.params.name,
      await versionOf(request),
    )
    return reply.code(204).send()
  })

  app.post<Named>(`${one}/restart`, audits(kind.kind, 'restart'), async (request, reply) => {
    const resource = await registry.restart(
      principalOf(request),
      request.params.name,
      await versionOf(request),
    )
    request.subject = resource
    return reply
      .code(202)
      .header('etag', etag(resource))
      .send(await status(principalOf(request), resource))
  })

  app.delete<Named>(one, audits(kind.kind, 'delete'), async (request, reply) => {
    request.subject = await registry.delete(
      principalOf(request),
      request.params.name,
      await versionOf(request),
    )
    return reply.code(204).send()
  })

  app.get<Named>(`${one}/status`, audits(kind.kind, 'status', false), async (request) => {
    const resource = await registry.get(principalOf(request), request.params.name)
    request.subject = resource
    return status(principalOf(request), resource)
  })

  app.get<Named>(`${one}/logs`, audits(kind.kind, 'logs'), async (request, reply) => {
    const permit = await registry.permitLogs(principalOf(request), request.params.name)
    const { resource } = permit
    request.subject = resource
    const query = validateQuery(LogsQuery, request.query)
    const since = query.since === undefined ? undefined : parseSince(query.since, options.now())
    // A closed response emits no further event, so nothing would release the share.
    if (reply.raw.destroyed) throw new GatewayError('client_closed_request')
    const gone = new AbortController()
    const share = options.shares.logReaders.open(partyOf(principalOf(request)))
    share.spare(() => gone.abort())
    const shortage = share.hold(1)
    if (shortage !== undefined) throw shortOf(shortage, 'open requests for logs')
    reply.raw.once('close', () => {
      share.release()
      gone.abort()
    })
    if (query.follow) {
      // Like every stream, this one must not outlive its credential or its right.
      const asking = setInterval(() => {
        void (async () =>
          registry.permitLogs(
            await options.authenticate(request.raw),
            request.params.name,
          ))().catch(() => reply.raw.destroy())
      }, options.recheckMs)
      gone.signal.addEventListener('abort', () => clearInterval(asking))
    }
    const lines = await options.logs(
      permit,
      {
        replica: query.instance,
        tail: query.tail,
        follow: query.follow,
        previous: query.previous,
        ...(since === undefined ? {} : { since }),
        ...(query.container === undefined ? {} : { container: query.container }),
      },
      gone.signal,
    )
    if (lines === undefined) {
      const what = query.previous
        ? 'no instance before the present one'
        : `no such replica${query.container === undefined ? '' : ' or container'} now`
      throw new GatewayError('not_found', {
        detail: `'${resource.name}' has ${what} (instance ${query.instance}).`,
      })
    }
    // The record of this request comes at its end, which may be days away or never come.
    if (query.follow)
      options.audit({
        action: `${kind.kind}.logs.open`,
        matters: true,
        principal: principalOf(request),
        subject: resource,
        error: undefined,
        request: request.raw,
        digest: undefined,
      })

    return reply
      .type('text/plain; charset=utf-8')
      .send(Readable.from(terminated(lines), { objectMode: false }))
  })
}

const unitMs: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

function parseSince(text: string, now: Date): Date {
  const duration = /^(\d+)([smhd]?)$/.exec(text)
  if (duration !== null)
    return new Date(
      now.getTime() -
        Number(duration[1]) * (unitMs[duration[2] === '' ? 's' : (duration[2] ?? 's')] ?? 1000),
    )
  const at = new Date(text)
  if (Number.isNaN(at.getTime()))
    throw new GatewayError('validation_failed', {
      mistakes: [{ pointer: 'query:since', code: 'invalid_format', detail: 'is not a time' }],
    })
  return at
}

async function* terminated(lines: AsyncIterable<string>): AsyncIterable<string> {
  for await (const line of lines) yield `${line}\n`
}
