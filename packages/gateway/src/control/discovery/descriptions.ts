import { isIP } from 'node:net'
import {
  officialMeta,
  serverCardSchema,
  serverCardType,
  serverJsonSchema,
  type Catalog,
  type RegistryServer,
  type ServerCard,
} from '@mcp-gateway/contract'
import { legacyVersions, modernVersion } from '@mcp-gateway/protocol'
import type { Adapter } from '../../core/resource.ts'
import type { VirtualServer } from '../../core/virtual-servers/virtual-server.ts'

/** An MCP server that clients can connect to. */
export type Connectable = Adapter | VirtualServer

/** The latest version, as clients may name it. */
export const latest = 'latest'

/**
 * Names a server within the gateway. Adapters and virtual servers may have equal names, so the
 * collection is part of the key.
 */
export function keyOf({ kind, name }: Pick<Connectable, 'kind' | 'name'>): string {
  return `${kind === 'adapter' ? 'adapters' : 'servers'}.${name}`
}

/** The address of the MCP endpoint. */
function endpointOf(origin: string, { kind, name }: Connectable): string {
  return `${origin}/${kind === 'adapter' ? 'adapters' : 'servers'}/${name}/mcp`
}

/** The name in registries: the host in reverse, as owners of domains write it, and the key. */
export function registryName(origin: string, server: Pick<Connectable, 'kind' | 'name'>): string {
  return `${namespaceOf(origin)}/${keyOf(server)}`
}

/** The key in the name of a server of this gateway; undefined for other names. */
export function keyIn(origin: string, name: string): string | undefined {
  const start = `${namespaceOf(origin)}/`
  return name.startsWith(start) ? name.slice(start.length) : undefined
}

/** Counts the changes of the definition. A server that is registered again begins anew. */
export function versionOf({ version }: Pick<Connectable, 'version'>): string {
  return `1.0.${version}`
}

export function cardOf(origin: string, server: Connectable): ServerCard {
  return {
    $schema: serverCardSchema,
    ...describedIn(origin, server),
    remotes: [
      {
        type: 'streamable-http',
        url: endpointOf(origin, server),
        ...(server.kind === 'adapter' && server.spec.eras === 'passthrough'
          ? {}
          : { supportedProtocolVersions: [...legacyVersions, modernVersion] }),
      },
    ],
  }
}

/** An entry of an AI Catalog. Its identifier names the host and the server (ADR 0015 there). */
export function catalogEntryOf(origin: string, server: Connectable): Catalog['entries'][number] {
  return {
    identifier: `urn:air:${hostOf(origin)}:${keyOf(server)}`,
    displayName: titleOf(server) ?? server.name,
    type: serverCardType,
    url: `${endpointOf(origin, server)}/server-card`,
  }
}

/** A server in the shape of the official registry. */
export function registryServerOf(origin: string, server: Connectable): RegistryServer {
  const { createdAt, lastUpdatedAt } = server
  return {
    server: {
      $schema: serverJsonSchema,
      ...describedIn(origin, server),
      remotes: [{ type: 'streamable-http', url: endpointOf(origin, server) }],
    },
    _meta: {
      [officialMeta]: {
        status: 'active',
        statusChangedAt: createdAt,
        publishedAt: createdAt,
        updatedAt: lastUpdatedAt,
        isLatest: true,
      },
    },
  }
}

/** True if a server has a text, in lower case, in its name, title or description. */
export function contains(origin: string, server: Connectable, text: string): boolean {
  const { description } = server.spec
  const texts = [registryName(origin, server), titleOf(server) ?? '', description]
  return texts.some((each) => each.toLowerCase().includes(text))
}

function describedIn(origin: string, server: Connectable) {
  const { description } = server.spec
  const title = titleOf(server)
  return {
    name: registryName(origin, server),
    version: versionOf(server),
    ...(title === undefined ? {} : { title: shortened(title) }),
    description: shortened(description.trim() || `The MCP server '${server.name}'.`),
  }
}

function titleOf(server: Connectable): string | undefined {
  return server.kind === 'server' ? server.spec.title : undefined
}

/** Most characters of titles and descriptions in cards and in the registry. */
const longestText = 100

function shortened(text: string): string {
  const characters = Array.from(text)
  return characters.length <= longestText
    ? text
    : `${characters.slice(0, longestText - 1).join('')}…`
}

/** The host as names can hold it: IPv6 without brackets and colons. */
function hostOf(origin: string): string {
  return bareHost(origin).replaceAll(':', '-')
}

/** The host in reverse. Addresses keep their order, because they are no domains. */
function namespaceOf(origin: string): string {
  return isIP(bareHost(origin)) === 0
    ? hostOf(origin).split('.').toReversed().join('.')
    : hostOf(origin)
}

function bareHost(origin: string): string {
  return new URL(origin).hostname.replaceAll(/[[\]]/g, '')
}
