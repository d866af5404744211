import type { Endpoint, ListQuery, PageQuery } from '@mcp-gateway/contract'
import type { FastifyInstance, FastifyReply } from 'fastify'
import type { Principal } from '../../core/principal.ts'
import type { Stored } from '../../core/resource.ts'
import type { OwnedRecord, OwnedRecords, RecordRequest, Written } from './owned-records.ts'
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
  patch(request: RecordRequest, patch: unknown): Promise<Written<R>>
  /** Deletes a record, and returns it. `query` is that of the contract. */
  delete(request: RecordRequest, query: D): Promise<R>
}

export interface ReplacingRegistry<R extends OwnedRecord> {
  readonly records: Readable<R>
  replace(request: RecordRequest, body: unknown): Promise<Written<R>>
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
  addChange(app, calls.patch, registry.records, {
    ...options,
    change: (request, patch) => registry.patch(request, patch),
    check: (principal) => registry.checkChange?.(principal),
  })

  serve(app, calls.delete, async (call) => {
    const query = call.query()
    call.request.subject = await registry.delete(await requestOf(call, registry), query)
    return call.reply.send()
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

/** Adds the route that replaces a record. */
export function addReplace<R extends OwnedRecord>(
  app: FastifyInstance,
  endpoint: Endpoint,
  registry: ReplacingRegistry<R>,
  options: OwnedOptions<R, Written<R>>,
): void {
  addChange(app, endpoint, registry.records, {
    ...options,
    change: (request, body) => registry.replace(request, body),
  })
}

interface ChangeOptions<R extends OwnedRecord> extends Pick<
  OwnedOptions<R, never>,
  'view' | 'bodyLimit' | 'secretBody'
> {
  readonly change: (request: RecordRequest, body: unknown) => Promise<Written<R>>
  /** Further checks before the body is read. */
  readonly check?: (principal: Principal) => void
}

/** Adds a route that changes a record by a body. */
function addChange<R extends OwnedRecord>(
  app: FastifyInstance,
  endpoint: Endpoint,
  records: Readable<R>,
  { view, bodyLimit, secretBody, change, check }: ChangeOptions<R>,
): void {
  serve(
    app,
    endpoint,
    async (call) => {
      const request = await requestOf(call, { records })
      const { resource, warnings } = await change(request, call.request.body)
      return answer(call.reply, resource, view(resource, warnings))
    },
    {
      bodyLimit,
      secretBody,
      async check(principal, name) {
        await records.permit(principal, 'write', name)
        check?.(principal)
      },
    },
  )
}

/** The record that a call is about, with the version that the caller has read, if it names one. */
export async function requestOf(
  { principal, name, request }: Pick<Call, 'principal' | 'name' | 'request'>,
  { records }: { readonly records: { get(principal: Principal, name: string): Promise<Stored> } },
): Promise<RecordRequest> {
  const version = await ifMatch(request, () => records.get(principal, name))
  return { principal, name, ifMatch: version }
}

/** Answers with a body about a record, and with its tag. */
export function answer(reply: FastifyReply, resource: Stored, body: unknown): FastifyReply {
  reply.request.subject = resource
  return reply.header('etag', etag(resource)).send(body)
}
