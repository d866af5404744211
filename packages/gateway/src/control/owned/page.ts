import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Stored } from '../../core/resource.ts'
import { each } from '../../store/each.ts'
import type { Collection } from '../../store/store.ts'

export interface Page {
  /** JSON of each resource. */
  readonly shown: readonly string[]
  /** Name after which the next page begins, if there is a next page. */
  readonly next?: string
}

export interface PageRequest<R extends Stored> {
  readonly kind?: R['kind']
  readonly after: string | undefined
  /** Undefined: no limit. */
  readonly limit: number | undefined
}

/**
 * Limit of a page in UTF-16 units, even if the caller asks for everything, because a page is built
 * in memory.
 */
const longestPage = 16 * 1024 * 1024

/** Builds a page of the resources that `fits` accepts, sorted by name. */
export async function pageOf<R extends Stored>(
  collection: Pick<Collection<R>, 'list'>,
  { kind, after = '', limit = Number.POSITIVE_INFINITY }: PageRequest<R>,
  fits: (resource: R) => boolean,
  show: (resource: R) => object,
): Promise<Page> {
  const shown: string[] = []
  let length = 0
  let last = ''

  // Skip invisible resources here, so that they neither shorten a page nor force a read of the
  // whole store.
  for await (const resource of each(collection, {
    ...(kind === undefined ? {} : { kind }),
    after,
  })) {
    if (!fits(resource)) continue
    if (shown.length === limit || length > longestPage) return { shown, next: last }

    const text = JSON.stringify(show(resource))
    length += text.length
    shown.push(text)
    last = resource.name
  }
  return { shown }
}

/** Sends a page, with a link to the next one. */
export function sendPage(request: FastifyRequest, reply: FastifyReply, page: Page): FastifyReply {
  linkNext(request, reply, page)
  // Send bytes, so that Fastify does not serialize the JSON again.
  const body = Buffer.from(`[${page.shown.join(',')}]`)
  return reply.type('application/json; charset=utf-8').send(body)
}

/** The name that a cursor encodes. */
export function afterCursor(cursor: string | undefined): string | undefined {
  return cursor === undefined ? undefined : Buffer.from(cursor, 'base64url').toString()
}

/** Adds the link to the next page (RFC 8288). */
function linkNext(request: FastifyRequest, reply: FastifyReply, { next }: Page): void {
  if (next === undefined) return
  const query = new URLSearchParams({
    ...(request.query as Record<string, string>),
    cursor: Buffer.from(next).toString('base64url'),
  })
  reply.header('link', `<${request.url.split('?')[0]}?${query.toString()}>; rel="next"`)
}
