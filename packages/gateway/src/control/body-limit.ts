import type { FastifyInstance } from 'fastify'

/**
 * The body limit of a route in bytes: its own, or the general one (`edge.bodyLimitBytes`) if that
 * is smaller.
 */
export function atMost({ initialConfig }: FastifyInstance, own: number): number {
  return Math.min(own, initialConfig.bodyLimit ?? own)
}
