import { z } from 'zod'
import {
  AdapterInput,
  AdapterResource,
  anonymous,
  CredentialView,
  EnvironmentVariables,
  eras,
  legacyLeg,
  Owner,
  OwnerInput,
  replicaLimit,
  ResourceName,
  ResourceStatus,
  workloadFields,
  toolRules,
} from './adapters.ts'
import { ApiKeyCreated, ApiKeyInput, ApiKeyPatch, ApiKeyResource } from './api-keys.ts'
import { GatewayStatus } from './gateway-status.ts'
import { SecretDeletion, SecretInput, SecretPatch, SecretResource } from './secrets.ts'
import { ToolDefinitionPatch, ToolInput, ToolResource } from './tools.ts'

const patchFields = {
  name: ResourceName,
  imageName: workloadFields.imageName.nullable(),
  imageVersion: workloadFields.imageVersion.nullable(),
  endpoint: workloadFields.endpoint.nullable(),
  environmentVariables: z
    .record(z.string(), z.union([EnvironmentVariables.valueType, z.null()]))
    .nullable(),
  replicaCount: z.int().min(0).max(replicaLimit).nullable(),
  description: z.string().max(4096).nullable(),
  useWorkloadIdentity: z.boolean().nullable(),
  requiredRoles: z.array(z.string()).nullable(),
  ownerRoles: z.array(z.string()).nullable(),
  callerIdentity: workloadFields.callerIdentity.nullable(),
  /** A list replaces all stored headers; an object merges into the one header. */
  credential: z.union([CredentialView.partial(), z.array(CredentialView)]).nullable(),
}

/**
 * Body of PATCH, a JSON merge patch (RFC 7396): null restores a default, or removes a variable. To
 * move from an image to an endpoint, or back, one patch sets the one and nulls the other.
 */
export const AdapterPatch = z
  .object({
    ...patchFields,
    anonymous: anonymous.nullable(),
    toolRules: toolRules.nullable(),
    eras: eras.nullable(),
    legacyLeg: legacyLeg.nullable(),
  })
  .partial()
  .meta({ id: 'AdapterPatch' })

/** Body of PATCH for tools, as `AdapterPatch` is for adapters. */
export const ToolPatch = z
  .object({
    ...patchFields,
    toolDefinition: ToolDefinitionPatch,
  })
  .partial()
  .meta({ id: 'ToolPatch' })

export const ListQuery = z.object({
  limit: z.coerce
    .number()
    .int()
    .min(1)
    .max(1000)
    .optional()
    .meta({ description: 'Most entries of one page; all when absent.' }),
  cursor: z.string().optional().meta({ description: 'From the `Link` header of the page before.' }),
  name: z.string().optional().meta({ description: 'Names that begin so.' }),
  q: z
    .string()
    .optional()
    .meta({ description: 'Names and descriptions that contain this, without case.' }),
})

export const PageQuery = ListQuery.pick({ limit: true, cursor: true })

export const LogsQuery = z.object({
  instance: z.coerce
    .number()
    .int()
    .min(0)
    .max(replicaLimit)
    .default(0)
    .meta({ description: 'Index of the replica.' }),
  tail: z.coerce
    .number()
    .int()
    .min(0)
    .max(100_000)
    .default(1000)
    .meta({ description: 'Last lines to give first.' }),
  since: z
    .string()
    .regex(
      /^(\d+(s|m|h|d)?|\d{4}-\d\d-\d\dT.+)$/,
      'must be a duration (90s, 5m, 1h) or an ISO 8601 time',
    )
    .optional()
    .meta({ description: 'A duration (`90s`, `5m`, `1h`) or an ISO 8601 time.' }),
  follow: z.stringbool().default(false).meta({ description: 'Go on with new lines.' }),
  previous: z
    .stringbool()
    .default(false)
    .meta({ description: 'The instance before the last restart.' }),
  container: z
    .string()
    .regex(
      /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/,
      "must be a DNS label: lower case letters, digits and '-'",
    )
    .optional()
    .meta({
      description:
        'On Kubernetes: another container of the pod than the server’s own, such as one that was put into it for a service mesh.',
    }),
})

