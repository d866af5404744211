import { z } from 'zod'
import { replicaLimit } from './adapters.ts'

export const ListQuery = z.object({
  limit: z.coerce
    .number()
    .int()
    .min(1)
    .max(1000)
    .optional()
    .meta({ description: 'Most entries of one page. Without it, all.' }),
  cursor: z
    .string()
    .optional()
    .meta({ description: 'Continues a list; from the `Link` header of the previous page.' }),
  name: z.string().optional().meta({ description: 'Prefix of the names.' }),
  q: z
    .string()
    .optional()
    .meta({ description: 'Text that names or descriptions contain, ignoring case.' }),
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
    .meta({ description: 'Number of last lines to begin with.' }),
  since: z
    .string()
    .regex(
      /^(\d+(s|m|h|d)?|\d{4}-\d\d-\d\dT.+)$/,
      'must be a duration (90s, 5m, 1h) or an ISO 8601 time',
    )
    .optional()
    .meta({ description: 'A duration (`90s`, `5m`, `1h`) or an ISO 8601 time.' }),
  follow: z.stringbool().default(false).meta({ description: 'Continues with new lines.' }),
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
        'On Kubernetes: another container of the pod than that of the server, ' +
        'such as one that a service mesh put there.',
    }),
})
