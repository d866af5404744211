import { z } from 'zod'
import { AdapterInput, AdapterResource, Owner, OwnerInput, ResourceStatus } from './adapters.ts'
import { ApiKeyCreated, ApiKeyInput, ApiKeyPatch, ApiKeyResource } from './api-keys.ts'
import { discovery } from './discovery-endpoints.ts'
import type { Endpoint } from './endpoint.ts'
import { GatewayStatus } from './gateway-status.ts'
import { ImportInput, ImportQuery, ImportResult } from './import.ts'
import { AdapterPatch, ToolPatch } from './patches.ts'
import { ListQuery, LogsQuery, PageQuery } from './queries.ts'
import { SecretDeletion, SecretInput, SecretPatch, SecretResource } from './secrets.ts'
import { ServerInput, ServerPatch, ServerResource, ServerStatus } from './servers.ts'
import { ToolImportInput, ToolImportQuery, ToolImportResult } from './tool-import.ts'
import { ToolInput, ToolResource } from './tools.ts'

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
  readonly kind: string
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
function callsOf({
  kind,
  collection,
  one,
  many,
  input,
  patch,
  resource,
  example,
  patchExample,
}: Words) {
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
      audit: { kind, verb: 'create', always: true },
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
      audit: { kind, verb: 'list', always: false },
    },
    get: {
      method: 'get',
      path,
      summary: `Retrieve the metadata of ${one}.`,
      success: { status: 200, description: 'The resource.', schema: resource, headers: etag },
      problems: [304, 404],
      audit: { kind, verb: 'read', always: false },
    },
    replace: {
      method: 'put',
      path,
      summary:
        `Replace ${one}. Absent fields get their defaults; ` +
        'PATCH changes only the fields that it names.',
      body: { type: 'application/json', schema: input, example },
      success: { status: 200, description: 'Replaced.', schema: resource, headers: etag },
      problems: [403, 404, 409, 412, 413, 415],
      audit: { kind, verb: 'replace', always: true },
    },
    patch: {
      method: 'patch',
      path,
      summary: `Change some fields of ${one} (JSON merge patch, RFC 7396).`,
      body: { type: 'application/merge-patch+json', schema: patch, example: patchExample },
      success: { status: 200, description: 'Changed.', schema: resource, headers: etag },
      problems: [403, 404, 409, 412, 413, 415],
      audit: { kind, verb: 'patch', always: true },
    },
    transfer: {
      method: 'put',
      path: `${path}/owner`,
      summary:
        `Become the owner of ${one} that was offered, or give it to anybody as mcp.admin. ` +
        'The former owner keeps the access that its roles give.',
      body: { type: 'application/json', schema: OwnerInput, example: { id: 'bob' } },
      success: { status: 200, description: 'Given.', schema: Owner, headers: etag },
      problems: [403, 404, 409, 412, 413, 415],
      audit: { kind, verb: 'transfer', always: true },
    },
    offer: {
      method: 'put',
      path: `${path}/offer`,
      summary: `Offer ${one} to a principal, who may then see it and become its owner.`,
      body: { type: 'application/json', schema: OwnerInput, example: { id: 'bob' } },
      success: { status: 200, description: 'Offered.', schema: Owner, headers: etag },
      problems: [403, 404, 409, 412, 413, 415],
      audit: { kind, verb: 'offer', always: true },
    },
    decline: {
      method: 'delete',
      path: `${path}/offer`,
      summary: `Withdraw or decline the offer of ${one}.`,
      success: { status: 204, description: 'The offer is gone.' },
      problems: [403, 404, 409, 412],
      audit: { kind, verb: 'decline', always: true },
    },
    restart: {
      method: 'post',
      path: `${path}/restart`,
      summary: `Replace every replica of ${one}, one by one. Nothing else changes.`,
      success: {
        status: 202,
        description:
          'Requested. It is done when `updatedReplicas` of the status counts every replica.',
        schema: ResourceStatus,
        headers: etag,
      },
      problems: [403, 404, 409, 412],
      audit: { kind, verb: 'restart', always: true },
    },
    delete: {
      method: 'delete',
      path,
      summary: `Remove ${one}.`,
      success: { status: 204, description: 'Removed.' },
      problems: [403, 404, 412],
      audit: { kind, verb: 'delete', always: true },
    },
    status: {
      method: 'get',
      path: `${path}/status`,
      summary: 'Check the deployment status.',
      success: { status: 200, description: 'The status.', schema: ResourceStatus },
      problems: [404],
      audit: { kind, verb: 'status', always: false },
    },
    logs: {
      method: 'get',
      path: `${path}/logs`,
      summary: 'Access the running logs.',
      query: LogsQuery,
      success: { status: 200, description: 'Lines of text.', type: 'text/plain' },
      problems: [403, 404, 409],
      audit: { kind, verb: 'logs', always: true },
    },
  } as const satisfies Record<string, Endpoint>
}

