import { isUtf8 } from 'node:buffer'
import type { IncomingMessage } from 'node:http'
import { endpoints, ImportInput, type ImportResult } from '@mcp-gateway/contract'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { ApiRequest } from '../../audit/api-requests.ts'
import { GatewayError } from '../../core/errors.ts'
import { checkContentHeaders } from '../../http/json-body.ts'
import { readWhole } from '../../http/rest.ts'
import { serve } from '../serve.ts'
import { validate } from '../validation.ts'
import { Importer, type ImporterOptions } from './importer.ts'

export interface ImportRouteOptions extends ImporterOptions {
  readonly audit: (request: ApiRequest) => void
}

/** Largest body in bytes. Configuration files of clients have some kilobytes. */
const longestBody = 1024 * 1024

/** Adds the import of files of clients and registries. */
export function addImport(app: FastifyInstance, options: ImportRouteOptions): void {
  // Only this route takes text.
  void app.register(async (scope) => {
    scope.addContentTypeParser(/^(text\/plain|application\/jsonc)(;|$)/i, readFile)
    addRoute(scope, options)
  })
}

/** Reads a body that is the file itself. */
async function readFile(request: FastifyRequest, body: IncomingMessage): Promise<object> {
  checkContentHeaders(request.raw)
  const bytes = await readWhole(body, request.routeOptions.bodyLimit)
  if (!isUtf8(bytes))
    throw new GatewayError('invalid_json', {
      detail: 'The file is not valid UTF-8. Save it as UTF-8.',
    })
  return { file: bytes.toString() }
}

function addRoute(app: FastifyInstance, options: ImportRouteOptions): void {
  const importer = new Importer(options)
  serve(
    app,
    endpoints.importFile,
    async (call): Promise<ImportResult> => {
      const { principal, request } = call
      const { dryRun } = call.query()
      const { value } = await validate(ImportInput, request.body)
      const entries = await importer.run(principal, value, dryRun, (name, result) =>
        options.audit({
          action: 'adapter.create',
          matters: true,
          principal,
          subject: result instanceof GatewayError ? { kind: 'adapter', name } : result,
          error: result instanceof GatewayError ? result : undefined,
          request: request.raw,
          digest: undefined,
        }),
      )
      const complete = entries.every(({ outcome }) => outcome !== 'needs' && outcome !== 'refused')
      return { dryRun, complete, entries }
    },
    {
      bodyLimit: longestBody,
      secretBody: true,
      check: (principal) => importer.checkCreate(principal),
    },
  )
}