export interface Endpoint {
  readonly method: 'get' | 'post' | 'put' | 'patch' | 'delete'
  /** Parameters stand as `{name}` or `{id}`. */
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
  /** Statuses of its problem answers, besides 400, 401 and 503. */
  readonly problems: readonly number[]
}

const etag = { ETag: 'The version, for If-Match.' }
const adapterExample = {
  name: 'mcp-example',
  imageName: 'mcp-example',
  imageVersion: '1.0.0',
  description: 'test',
}
const toolExample = {
  name: 'weather',
  imageName: 'weather-tool',
  imageVersion: '1.0.0',
  description: 'Weather tool for getting current weather information',
  toolDefinition: {
    tool: {
      name: 'weather',
      title: 'Weather Information',
      description: 'Gets the current weather for a specified location.',
      inputSchema: {
        type: 'object',
        properties: {
          location: { type: 'string', description: 'The city and state, e.g. San Francisco, CA' },
        },
        required: ['location'],
      },
    },
    port: 8000,
  },
}

interface Words {
  readonly collection: string
  /** One resource with its article, such as "a tool". */
  readonly one: string
  readonly many: string
  readonly input: z.ZodType
  readonly patch: z.ZodType
  readonly resource: z.ZodType
  readonly example: unknown
  readonly patchExample: unknown
}

/** The calls that every kind of resource has. */
function callsOf({ collection, one, many, input, patch, resource, example, patchExample }: Words) {
  const path = `${collection}/{name}`
  return {
    create: {
      method: 'post',
      path: collection,
      summary: `Deploy and register ${one}.`,
      body: { type: 'application/json', schema: input, example },
      success: {
        status: 201,
        description: 'Registered.',
        schema: resource,
        headers: { ...etag, Location: 'Its address.' },
      },
      problems: [403, 409, 413, 415],
    },
    list: {
      method: 'get',
      path: collection,
      summary: `List all ${many} the caller can access.`,
      query: ListQuery,
      success: {
        status: 200,
        description: 'In order of their names.',
        schema: z.array(resource),
        headers: { Link: 'The next page (RFC 8288, rel="next").' },
      },
      problems: [],
    },
    get: {
      method: 'get',
      path,
      summary: `Retrieve the metadata of ${one}.`,
      success: { status: 200, description: 'What is registered.', schema: resource, headers: etag },
      problems: [304, 404],
    },
    replace: {
      method: 'put',
      path,
      summary: `Replace ${one}. Fields left out fall back to their defaults; PATCH changes only what it names.`,
      body: { type: 'application/json', schema: input, example },
      success: { status: 200, description: 'Replaced.', schema: resource, headers: etag },
      problems: [403, 404, 409, 412, 413, 415],
    },
    patch: {
      method: 'patch',
      path,
      summary: `Change some fields of ${one} (JSON merge patch, RFC 7396).`,
      body: { type: 'application/merge-patch+json', schema: patch, example: patchExample },
      success: { status: 200, description: 'Changed.', schema: resource, headers: etag },
      problems: [403, 404, 409, 412, 413, 415],
    },
    transfer: {
      method: 'put',
      path: `${path}/owner`,
      summary: `Become the owner of ${one} that was offered, or, as mcp.admin, give it to anybody. Whoever had it keeps what its roles allow.`,
      body: { type: 'application/json', schema: OwnerInput, example: { id: 'bob' } },
      success: { status: 200, description: 'Given.', schema: Owner, headers: etag },
      problems: [403, 404, 409, 412, 413, 415],
    },
    offer: {
      method: 'put',
      path: `${path}/offer`,
      summary: `Offer ${one} to somebody, who may see it and become its owner.`,
      body: { type: 'application/json', schema: OwnerInput, example: { id: 'bob' } },
      success: { status: 200, description: 'Offered.', schema: Owner, headers: etag },
      problems: [403, 404, 409, 412, 413, 415],
    },
    decline: {
      method: 'delete',
      path: `${path}/offer`,
      summary: `Take the offer of ${one} back, or refuse it.`,
      success: { status: 204, description: 'It is offered to nobody.' },
      problems: [403, 404, 409, 412],
    },
    restart: {
      method: 'post',
      path: `${path}/restart`,
      summary: `Replace every replica of ${one}, one by one, with nothing else changed.`,
      success: {
        status: 202,
        description: 'Asked for. It is done when `updatedReplicas` of the status is all there are.',
        schema: ResourceStatus,
        headers: etag,
      },
      problems: [403, 404, 409, 412],
    },
    delete: {
      method: 'delete',
      path,
      summary: `Remove ${one}.`,
      success: { status: 204, description: 'Removed.' },
      problems: [403, 404, 412],
    },
    status: {
      method: 'get',
      path: `${path}/status`,
      summary: 'Check the deployment status.',
      success: { status: 200, description: 'The status.', schema: ResourceStatus },
      problems: [404],
    },
    logs: {
      method: 'get',
      path: `${path}/logs`,
      summary: 'Access the running logs.',
      query: LogsQuery,
      success: { status: 200, description: 'Lines of text.', type: 'text/plain' },
      problems: [403, 404, 409],
    },
  } as const satisfies Record<string, Endpoint>
}

