import { z } from 'zod'
import {
  AdapterInput,
  AdapterResource,
  AdapterStatus,
  EnvironmentVariables,
  ImageName,
  ImageVersion,
  replicaLimit,
  ResourceName,
} from './adapters.ts'

/** Body of PATCH, a JSON merge patch (RFC 7396): what it names is set, null brings back the default, a null variable is removed. */
export const AdapterPatch = z
  .object({
    name: ResourceName,
    imageName: ImageName,
    imageVersion: ImageVersion,
    environmentVariables: z.record(z.string(), z.union([EnvironmentVariables.valueType, z.null()])).nullable(),
    replicaCount: z.int().min(0).max(replicaLimit).nullable(),
    description: z.string().max(4096).nullable(),
    useWorkloadIdentity: z.boolean().nullable(),
    requiredRoles: z.array(z.string()).nullable(),
  })
  .partial()
  .meta({ id: 'AdapterPatch' })

export const ListQuery = z.object({
  limit: z.coerce.number().int().min(1).max(1000).optional().meta({ description: 'Most entries of one page; all when absent.' }),
  cursor: z.string().optional().meta({ description: 'From the `Link` header of the page before.' }),
  name: z.string().optional().meta({ description: 'Names that begin so.' }),
  q: z.string().optional().meta({ description: 'Names and descriptions that contain this, without case.' }),
})

export const LogsQuery = z.object({
  instance: z.coerce.number().int().min(0).max(replicaLimit).default(0).meta({ description: 'Index of the replica.' }),
  tail: z.coerce.number().int().min(0).max(100_000).default(1000).meta({ description: 'Last lines to give first.' }),
  since: z
    .string()
    .regex(/^(\d+(s|m|h|d)?|\d{4}-\d\d-\d\dT.+)$/, 'must be a duration (90s, 5m, 1h) or an ISO 8601 time')
    .optional()
    .meta({ description: 'A duration (`90s`, `5m`, `1h`) or an ISO 8601 time.' }),
  follow: z.stringbool().default(false).meta({ description: 'Go on with new lines.' }),
  previous: z.stringbool().default(false).meta({ description: 'The instance before the last restart.' }),
})

export interface Endpoint {
  readonly method: 'get' | 'post' | 'put' | 'patch' | 'delete'
  /** With `{name}` for parameters. */
  readonly path: string
  readonly summary: string
  readonly query?: z.ZodObject
  readonly body?: { readonly type: string; readonly schema: z.ZodType; readonly example?: unknown }
  readonly success: {
    readonly status: number
    readonly description: string
    readonly type?: string
    readonly schema?: z.ZodType
    readonly headers?: Readonly<Record<string, string>>
  }
  /** Statuses of the problems that it answers with, besides 400, 401 and 503. */
  readonly problems: readonly number[]
}

const etag = { ETag: 'The version, for If-Match.' }
const example = { name: 'mcp-example', imageName: 'mcp-example', imageVersion: '1.0.0', description: 'test' }

/** The control plane as data: the OpenAPI document, the routes and the client are made from it. */
export const endpoints = {
  createAdapter: {
    method: 'post',
    path: '/adapters',
    summary: 'Deploy and register a new MCP server.',
    body: { type: 'application/json', schema: AdapterInput, example },
    success: { status: 201, description: 'Registered.', schema: AdapterResource, headers: { ...etag, Location: 'Its address.' } },
    problems: [403, 409, 413, 415],
  },
  listAdapters: {
    method: 'get',
    path: '/adapters',
    summary: 'List all MCP servers the caller can access.',
    query: ListQuery,
    success: {
      status: 200,
      description: 'In order of their names.',
      schema: z.array(AdapterResource),
      headers: { Link: 'The next page (RFC 8288, rel="next").' },
    },
    problems: [],
  },
  getAdapter: {
    method: 'get',
    path: '/adapters/{name}',
    summary: 'Retrieve the metadata of one adapter.',
    success: { status: 200, description: 'The adapter.', schema: AdapterResource, headers: etag },
    problems: [304, 404],
  },
  replaceAdapter: {
    method: 'put',
    path: '/adapters/{name}',
    summary: 'Replace an adapter. Fields left out fall back to their defaults; PATCH changes only what it names.',
    body: { type: 'application/json', schema: AdapterInput, example },
    success: { status: 200, description: 'Replaced.', schema: AdapterResource, headers: etag },
    problems: [403, 404, 412, 413, 415],
  },
  patchAdapter: {
    method: 'patch',
    path: '/adapters/{name}',
    summary: 'Change some fields of an adapter (JSON merge patch, RFC 7396).',
    body: { type: 'application/merge-patch+json', schema: AdapterPatch, example: { replicaCount: 2 } },
    success: { status: 200, description: 'Changed.', schema: AdapterResource, headers: etag },
    problems: [403, 404, 412, 413, 415],
  },
  deleteAdapter: {
    method: 'delete',
    path: '/adapters/{name}',
    summary: 'Remove the server.',
    success: { status: 204, description: 'Removed.' },
    problems: [403, 404, 412],
  },
  adapterStatus: {
    method: 'get',
    path: '/adapters/{name}/status',
    summary: 'Check the deployment status.',
    success: { status: 200, description: 'The status.', schema: AdapterStatus },
    problems: [404],
  },
  adapterLogs: {
    method: 'get',
    path: '/adapters/{name}/logs',
    summary: "Access the server's running logs.",
    query: LogsQuery,
    success: { status: 200, description: 'Lines of text.', type: 'text/plain' },
    problems: [403, 404],
  },
} as const satisfies Record<string, Endpoint>