const adapters = callsOf({
  kind: 'adapter',
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
  kind: 'tool',
  collection: '/tools',
  one: 'a tool',
  many: 'tools',
  input: ToolInput,
  patch: ToolPatch,
  resource: ToolResource,
  example: toolExample,
  patchExample: { toolDefinition: { tool: { title: 'Weather' } } },
})

const toolImport = {
  method: 'post',
  path: '/tools/import',
  summary:
    'Register operations of an OpenAPI 3 document as tools, each by the rules of POST /tools. ' +
    'Without `dryRun=false`, it only says what would happen.',
  query: ToolImportQuery,
  body: {
    type: 'application/json',
    schema: ToolImportInput,
    example: {
      document: {
        openapi: '3.1.0',
        info: { title: 'Pets', version: '1' },
        servers: [{ url: 'https://pets.example.com/v1' }],
        paths: { '/pets': { get: { operationId: 'listPets' } } },
      },
      operations: ['listPets'],
    },
  },
  success: {
    status: 200,
    description: 'Each operation, and its result.',
    schema: ToolImportResult,
  },
  problems: [403, 413, 415],
  audit: { kind: 'tool', verb: 'import', always: true },
} as const satisfies Endpoint

const apiKey = '/api-keys/{id}'
const apiKeys = {
  create: {
    method: 'post',
    path: '/api-keys',
    summary: 'Create a key with which programs act as its creator. Only this answer shows it.',
    body: {
      type: 'application/json',
      schema: ApiKeyInput,
      example: { name: 'nightly build', roles: [], expiresAt: '2030-01-01T00:00:00Z' },
    },
    success: {
      status: 201,
      description: 'Created.',
      schema: ApiKeyCreated,
      headers: { ...etag, Location: 'Its address.' },
    },
    problems: [403, 413, 415],
    audit: { kind: 'api-key', verb: 'create', always: true },
  },
  list: {
    method: 'get',
    path: '/api-keys',
    summary: "List the caller's keys; for the role mcp.admin, all keys.",
    query: PageQuery,
    success: {
      status: 200,
      description: 'In order of their ids.',
      schema: z.array(ApiKeyResource),
      headers: { Link: 'The next page (RFC 8288, rel="next").' },
    },
    problems: [],
    audit: { kind: 'api-key', verb: 'list', always: false },
  },
  get: {
    method: 'get',
    path: apiKey,
    summary: 'Retrieve the metadata of a key.',
    success: {
      status: 200,
      description: 'Everything except the key.',
      schema: ApiKeyResource,
      headers: etag,
    },
    problems: [404],
    audit: { kind: 'api-key', verb: 'read', always: false },
  },
  patch: {
    method: 'patch',
    path: apiKey,
    summary: 'Change the name, roles or expiry of a key (JSON merge patch, RFC 7396).',
    body: { type: 'application/merge-patch+json', schema: ApiKeyPatch, example: { roles: [] } },
    success: { status: 200, description: 'Changed.', schema: ApiKeyResource, headers: etag },
    problems: [403, 404, 409, 412, 413, 415],
    audit: { kind: 'api-key', verb: 'patch', always: true },
  },
  delete: {
    method: 'delete',
    path: apiKey,
    summary: 'Revoke a key, in all gateway processes within a second.',
    success: { status: 204, description: 'Revoked.' },
    problems: [403, 404, 412],
    audit: { kind: 'api-key', verb: 'revoke', always: true },
  },
} as const satisfies Record<string, Endpoint>

const secret = '/secrets/{name}'
const secretExample = { name: 'weather-key', value: 'a secret', requiredRoles: ['mcp.engineer'] }
const secrets = {
  create: {
    method: 'post',
    path: '/secrets',
    summary: 'Store a secret that workloads can refer to.',
    body: { type: 'application/json', schema: SecretInput, example: secretExample },
    success: {
      status: 201,
      description: 'Stored.',
      schema: SecretResource,
      headers: { ...etag, Location: 'Its address.' },
    },
    problems: [403, 409, 413, 415],
    audit: { kind: 'secret', verb: 'create', always: true },
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
    audit: { kind: 'secret', verb: 'list', always: false },
  },
  get: {
    method: 'get',
    path: secret,
    summary: 'Retrieve the metadata of a secret, without its values.',
    success: {
      status: 200,
      description: 'Everything except the values.',
      schema: SecretResource,
      headers: etag,
    },
    problems: [404],
    audit: { kind: 'secret', verb: 'read', always: false },
  },
  replace: {
    method: 'put',
    path: secret,
    summary: 'Replace a secret. Workloads that refer to it restart with the new values.',
    body: { type: 'application/json', schema: SecretInput, example: secretExample },
    success: { status: 200, description: 'Replaced.', schema: SecretResource, headers: etag },
    problems: [403, 404, 409, 412, 413, 415],
    audit: { kind: 'secret', verb: 'replace', always: true },
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
    audit: { kind: 'secret', verb: 'patch', always: true },
  },
  delete: {
    method: 'delete',
    path: secret,
    summary: 'Remove a secret that no workload refers to.',
    query: SecretDeletion,
    success: { status: 204, description: 'Removed.' },
    problems: [403, 404, 409, 412],
    audit: { kind: 'secret', verb: 'delete', always: true },
  },
} as const satisfies Record<string, Endpoint>

