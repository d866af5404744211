import { z } from 'zod'
import { Warning } from './adapters.ts'

const apiKeyFields = {
  name: z
    .string()
    .trim()
    .min(1)
    .max(100)
    .meta({ description: 'For people.', example: 'nightly build' }),
  roles: z
    .array(z.string().trim().min(1).max(256))
    .max(100)
    .meta({ description: 'You can give roles that you hold; `mcp.admin` any.' }),
  expiresAt: z.iso.datetime({ offset: true }).meta({ description: 'When the key ends by itself.' }),
}

/** Body of POST. */
export const ApiKeyInput = z
  .object({
    name: apiKeyFields.name,
    roles: apiKeyFields.roles.default([]),
    expiresAt: apiKeyFields.expiresAt.optional(),
  })
  .meta({ id: 'ApiKeyInput' })
export type ApiKeyInput = z.output<typeof ApiKeyInput>

/** Body of PATCH, a JSON merge patch (RFC 7396). */
export const ApiKeyPatch = z
  .object({
    name: apiKeyFields.name,
    roles: apiKeyFields.roles.nullable(),
    expiresAt: apiKeyFields.expiresAt.nullable(),
  })
  .partial()
  .meta({ id: 'ApiKeyPatch' })
export type ApiKeyPatch = z.output<typeof ApiKeyPatch>

export const ApiKeyResource = z
  .object({
    id: z.string(),
    name: z.string(),
    prefix: z.string().meta({
      description: 'How the key begins, to recognise it.',
      example: 'mcpgw_0123456789abcdef',
    }),
    roles: z.array(z.string()),
    expiresAt: z.iso.datetime().optional(),
    lastUsedAt: z.iso.datetime().optional().meta({ description: 'To the minute.' }),
    createdBy: z.string().meta({ description: 'As whom the key acts.' }),
    createdAt: z.iso.datetime(),
    lastUpdatedAt: z.iso.datetime(),
    warnings: z.array(Warning).optional().meta({
      description: 'What the request said that had no effect. Only in answers to writes.',
    }),
  })
  .meta({ id: 'ApiKey' })
export type ApiKeyResource = z.output<typeof ApiKeyResource>

/** The answer to POST, which alone holds the key. */
export const ApiKeyCreated = ApiKeyResource.extend({
  key: z.string().meta({ description: 'The key. It is not shown again.' }),
}).meta({
  id: 'ApiKeyCreated',
})
export type ApiKeyCreated = z.output<typeof ApiKeyCreated>
