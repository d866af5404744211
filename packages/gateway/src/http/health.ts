import type { FastifyInstance } from 'fastify'

export interface HealthChecks {
  /** Rejects when the gateway cannot serve. What it serves without is told. */
  ready(): Promise<Readonly<Record<string, string>>>
}

/** Where `health` answers. */
export const healthPaths: ReadonlySet<string> = new Set(['/ping', '/healthz', '/readyz'])

/** `/ping` and `/healthz`: the process runs. `/readyz`: it can serve. All anonymous, and they tell nothing else. */
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
