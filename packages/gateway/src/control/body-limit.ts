import type { FastifyInstance } from 'fastify'

/** The limit of a route's bodies in bytes: its own, or that of all (`edge.bodyLimitBytes`). */
export function atMost({ initialConfig }: FastifyInstance, own: number): number {
  return Math.min(own, initialConfig.bodyLimit ?? own)
}
