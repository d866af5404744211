import { z } from 'zod'

export const DeclaredDocument = z
  .object({
    kind: z.enum(['adapter', 'tool']),
    name: z.string(),
    file: z.string().meta({ description: 'Relative to the folder.' }),
    line: z.int().optional().meta({ description: 'Where the document begins, from 1.' }),
    state: z.enum(['applied', 'pending', 'failed', 'kept']).meta({
      description:
        '`applied`: the resource is as the document says. `pending`: another gateway is ' +
        'about to apply it. `failed`: see `reason`. `kept`: no document declares the ' +
        'resource any more, and it was not removed.',
    }),
    reason: z.string().optional(),
  })
  .meta({ id: 'DeclaredDocument' })

export const DeclaredSourceStatus = z
  .object({
    folder: z.string().optional().meta({
      description: 'Only for callers with the role mcp.admin.',
    }),
    phase: z.enum(['Applied', 'Pending', 'Degraded', 'Unavailable']).meta({
      description:
        '`Unavailable`: the folder cannot be read. `Degraded`: some documents cannot be ' +
        'read or applied.',
    }),
    revision: z
      .string()
      .optional()
      .meta({ description: 'Changes with the text of the files. SHA-256, shortened.' }),
    checkedAt: z.iso.datetime().optional(),
    problems: z.array(z.string()).meta({
      description: 'What is wrong with the folder or with documents that declare nothing.',
    }),
    counts: z.record(z.string(), z.int()).meta({ description: 'Documents by their states.' }),
    documents: z.array(DeclaredDocument).optional().meta({
      description: 'Only for callers with the role mcp.admin.',
    }),
  })
  .meta({ id: 'DeclaredSourceStatus' })
export type DeclaredSourceStatus = z.output<typeof DeclaredSourceStatus>

export const GatewayStatus = z
  .object({
    version: z.string(),
    runtime: z.string(),
    declared: z
      .record(z.string(), DeclaredSourceStatus)
      .meta({ description: 'Folders of files that declare adapters and tools, by their names.' }),
  })
  .meta({ id: 'GatewayStatus' })
export type GatewayStatus = z.output<typeof GatewayStatus>
