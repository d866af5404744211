import { z } from 'zod'

/** Schema of a Server Card, of the extension of SEP-2127. */
export const serverCardSchema =
  'https://static.modelcontextprotocol.io/schemas/v1/server-card.schema.json'

/** Schema of a `server.json` of the official registry. */
export const serverJsonSchema =
  'https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json'

export const serverCardType = 'application/mcp-server-card+json'

/** The key of the official registry's own data about a server. */
export const officialMeta = 'io.modelcontextprotocol.registry/official'

const described = {
  name: z
    .string()
    .min(3)
    .max(200)
    .regex(/^[a-zA-Z0-9.-]+\/[a-zA-Z0-9._-]+$/)
    .meta({ description: 'The reversed host of the gateway, `/`, and `adapters.` or `servers.`.' }),
  version: z.string().max(255).meta({ description: '`1.0.` and the number of changes.' }),
  title: z.string().min(1).max(100).optional(),
  description: z.string().min(1).max(100),
}

export const ServerCard = z
  .object({
    $schema: z.literal(serverCardSchema),
    ...described,
    remotes: z.array(
      z.object({
        type: z.literal('streamable-http'),
        url: z.url(),
        supportedProtocolVersions: z.array(z.string()).optional().meta({
          description: 'Absent where the server itself decides (`eras: passthrough`).',
        }),
      }),
    ),
  })
  .meta({ id: 'ServerCard' })
export type ServerCard = z.output<typeof ServerCard>

export const Catalog = z
  .object({
    specVersion: z.string(),
    entries: z.array(
      z.object({
        identifier: z.string(),
        displayName: z.string(),
        type: z.literal(serverCardType),
        url: z.url(),
      }),
    ),
  })
  .meta({ id: 'Catalog' })
export type Catalog = z.output<typeof Catalog>

const time = z.iso.datetime()

/** One server in the shape of the official registry (`ServerResponse` there). */
export const RegistryServer = z
  .object({
    server: z.object({
      $schema: z.literal(serverJsonSchema),
      ...described,
      remotes: z.array(z.object({ type: z.literal('streamable-http'), url: z.url() })),
    }),
    _meta: z.object({
      [officialMeta]: z.object({
        status: z.literal('active'),
        statusChangedAt: time,
        publishedAt: time,
        updatedAt: time,
        isLatest: z.literal(true),
      }),
    }),
  })
  .meta({ id: 'RegistryServer' })
export type RegistryServer = z.output<typeof RegistryServer>

export const RegistryList = z
  .object({
    servers: z.array(RegistryServer),
    metadata: z.object({ nextCursor: z.string().optional(), count: z.int() }),
  })
  .meta({ id: 'RegistryList' })
export type RegistryList = z.output<typeof RegistryList>

const includeDeleted = z.stringbool().optional().meta({
  description: 'Has no effect: the gateway does not keep deleted servers.',
})

export const RegistryQuery = z.object({
  cursor: z
    .string()
    .max(512)
    .optional()
    .meta({ description: '`metadata.nextCursor` of the previous page.' }),
  limit: z.coerce.number().int().min(1).max(100).default(30),
  search: z
    .string()
    .max(256)
    .optional()
    .meta({ description: 'Text in the name, title or description, ignoring case.' }),
  updated_since: z.iso
    .datetime({ offset: true })
    .optional()
    .meta({ description: 'Only servers that changed at this time or later.' }),
  version: z
    .string()
    .max(255)
    .optional()
    .meta({ description: '`latest`, or an exact version. The gateway keeps the latest only.' }),
  include_deleted: includeDeleted,
})
export type RegistryQuery = z.output<typeof RegistryQuery>

export const RegistryVersionQuery = z.object({ include_deleted: includeDeleted })
