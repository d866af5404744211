import type { FastifyInstance } from 'fastify'
import { resourceMetadata } from '../auth/resource-metadata.ts'
import { publishKeys } from '../http/published-keys.ts'
import type { Callers } from './callers.ts'
import type { OutgoingSide } from './outgoing.ts'

export interface PublishedParts {
  readonly callers: Callers
  readonly outgoingSide: OutgoingSide
}

/** Adds the routes that everybody may read: the signer's keys, and where clients get tokens. */
export function publish(api: FastifyInstance, { callers, outgoingSide }: PublishedParts): void {
  publishKeys(api, outgoingSide.signer.jwks)
  const { metadata } = callers.identity
  if (metadata !== undefined) resourceMetadata(api, metadata)
}