const adapters = callsOf({
  collection: '/adapters',
  one: 'an MCP server',
  many: 'MCP servers',
  input: AdapterInput,
  patch: AdapterPatch,
  resource: AdapterResource,
  example: adapterExample,
  patchExample: { replicaCount: 2 },
})

const tools = callsOf({
  collection: '/tools',
  one: 'a tool',
  many: 'tools',
  input: ToolInput,
  patch: ToolPatch,
  resource: ToolResource,
  example: toolExample,
  patchExample: { toolDefinition: { tool: { title: 'Weather' } } },
})

const apiKey = '/api-keys/{id}'
const apiKeys = {
  create: {
    method: 'post',
    path: '/api-keys',
    summary: 'Make a key for programs that acts as its creator. It is shown once.',
    body: {
      type: 'application/json',
      schema: ApiKeyInput,
      example: { name: 'nightly build', roles: [], expiresAt: '2030-01-01T00:00:00Z' },
    },
    success: {
      status: 201,
      description: 'Made.',
      schema: ApiKeyCreated,
      headers: { ...etag, Location: 'Its address.' },
    },
    problems: [403, 413, 415],
  },
  list: {
    method: 'get',
    path: '/api-keys',
    summary: "List the caller's keys; with the role mcp.admin, those of all.",
    query: PageQuery,
    success: {
      status: 200,
      description: 'In order of their ids.',
      schema: z.array(ApiKeyResource),
      headers: { Link: 'The next page (RFC 8288, rel="next").' },
    },
    problems: [],
  },
  get: {
    method: 'get',
    path: apiKey,
    summary: 'Retrieve what is known of a key.',
    success: {
      status: 200,
      description: 'All but the key.',
      schema: ApiKeyResource,
      headers: etag,
    },
    problems: [404],
  },
  patch: {
    method: 'patch',
    path: apiKey,
    summary: 'Change name, roles or end of a key (JSON merge patch, RFC 7396).',
    body: { type: 'application/merge-patch+json', schema: ApiKeyPatch, example: { roles: [] } },
    success: { status: 200, description: 'Changed.', schema: ApiKeyResource, headers: etag },
    problems: [403, 404, 409, 412, 413, 415],
  },
  delete: {
    method: 'delete',
    path: apiKey,
    summary: 'Revoke a key, in all gateway processes within a second.',
    success: { status: 204, description: 'Revoked.' },
    problems: [403, 404, 412],
  },
} as const satisfies Record<string, Endpoint>

