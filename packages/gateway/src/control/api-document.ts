import { openApiDocument } from '@mcp-gateway/contract'
import type { FastifyInstance } from 'fastify'
import { apiPage } from './api-page.ts'

/**
 * Builds the document once, on the first request. Anybody may request it, but most gateways are
 * never asked.
 */
export function addApiDocument(app: FastifyInstance, version: string): void {
  const making = (): { readonly json: Buffer; readonly page: Buffer } => {
    const document = openApiDocument(version)
    return { json: Buffer.from(JSON.stringify(document)), page: Buffer.from(apiPage(document)) }
  }
  let made: ReturnType<typeof making> | undefined
  const document = () => (made ??= making())

  app.get('/openapi.json', (_request, reply) =>
    reply.type('application/json').send(document().json),
  )
  app.get('/docs', (_request, reply) =>
    reply
      .type('text/html; charset=utf-8')
      .header('content-security-policy', "default-src 'none'; style-src 'unsafe-inline'")
      .send(document().page),
  )
}