const server = '/servers/{name}'
const serverExample = {
  name: 'work',
  members: [{ adapter: 'github' }, { adapter: 'files', alias: 'fs' }, { tool: 'weather' }],
}
const servers = {
  create: {
    method: 'post',
    path: '/servers',
    summary: 'Register a virtual server: many MCP servers and tools at one address.',
    body: { type: 'application/json', schema: ServerInput, example: serverExample },
    success: {
      status: 201,
      description: 'Registered.',
      schema: ServerResource,
      headers: { ...etag, Location: 'Its address.' },
    },
    problems: [403, 409, 413, 415],
    audit: { kind: 'server', verb: 'create', always: true },
  },
  list: {
    method: 'get',
    path: '/servers',
    summary: 'List the virtual servers that the caller can access.',
    query: PageQuery,
    success: {
      status: 200,
      description: 'In order of their names.',
      schema: z.array(ServerResource),
      headers: { Link: 'The next page (RFC 8288, rel="next").' },
    },
    problems: [],
    audit: { kind: 'server', verb: 'list', always: false },
  },
  get: {
    method: 'get',
    path: server,
    summary: 'Retrieve the definition of a virtual server.',
    success: {
      status: 200,
      description: 'The definition.',
      schema: ServerResource,
      headers: etag,
    },
    problems: [304, 404],
    audit: { kind: 'server', verb: 'read', always: false },
  },
  replace: {
    method: 'put',
    path: server,
    summary: 'Replace a virtual server, or create it: absent fields get their defaults.',
    body: { type: 'application/json', schema: ServerInput, example: serverExample },
    success: {
      status: 200,
      description: 'Replaced; 201 if it is new.',
      schema: ServerResource,
      headers: etag,
    },
    problems: [403, 404, 409, 412, 413, 415],
    audit: { kind: 'server', verb: 'replace', always: true },
  },
  patch: {
    method: 'patch',
    path: server,
    summary: 'Change some fields of a virtual server (JSON merge patch, RFC 7396).',
    body: {
      type: 'application/merge-patch+json',
      schema: ServerPatch,
      example: { title: 'Work' },
    },
    success: { status: 200, description: 'Changed.', schema: ServerResource, headers: etag },
    problems: [403, 404, 409, 412, 413, 415],
    audit: { kind: 'server', verb: 'patch', always: true },
  },
  delete: {
    method: 'delete',
    path: server,
    summary: 'Remove a virtual server. Its members stay.',
    success: { status: 204, description: 'Removed.' },
    problems: [403, 404, 412],
    audit: { kind: 'server', verb: 'delete', always: true },
  },
  status: {
    method: 'get',
    path: `${server}/status`,
    summary: 'Check how its members stand.',
    success: { status: 200, description: 'The status.', schema: ServerStatus },
    problems: [404],
    audit: { kind: 'server', verb: 'status', always: false },
  },
} as const satisfies Record<string, Endpoint>

/** The calls of each kind that principals own. */
export const calls = {
  adapter: adapters,
  tool: { ...tools, import: toolImport },
  apiKey: apiKeys,
  secret: secrets,
  server: servers,
} as const
export type ResourceCalls = typeof adapters

/**
 * The control plane as data. The gateway makes its routes from it, and `openApiDocument` the
 * OpenAPI document.
 */
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
  importTools: toolImport,
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
  createServer: servers.create,
  listServers: servers.list,
  getServer: servers.get,
  replaceServer: servers.replace,
  patchServer: servers.patch,
  deleteServer: servers.delete,
  serverStatus: servers.status,
  ...discovery,
  importFile: {
    method: 'post',
    path: '/import',
    summary:
      'Register what a configuration file of a client, or a server.json of a registry, names. ' +
      'As text/plain, the body is the file itself.',
    query: ImportQuery,
    body: {
      type: 'application/json',
      schema: ImportInput,
      example: {
        file: { mcpServers: { files: { command: 'npx', args: ['-y', '${input:package}'] } } },
        inputs: { 'input:package': '@modelcontextprotocol/server-filesystem' },
      },
    },
    success: { status: 200, description: 'The outcome of each entry.', schema: ImportResult },
    problems: [403, 413, 415],
    audit: { kind: 'import', verb: 'run', always: false },
  },
  gatewayStatus: {
    method: 'get',
    path: '/status',
    summary: 'Check the gateway itself, and the folders of files that it follows.',
    success: { status: 200, description: 'The status.', schema: GatewayStatus },
    problems: [],
    audit: { kind: 'gateway', verb: 'status', always: false },
  },
} as const satisfies Record<string, Endpoint>
