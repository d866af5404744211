import { endpoints, type DeclaredSourceStatus, type GatewayStatus } from '@mcp-gateway/contract'
import type { FastifyInstance } from 'fastify'
import { adminRole, hasRole } from '../core/principal.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { serve } from './serve.ts'

export interface GatewayStatusOptions {
  readonly version: string
  readonly runtime: Pick<Runtime, 'name'>
  /** The folders that the gateway follows, by name. */
  readonly declared: () => Readonly<Record<string, DeclaredSourceStatus>>
}

/**
 * Adds `GET /status`. Documents name resources of all owners, and folders are paths of the machine,
 * so only administrators see them.
 */
export function addGatewayStatus(
  app: FastifyInstance,
  { version, runtime, declared }: GatewayStatusOptions,
): void {
  serve(app, endpoints.gatewayStatus, ({ principal }): GatewayStatus => {
    const all = hasRole(principal, adminRole)
    const shown = Object.entries(declared()).map(([name, status]) => {
      const { folder: _folder, documents: _documents, problems: _problems, ...summary } = status
      return [name, all ? status : { ...summary, problems: [] }] as const
    })

    return { version, runtime: runtime.name, declared: Object.fromEntries(shown) }
  })
}
