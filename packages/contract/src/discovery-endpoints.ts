import {
  Catalog,
  RegistryList,
  RegistryQuery,
  RegistryServer,
  RegistryVersionQuery,
  ServerCard,
  serverCardType,
} from './discovery.ts'
import type { Endpoint } from './endpoint.ts'

const cached = {
  ETag: 'For If-None-Match.',
  'Cache-Control': '`private` for known callers, `public` for anonymous ones.',
}

function cardAt<P extends string, K extends string>(kind: K, path: P) {
  return {
    method: 'get',
    path,
    summary: 'The Server Card of an MCP server that the caller may use (SEP-2127).',
    success: {
      status: 200,
      description: 'The card.',
      type: serverCardType,
      schema: ServerCard,
      headers: cached,
    },
    problems: [304, 403, 404],
    audit: { kind, verb: 'card', always: false },
  } as const satisfies Endpoint
}

function catalogAt<P extends string>(path: P, type: string) {
  return {
    method: 'get',
    path,
    summary: 'The Server Cards of the MCP servers that the caller may use.',
    success: { status: 200, description: 'The catalog.', type, schema: Catalog, headers: cached },
    problems: [304],
    audit: { kind: 'registry', verb: 'catalog', always: false },
  } as const satisfies Endpoint
}

const versions = '/v0.1/servers/{serverName}/versions'

/** Where clients find the servers that they may use. Anonymous callers find anonymous ones. */
export const discovery = {
  adapterCard: cardAt('adapter', '/adapters/{name}/server-card'),
  adapterCardBesideMcp: cardAt('adapter', '/adapters/{name}/mcp/server-card'),
  serverCard: cardAt('server', '/servers/{name}/server-card'),
  serverCardBesideMcp: cardAt('server', '/servers/{name}/mcp/server-card'),
  mcpCatalog: catalogAt('/.well-known/mcp/catalog.json', 'application/json'),
  aiCatalog: catalogAt('/.well-known/ai-catalog.json', 'application/ai-catalog+json'),
  registryList: {
    method: 'get',
    path: '/v0.1/servers',
    summary: 'List the MCP servers that the caller may use, as an MCP registry does.',
    query: RegistryQuery,
    success: {
      status: 200,
      description: 'Adapters, then virtual servers, in order of their names.',
      schema: RegistryList,
      headers: cached,
    },
    problems: [304],
    audit: { kind: 'registry', verb: 'list', always: false },
  },
  registryVersions: {
    method: 'get',
    path: versions,
    summary: 'List the versions of an MCP server: the latest one.',
    query: RegistryVersionQuery,
    success: { status: 200, description: 'One version.', schema: RegistryList, headers: cached },
    problems: [304, 403, 404],
    audit: { kind: 'registry', verb: 'read', always: false },
  },
  registryVersion: {
    method: 'get',
    path: `${versions}/{version}`,
    summary: 'Retrieve a version of an MCP server, or `latest`.',
    query: RegistryVersionQuery,
    success: { status: 200, description: 'The version.', schema: RegistryServer, headers: cached },
    problems: [304, 403, 404],
    audit: { kind: 'registry', verb: 'read', always: false },
  },
} as const satisfies Record<string, Endpoint>
