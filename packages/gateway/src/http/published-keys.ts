import type { FastifyInstance } from 'fastify'

/** `/.well-known/jwks.json`: the keys that verify what the gateway signs (RFC 7517 section 5). Public, and to be kept for some minutes. */
export function publishKeys(app: FastifyInstance, keys: object): void {
  const body = Buffer.from(JSON.stringify(keys))
  app.get('/.well-known/jwks.json', (_request, reply) =>
    reply
      .type('application/jwk-set+json')
      .header('cache-control', 'public, max-age=300')
      .send(body),
  )
}
