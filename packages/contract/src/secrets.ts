import { z } from 'zod'
import { Owner, ResourceName, SecretKey, Warning, workloadFields } from './adapters.ts'

/** Most bytes of a value in UTF-8. */
export const longestSecret = 64 * 1024

const SecretValue = z
  .string()
  .refine(
    (text) => new TextEncoder().encode(text).length <= longestSecret,
    `must be at most ${longestSecret} bytes`,
  )
  .refine((text) => !text.includes('\u0000'), 'must not hold the character NUL')

const SecretValues = z
  .record(SecretKey, SecretValue)
  .refine((values) => Object.keys(values).length <= 32, 'must be at most 32 values')
  .meta({
    description: 'Values by their keys. They are write-only; "********" keeps what is stored.',
  })

const secretFields = {
  value: SecretValue.meta({
    description: 'For a secret with one value: short for `values` with the key `value`.',
  }),
  values: SecretValues,
  description: workloadFields.description,
  requiredRoles: workloadFields.requiredRoles.meta({
    description: 'Who may see it and give it to workloads, besides its owners.',
  }),
  ownerRoles: workloadFields.ownerRoles,
}

/** Body of POST and PUT, with `value` or `values`. */
export const SecretInput = z
  .object({
    name: ResourceName,
    value: secretFields.value.optional(),
    values: secretFields.values.optional(),
    description: secretFields.description.default(''),
    requiredRoles: secretFields.requiredRoles.default([]),
    ownerRoles: secretFields.ownerRoles.default([]),
  })
  .meta({ id: 'SecretInput' })
export type SecretInput = z.output<typeof SecretInput>

/**
 * Body of PATCH, a JSON merge patch (RFC 7396): keeps values that it does not name; null removes
 * one.
 */
export const SecretPatch = z
  .object({
    name: ResourceName,
    value: secretFields.value,
    values: z.record(SecretKey, SecretValue.nullable()),
    description: secretFields.description.nullable(),
    requiredRoles: z.array(z.string()).nullable(),
    ownerRoles: z.array(z.string()).nullable(),
  })
  .partial()
  .meta({ id: 'SecretPatch' })

/** The view of a secret in answers: everything but its values. */
export const SecretResource = z
  .object({
    name: ResourceName,
    keys: z.array(z.string()),
    description: z.string(),
    requiredRoles: z.array(z.string()),
    ownerRoles: z.array(z.string()),
    owner: Owner,
    createdBy: z.string(),
    createdAt: z.iso.datetime(),
    lastUpdatedAt: z.iso.datetime(),
    warnings: z.array(Warning).optional().meta({
      description: 'What the request said that had no effect. Only in answers to writes.',
    }),
  })
  .meta({ id: 'Secret' })
export type SecretResource = z.output<typeof SecretResource>

export const SecretDeletion = z.object({
  force: z
    .stringbool()
    .default(false)
    .meta({ description: 'Also when workloads refer to it; they stop until it is there again.' }),
})
