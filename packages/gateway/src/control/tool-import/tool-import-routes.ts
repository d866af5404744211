import { calls, type ToolInput } from '@mcp-gateway/contract'
import type { FastifyInstance } from 'fastify'
import type { ApiRequest } from '../../audit/api-requests.ts'
import type { Tool } from '../../core/resource.ts'
import type { Kind } from '../kinds/kind.ts'
import { serve } from '../serve.ts'
import { ToolImporter, type ToolImportOptions, type ToldOfTool } from './tool-importer.ts'

export interface ToolImportRouteOptions extends ToolImportOptions {
  readonly audit: (request: ApiRequest) => void
}

/** Adds the route that registers tools from an OpenAPI document. */
export function addToolImport(
  app: FastifyInstance,
  kind: Kind<Tool, ToolInput>,
  options: ToolImportRouteOptions,
): void {
  const importer = new ToolImporter(kind, options)
  serve(
    app,
    calls.tool.import,
    async (call) => {
      const { principal, request, reply } = call
      const { dryRun } = call.query()
      // Each tool gets the audit record that POST /tools would give it.
      const told: ToldOfTool = ({ name, resource, error }) =>
        options.audit({
          action: 'tool.create',
          matters: true,
          principal,
          subject: resource ?? { kind: 'tool', name },
          error,
          request: request.raw,
          digest: undefined,
        })
      return reply.send(await importer.import(principal, request.body, dryRun, told))
    },
    { check: (principal) => importer.checkCreate(principal) },
  )
}
