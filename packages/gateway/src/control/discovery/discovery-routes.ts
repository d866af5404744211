import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { discovery, type Catalog, type RegistryQuery } from '@mcp-gateway/contract'
import type { FastifyInstance, FastifyReply } from 'fastify'
import { GatewayError } from '../../core/errors.ts'
import { isAnonymous, type Principal } from '../../core/principal.ts'
import { afterCursor } from '../owned/page.ts'
import { knowsTag } from '../owned/precondition.ts'
import { serve, type Call } from '../serve.ts'
import {
  cardOf,
  catalogEntryOf,
  contains,
  keyIn,
  latest,
  registryServerOf,
  versionOf,
  type Connectable,
} from './descriptions.ts'
import { UsableServers, type UsableServersOptions } from './usable-servers.ts'

export interface DiscoveryOptions extends UsableServersOptions {
  /** The origin by which the client reached the gateway. */
  readonly originOf: (request: IncomingMessage) => string
}

/** Adds Server Cards, their catalogs, and the registry: all only of what the caller may use. */
export function addDiscovery(app: FastifyInstance, options: DiscoveryOptions): void {
  const usable = new UsableServers(options)
  addCards(app, usable, options)
  addCatalogs(app, usable, options)
  addRegistry(app, usable, options)
}

type Origins = Pick<DiscoveryOptions, 'originOf'>

function addCards(app: FastifyInstance, usable: UsableServers, { originOf }: Origins): void {
  const { adapterCard, adapterCardBesideMcp, serverCard, serverCardBesideMcp } = discovery
  for (const endpoint of [adapterCard, adapterCardBesideMcp, serverCard, serverCardBesideMcp])
    serve(app, endpoint, async (call) => {
      const { name, principal, request } = call
      const collection = endpoint.audit.kind === 'adapter' ? 'adapters' : 'servers'
      const server = await usable.get(principal, `${collection}.${name}`)
      request.subject = server
      return sendCached(call, endpoint.success.type, cardOf(originOf(request.raw), server))
    })
}

function addCatalogs(app: FastifyInstance, usable: UsableServers, { originOf }: Origins): void {
  const versions = [
    [discovery.mcpCatalog, 'draft'],
    [discovery.aiCatalog, '0.9'],
  ] as const
  for (const [endpoint, specVersion] of versions)
    serve(app, endpoint, async (call) => {
      const origin = originOf(call.request.raw)
      const entries: Catalog['entries'] = []
      for await (const server of usable.list(call.principal))
        entries.push(catalogEntryOf(origin, server))
      return sendCached(call, endpoint.success.type, { specVersion, entries })
    })
}

function addRegistry(app: FastifyInstance, usable: UsableServers, { originOf }: Origins): void {
  const { registryList, registryVersion, registryVersions } = discovery

  serve(app, registryList, async (call) => {
    const query = call.query()
    const origin = originOf(call.request.raw)
    const page = { after: keyAfter(query.cursor), limit: query.limit }
    const fits = (server: Connectable): boolean => isAskedFor(origin, server, query)
    const { next, shown } = await usable.page(call.principal, page, fits)
    return sendCached(call, json, listOf(origin, shown, next))
  })

  serve(app, registryVersions, async (call) => {
    call.query()
    const origin = originOf(call.request.raw)
    return sendCached(call, json, listOf(origin, [await named(call, usable, origin)], undefined))
  })

  serve(app, registryVersion, async (call) => {
    call.query()
    const origin = originOf(call.request.raw)
    const server = await named(call, usable, origin)
    const { version } = call.request.params as { readonly version: string }
    if (version !== latest && version !== versionOf(server))
      throw new GatewayError('not_found', {
        detail:
          `The gateway keeps no version '${version.slice(0, 100)}' of this server. ` +
          `Ask for '${latest}'.`,
      })
    return sendCached(call, json, registryServerOf(origin, server))
  })
}

const json = 'application/json'

/** The server that the path names by its name in the registry. */
async function named(call: Call, usable: UsableServers, origin: string): Promise<Connectable> {
  const { principal, request } = call
  const { serverName } = request.params as { readonly serverName: string }
  const server = await usable.get(principal, keyIn(origin, serverName) ?? '')
  request.subject = server
  return server
}

/** @throws GatewayError `validation_failed` for a cursor that the gateway has not made */
function keyAfter(cursor: string | undefined): string | undefined {
  const key = afterCursor(cursor)
  if (key === undefined || /^(adapters|servers)\.[a-z0-9-]+$/.test(key)) return key
  throw new GatewayError('validation_failed', {
    mistakes: [
      {
        pointer: 'query:cursor',
        code: 'invalid_format',
        detail: 'must be the nextCursor of an answer',
      },
    ],
  })
}

function isAskedFor(
  origin: string,
  server: Connectable,
  { search, updated_since: since, version }: RegistryQuery,
): boolean {
  if (version !== undefined && version !== latest && version !== versionOf(server)) return false
  if (since !== undefined && Date.parse(server.lastUpdatedAt) < Date.parse(since)) return false
  return search === undefined || contains(origin, server, search.toLowerCase())
}

function listOf(origin: string, shown: readonly Connectable[], next: string | undefined): object {
  const nextCursor = next === undefined ? undefined : Buffer.from(next).toString('base64url')
  return {
    servers: shown.map((server) => registryServerOf(origin, server)),
    metadata: { ...(nextCursor === undefined ? {} : { nextCursor }), count: shown.length },
  }
}

/** Sends a document that depends on the caller, or 304 if the client has it. */
function sendCached(
  { principal, reply, request }: Pick<Call, 'principal' | 'reply' | 'request'>,
  type: string,
  document: object,
): FastifyReply {
  const body = Buffer.from(JSON.stringify(document))
  const tag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`
  reply.headers({ etag: tag, 'cache-control': cacheControl(principal), vary })
  return knowsTag(request, tag) ? reply.code(304).send() : reply.type(type).send(body)
}

/** The headers that decide who the caller is, and what a page may read. */
const vary = 'Origin, Authorization, X-API-Key, X-Dev-UserId, X-Dev-Name, X-Dev-Roles'

/** Shared caches may keep only what everybody sees. Rights may change at any time. */
function cacheControl(principal: Principal): string {
  return `${isAnonymous(principal) ? 'public' : 'private'}, max-age=60`
}
