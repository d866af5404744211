import { z } from 'zod'
import { createDocument } from 'zod-openapi'
import type { Endpoint } from './endpoint.ts'
import { endpoints } from './endpoints.ts'
import { Problem } from './problem.ts'

type Operation = Record<string, unknown>

/** The OpenAPI 3.1 document of the control plane. */
export function openApiDocument(version: string): object {
  const paths: Record<string, Record<string, Operation>> = {}
  for (const [operationId, endpoint] of Object.entries<Endpoint>(endpoints)) {
    const path = (paths[endpoint.path] ??= {})
    path[endpoint.method] = operation(operationId, endpoint)
  }

  return createDocument({
    openapi: '3.1.1',
    info: {
      title: 'MCP Gateway',
      version,
      description:
        'Registers MCP servers and tools, and runs them. MCP clients reach each server at ' +
        '/adapters/{name}/mcp and all tools at /mcp (streamable HTTP: POST, GET, DELETE). ' +
        'These two are not part of this document.',
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: '/' }],
    security: [{ apiKey: [] }, { apiKeyHeader: [] }, { developmentIdentity: [] }, {}],
    components: {
      securitySchemes: {
        apiKey: { type: 'http', scheme: 'bearer', description: 'A key of /api-keys.' },
        apiKeyHeader: {
          type: 'apiKey',
          in: 'header',
          name: 'X-API-Key',
          description: 'The same, for clients that cannot set Authorization.',
        },
        developmentIdentity: {
          type: 'apiKey',
          in: 'header',
          name: 'X-Dev-UserId',
          description:
            'On loopback addresses only, together with X-Dev-Name and X-Dev-Roles (comma ' +
            'separated).',
        },
      },
    },
    paths,
  })
}

function operation(operationId: string, endpoint: Endpoint): Operation {
  return {
    operationId,
    summary: endpoint.summary,
    tags: [endpoint.path.split('/')[1]],
    requestParams: parameters(endpoint),
    ...(endpoint.body === undefined ? {} : { requestBody: requestBody(endpoint.body) }),
    responses: responses(endpoint),
  }
}

function parameters({ path, problems, query }: Endpoint): Operation {
  const names = [...path.matchAll(/\{(\w+)\}/g)].map(([, name = '']) => [name, z.string()])
  return {
    ...(names.length === 0 ? {} : { path: z.object(Object.fromEntries(names)) }),
    ...(problems.includes(412) ? { header: conditional } : {}),
    ...(query === undefined ? {} : { query }),
  }
}

const conditional = z.object({
  'If-Match': z
    .string()
    .optional()
    .meta({ description: 'An ETag: refused with 412 when it has changed since.' }),
})

function requestBody({ type, schema, example }: NonNullable<Endpoint['body']>): Operation {
  const content = { schema, ...(example === undefined ? {} : { example }) }
  return { required: true, content: { [type]: content } }
}

function responses({ success, problems }: Endpoint): Operation {
  const all = [400, 401, ...problems, 503]
  return {
    [success.status]: successResponse(success),
    ...Object.fromEntries(all.map((status) => [status, problem(status)])),
  }
}

function successResponse(success: Endpoint['success']): Operation {
  const content = contentOf(success)
  const headers = Object.entries(success.headers ?? {}).map(([name, description]) => [
    name,
    { description, schema: { type: 'string' } },
  ])

  return {
    description: success.description,
    ...(content === undefined ? {} : { content }),
    ...(headers.length === 0 ? {} : { headers: Object.fromEntries(headers) }),
  }
}

function contentOf({ schema, type }: Endpoint['success']): Operation | undefined {
  if (schema !== undefined) return { [type ?? 'application/json']: { schema } }
  return type === undefined ? undefined : { [type]: { schema: z.string() } }
}

function problem(status: number): Operation {
  if (status === 304) return { description: 'Not modified.' }
  return {
    description: problemTitles[status] ?? 'Problem',
    content: { 'application/problem+json': { schema: Problem } },
  }
}

const problemTitles: Readonly<Record<number, string>> = {
  400: 'The request has mistakes; `errors` lists all of them.',
  401: 'The caller is not known.',
  403: 'The caller may not do this.',
  404: 'There is nothing of this name, or the caller may not see it.',
  409: 'The name is taken, or the resource is in use.',
  412: 'The resource changed since it was read.',
  413: 'The body is too large.',
  415: 'The body has another media type.',
  503: 'The gateway cannot serve now.',
}
