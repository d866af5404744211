import type { FastifyInstance } from 'fastify'

/**
 * Serves `/.well-known/jwks.json`, the public keys that verify the gateway's signatures (RFC 7517
 * section 5). Readers may keep them for five minutes.
 */
export function publishKeys(app: FastifyInstance, keys: object): void {
  const body = Buffer.from(JSON.stringify(keys))
  app.get('/.well-known/jwks.json', (_request, reply) =>
    reply
      .type('application/jwk-set+json')
      .header('cache-control', 'public, max-age=300')
      .send(body),
  )
}