const secret = '/secrets/{name}'
const secretExample = { name: 'weather-key', value: 'a secret', requiredRoles: ['mcp.engineer'] }
const secrets = {
  create: {
    method: 'post',
    path: '/secrets',
    summary: 'Keep a secret, for workloads to refer to.',
    body: { type: 'application/json', schema: SecretInput, example: secretExample },
    success: {
      status: 201,
      description: 'Kept.',
      schema: SecretResource,
      headers: { ...etag, Location: 'Its address.' },
    },
    problems: [403, 409, 413, 415],
  },
  list: {
    method: 'get',
    path: '/secrets',
    summary: 'List the secrets that the caller can give to workloads, without their values.',
    query: PageQuery,
    success: {
      status: 200,
      description: 'In order of their names.',
      schema: z.array(SecretResource),
      headers: { Link: 'The next page (RFC 8288, rel="next").' },
    },
    problems: [],
  },
  get: {
    method: 'get',
    path: secret,
    summary: 'Retrieve what is known of a secret, without its values.',
    success: {
      status: 200,
      description: 'All but the values.',
      schema: SecretResource,
      headers: etag,
    },
    problems: [404],
  },
  replace: {
    method: 'put',
    path: secret,
    summary: 'Replace a secret. Workloads that refer to it are restarted with the new values.',
    body: { type: 'application/json', schema: SecretInput, example: secretExample },
    success: { status: 200, description: 'Replaced.', schema: SecretResource, headers: etag },
    problems: [403, 404, 409, 412, 413, 415],
  },
  patch: {
    method: 'patch',
    path: secret,
    summary: 'Change some values or fields of a secret (JSON merge patch, RFC 7396).',
    body: {
      type: 'application/merge-patch+json',
      schema: SecretPatch,
      example: { value: 'another secret' },
    },
    success: { status: 200, description: 'Changed.', schema: SecretResource, headers: etag },
    problems: [403, 404, 409, 412, 413, 415],
  },
  delete: {
    method: 'delete',
    path: secret,
    summary: 'Remove a secret to which no workload refers.',
    query: SecretDeletion,
    success: { status: 204, description: 'Removed.' },
    problems: [403, 404, 409, 412],
  },
} as const satisfies Record<string, Endpoint>

/** The control plane as data, from which the OpenAPI document is made. */
export const endpoints = {
  createAdapter: adapters.create,
  listAdapters: adapters.list,
  getAdapter: adapters.get,
  replaceAdapter: adapters.replace,
  patchAdapter: adapters.patch,
  transferAdapter: adapters.transfer,
  offerAdapter: adapters.offer,
  declineAdapter: adapters.decline,
  restartAdapter: adapters.restart,
  deleteAdapter: adapters.delete,
  adapterStatus: adapters.status,
  adapterLogs: adapters.logs,
  createTool: tools.create,
  listTools: tools.list,
  getTool: tools.get,
  replaceTool: tools.replace,
  patchTool: tools.patch,
  transferTool: tools.transfer,
  offerTool: tools.offer,
  declineTool: tools.decline,
  restartTool: tools.restart,
  deleteTool: tools.delete,
  toolStatus: tools.status,
  toolLogs: tools.logs,
  createApiKey: apiKeys.create,
  listApiKeys: apiKeys.list,
  getApiKey: apiKeys.get,
  patchApiKey: apiKeys.patch,
  deleteApiKey: apiKeys.delete,
  createSecret: secrets.create,
  listSecrets: secrets.list,
  getSecret: secrets.get,
  replaceSecret: secrets.replace,
  patchSecret: secrets.patch,
  deleteSecret: secrets.delete,
  gatewayStatus: {
    method: 'get',
    path: '/status',
    summary: 'Check the gateway itself, and the folders of files that it follows.',
    success: { status: 200, description: 'The status.', schema: GatewayStatus },
    problems: [],
  },
} as const satisfies Record<string, Endpoint>
