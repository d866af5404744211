import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Stored } from '../core/resource.ts'
import { each } from '../store/each.ts'
import type { Collection } from '../store/store.ts'

export interface Page<R> {
  readonly resources: readonly R[]
  /** Name after which the next page begins, if there is one. */
  readonly next?: string
}

export interface PageRequest<R extends Stored> {
  readonly kind?: R['kind']
  readonly after: string | undefined
  /** Undefined: all. */
  readonly limit: number | undefined
}

/** Those of a collection that fit, in the order of their names. */
export async function pageOf<R extends Stored>(
  collection: Pick<Collection<R>, 'list'>,
  { kind, after = '', limit = Number.POSITIVE_INFINITY }: PageRequest<R>,
  fits: (resource: R) => boolean,
): Promise<Page<R>> {
  const resources: R[] = []
  // What the caller may not see must not make pages short, nor the whole store be read for one page.
  for await (const resource of each(collection, {
    ...(kind === undefined ? {} : { kind }),
    after,
  })) {
    if (!fits(resource)) continue
    const last = resources.at(-1)
    if (resources.length === limit && last !== undefined) return { resources, next: last.name }
    resources.push(resource)
  }
  return { resources }
}

/** The name that a cursor stands for. */
export function afterCursor(cursor: string | undefined): string | undefined {
  return cursor === undefined ? undefined : Buffer.from(cursor, 'base64url').toString()
}

/** Says where the next page is (RFC 8288). */
export function linkNext(
  request: FastifyRequest,
  reply: FastifyReply,
  { next }: Page<unknown>,
): void {
  if (next === undefined) return
  const query = new URLSearchParams({
    ...(request.query as Record<string, string>),
    cursor: Buffer.from(next).toString('base64url'),
  })
  reply.header('link', `<${request.url.split('?')[0]}?${query.toString()}>; rel="next"`)
}
