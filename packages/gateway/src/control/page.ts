import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Stored } from '../core/resource.ts'
import { each } from '../store/each.ts'
import type { Collection } from '../store/store.ts'

export interface Page {
  /** JSON of each. */
  readonly shown: readonly string[]
  /** Name after which the next page begins, if there is one. */
  readonly next?: string
}

export interface PageRequest<R extends Stored> {
  readonly kind?: R['kind']
  readonly after: string | undefined
  /** Undefined: all. */
  readonly limit: number | undefined
}

/** UTF-16 units of a page, also where the caller asks for all: it is in memory as a whole. */
const longestPage = 16 * 1024 * 1024

/** Those of a collection that fit, in the order of their names, as they are shown. */
export async function pageOf<R extends Stored>(
  collection: Pick<Collection<R>, 'list'>,
  { kind, after = '', limit = Number.POSITIVE_INFINITY }: PageRequest<R>,
  fits: (resource: R) => boolean,
  show: (resource: R) => object,
): Promise<Page> {
  const shown: string[] = []
  let length = 0
  let last = ''
  // What the caller may not see must not make pages short, nor the whole store be read for one page.
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

/** Answers with a page. */
export function sendPage(request: FastifyRequest, reply: FastifyReply, page: Page): FastifyReply {
  linkNext(request, reply, page)
  // As bytes, so that fastify does not make JSON of it again.
  const body = Buffer.from(`[${page.shown.join(',')}]`)
  return reply.type('application/json; charset=utf-8').send(body)
}

/** The name that a cursor stands for. */
export function afterCursor(cursor: string | undefined): string | undefined {
  return cursor === undefined ? undefined : Buffer.from(cursor, 'base64url').toString()
}

/** Says where the next page is (RFC 8288). */
function linkNext(request: FastifyRequest, reply: FastifyReply, { next }: Page): void {
  if (next === undefined) return
  const query = new URLSearchParams({
    ...(request.query as Record<string, string>),
    cursor: Buffer.from(next).toString('base64url'),
  })
  reply.header('link', `<${request.url.split('?')[0]}?${query.toString()}>; rel="next"`)
}
