import type { FastifyInstance } from 'fastify'

export interface HealthChecks {
  /**
   * Rejects if the gateway cannot serve. Resolves with notes for `/readyz` on what it serves
   * without.
   */
  ready(): Promise<Readonly<Record<string, string>>>
}

/** The paths of `health`. */
export const healthPaths: ReadonlySet<string> = new Set(['/ping', '/healthz', '/readyz'])

/**
 * `/ping` and `/healthz`: the process runs. `/readyz`: it can serve. All are anonymous and say
 * nothing more.
 */
export function health(app: FastifyInstance, checks: HealthChecks): void {
  app.get('/ping', () => '')
  app.get('/healthz', () => ({ status: 'ok' }))
  app.get('/readyz', async (_request, reply) => {
    try {
      return { status: 'ready', ...(await checks.ready()) }
    } catch {
      return reply.code(503).header('retry-after', '1').send({ status: 'not ready' })
    }
  })
}
