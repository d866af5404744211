import type { FastifyRequest } from 'fastify'
import { GatewayError } from '../../core/errors.ts'
import type { Stored } from '../../core/resource.ts'

/** Includes the uid, so that a tag of a deleted resource does not match its successor. */
export function etag({ uid, version }: Pick<Stored, 'uid' | 'version'>): string {
  return `"${uid.slice(0, 8)}-${version}"`
}

/** True if `If-None-Match` holds the current tag. */
export function isKnown(request: FastifyRequest, resource: Stored): boolean {
  return knowsTag(request, etag(resource))
}

/** True if `If-None-Match` holds a tag. */
export function knowsTag({ headers }: FastifyRequest, tag: string): boolean {
  return splitTags(headers['if-none-match']).includes(tag)
}

/**
 * The version that `If-Match` names; -1 if no tag matches. Only `*` and tags of this form can match
 * (RFC 9110 section 13.1.1).
 */
export async function ifMatch(
  { headers }: FastifyRequest,
  stored: () => Promise<Stored>,
): Promise<number | undefined> {
  const header = headers['if-match']
  if (header === undefined || header === '*') return undefined
  const resource = await stored()
  return splitTags(header).includes(etag(resource)) ? resource.version : -1
}

/** @throws GatewayError `precondition_failed` */
export function checkVersion({ version }: Stored, wanted: number | undefined): void {
  if (wanted !== undefined && wanted !== version) throw new GatewayError('precondition_failed')
}

/**
 * Retries a change that names no version. Such a change applies to whatever is stored, so its
 * caller need not see a lost race.
 * @throws GatewayError `conflict` after five attempts
 */
export async function retrying<T>(wanted: number | undefined, work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work()
    } catch (error) {
      const lost = error instanceof GatewayError && error.code === 'precondition_failed'
      if (!lost || wanted !== undefined) throw error
      if (attempt === 5) throw new GatewayError('conflict', { cause: error })
    }
  }
}

function splitTags(header: string | undefined): string[] {
  return header?.split(',').map((tag) => tag.trim()) ?? []
}
