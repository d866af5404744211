import type { Endpoint, ListQuery, PageQuery } from '@mcp-gateway/contract'
import type { FastifyInstance, FastifyReply } from 'fastify'
import type { Principal } from '../../core/principal.ts'
import type { Stored } from '../../core/resource.ts'
import type { OwnedRecord, OwnedRecords, Written } from './owned-records.ts'
import { afterCursor, sendPage } from './page.ts'
import { etag, ifMatch, isKnown } from './precondition.ts'
import { serve, type Call } from '../serve.ts'
import type { Warning } from '../validation.ts'

/** The rules of one kind of records that principals own, without HTTP. */
export interface OwnedRegistry<R extends OwnedRecord, W extends Written<R>, D> {
  readonly records: Readable<R>
  /** Checks before the body is read that a caller may create at all. */
  checkCreate(principal: Principal): void
  /** Further checks before the body of a change is read. */
  checkChange?(principal: Principal): void
  create(principal: Principal, body: unknown): Promise<W>
  patch(
    principal: Principal,
    name: string,
    patch: unknown,
    ifMatch: number | undefined,
  ): Promise<Written<R>>
  /** Deletes a record, and returns it. `query` is that of the contract. */
  delete(principal: Principal, name: string, ifMatch: number | undefined, query: D): Promise<R>
}

export interface ReplacingRegistry<R extends OwnedRecord> {
  readonly records: Readable<R>
  replace(
    principal: Principal,
    name: string,
    body: unknown,
    ifMatch: number | undefined,
  ): Promise<Written<R>>
}

type Readable<R extends OwnedRecord> = Pick<OwnedRecords<R>, 'get' | 'list' | 'permit'>

/** The calls that every kind has. */
interface OwnedCalls<E extends Endpoint> {
  readonly create: Endpoint
  readonly list: Endpoint & { readonly query: typeof ListQuery | typeof PageQuery }
  readonly get: Endpoint
  readonly patch: Endpoint
  readonly delete: E
}

export interface OwnedOptions<R extends OwnedRecord, W extends Written<R>> {
  /** The public view of a record. */
  readonly view: (resource: R, warnings: readonly Warning[]) => object
  /** The answer to a creation, where it is not the view. */
  readonly created?: (written: W, reply: FastifyReply) => object
  readonly bodyLimit?: number
  readonly secretBody?: boolean
}

/** Adds the routes that every kind of owned records has. */
export function addOwned<R extends OwnedRecord, W extends Written<R>, E extends Endpoint>(
  app: FastifyInstance,
  calls: OwnedCalls<E>,
  registry: OwnedRegistry<R, W, ReturnType<Call<E>['query']>>,
  options: OwnedOptions<R, W>,
): void {
  addCreate(app, calls.create, registry, options)
  addReads(app, calls, registry, options)
  addPatch(app, calls.patch, registry, options)

  serve(app, calls.delete, async (call) => {
    const { principal, name, request, reply } = call
    const query = call.query()
    const version = await versionOf(call, registry)
    request.subject = await registry.delete(principal, name, version, query)
    return reply.send()
  })
}

function addCreate<R extends OwnedRecord, W extends Written<R>>(
  app: FastifyInstance,
  endpoint: Endpoint,
  registry: Pick<OwnedRegistry<R, W, never>, 'create' | 'checkCreate'>,
  { view, created, bodyLimit, secretBody }: OwnedOptions<R, W>,
): void {
  serve(
    app,
    endpoint,
    async ({ principal, request, reply }) => {
      const written = await registry.create(principal, request.body)
      const { resource, warnings } = written
      reply.header('location', `${endpoint.path}/${resource.name}`)
      return answer(reply, resource, created?.(written, reply) ?? view(resource, warnings))
    },
    { bodyLimit, secretBody, check: (principal) => registry.checkCreate(principal) },
  )
}

/** Adds the routes that show a page of records, and one record. */
function addReads<R extends OwnedRecord>(
  app: FastifyInstance,
  calls: Pick<OwnedCalls<Endpoint>, 'list' | 'get'>,
  { records }: Pick<ReplacingRegistry<R>, 'records'>,
  { view }: Pick<OwnedOptions<R, never>, 'view'>,
): void {
  serve(app, calls.list, async (call) => {
    const { cursor, ...query } = call.query()
    const after = afterCursor(cursor)
    const page = await records.list(call.principal, { ...query, after })
    return sendPage(call.request, call.reply, page)
  })

  const conditional = calls.get.problems.includes(304)
  serve(app, calls.get, async ({ principal, name, request, reply }) => {
    const resource = await records.get(principal, name)
    return conditional && isKnown(request, resource)
      ? reply.code(304).header('etag', etag(resource)).send()
      : answer(reply, resource, view(resource, []))
  })
}

function addPatch<R extends OwnedRecord>(
  app: FastifyInstance,
  endpoint: Endpoint,
  registry: Pick<OwnedRegistry<R, never, never>, 'records' | 'checkChange' | 'patch'>,
  {
    view,
    bodyLimit,
    secretBody,
  }: Pick<OwnedOptions<R, never>, 'view' | 'bodyLimit' | 'secretBody'>,
): void {
  serve(
    app,
    endpoint,
    async (call) => {
      const { principal, name, request, reply } = call
      const version = await versionOf(call, registry)
      const { resource, warnings } = await registry.patch(principal, name, request.body, version)
      return answer(reply, resource, view(resource, warnings))
    },
    {
      bodyLimit,
      secretBody,
      async check(principal, name) {
        await registry.records.permit(principal, 'write', name)
        registry.checkChange?.(principal)
      },
    },
  )
}

/** Adds the route that replaces a record. */
export function addReplace<R extends OwnedRecord>(
  app: FastifyInstance,
  endpoint: Endpoint,
  registry: ReplacingRegistry<R>,
  { view, bodyLimit, secretBody }: OwnedOptions<R, Written<R>>,
): void {
  serve(
    app,
    endpoint,
    async (call) => {
      const { principal, name, request, reply } = call
      const version = await versionOf(call, registry)
      const { resource, warnings } = await registry.replace(principal, name, request.body, version)
      return answer(reply, resource, view(resource, warnings))
    },
    {
      bodyLimit,
      secretBody,
      async check(principal, name) {
        await registry.records.permit(principal, 'write', name)
      },
    },
  )
}

/** The version that the caller has read, if the request names one. */
export function versionOf(
  { principal, name, request }: Pick<Call, 'principal' | 'name' | 'request'>,
  { records }: { readonly records: { get(principal: Principal, name: string): Promise<Stored> } },
): Promise<number | undefined> {
  return ifMatch(request, () => records.get(principal, name))
}

/** Answers with a body about a record, and with its tag. */
export function answer(reply: FastifyReply, resource: Stored, body: unknown): FastifyReply {
  reply.request.subject = resource
  return reply.header('etag', etag(resource)).send(body)
}
