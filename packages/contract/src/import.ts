import { z } from 'zod'
import { AdapterResource, SecretReference } from './adapters.ts'
import { Problem } from './problem.ts'

const Answer = z.union([
  z.string().max(65_536),
  z.strictObject({ secretRef: SecretReference }).meta({
    description: 'Stands for a whole variable or header.',
  }),
])

/** Body of POST /import as JSON. As text, the body is the file itself. */
export const ImportInput = z
  .object({
    file: z.union([z.string(), z.record(z.string(), z.unknown())]).meta({
      description:
        '`mcp.json`, `claude_desktop_config.json` or another file of a client, or a ' +
        '`server.json` of a registry: its text, which may have comments, or its content.',
    }),
    inputs: z.record(z.string(), Answer).default({}).meta({
      description: 'Values for the `needs` of an earlier answer, by their ids.',
    }),
    envFiles: z.record(z.string(), z.string().max(262_144)).default({}).meta({
      description: 'The text of env files, by their paths in the file.',
    }),
    names: z.record(z.string(), z.string()).default({}).meta({
      description: 'Names for adapters, by the names of the entries.',
    }),
    only: z.array(z.string()).max(200).optional().meta({
      description: 'Names of the entries to import. Without it, all.',
    }),
  })
  .meta({ id: 'ImportInput' })
export type ImportInput = z.output<typeof ImportInput>

export const ImportQuery = z.object({
  dryRun: z.stringbool().default(true).meta({ description: 'True: registers nothing.' }),
})

export const ImportNeed = z
  .object({
    id: z.string().meta({ description: 'A member of `inputs`, `envFiles` or `names`.' }),
    of: z.enum(['inputs', 'envFiles', 'names']).meta({ description: 'Where the answer belongs.' }),
    description: z.string().optional(),
    secret: z.boolean(),
    default: z.string().optional().meta({ description: 'A proposal of the file.' }),
    choices: z.array(z.string()).optional(),
  })
  .meta({ id: 'ImportNeed' })
export type ImportNeed = z.output<typeof ImportNeed>

export const ImportEntry = z
  .object({
    entry: z.string().meta({ description: 'Its name in the file.' }),
    name: z.string().optional().meta({ description: 'The name of the adapter.' }),
    outcome: z.enum(['wouldCreate', 'created', 'exists', 'needs', 'refused']).meta({
      description:
        '`wouldCreate`: a run with `dryRun=false` registers it. `exists`: an adapter has the ' +
        'name, and stays as it is. `needs`: answers are missing. `refused`: see `problem`.',
    }),
    adapter: AdapterResource.optional(),
    needs: z.array(ImportNeed).optional(),
    problem: Problem.pick({ title: true, status: true, detail: true, code: true, errors: true })
      .optional()
      .meta({ description: 'As POST /adapters would answer. Pointers lead into the file.' }),
    warnings: z
      .array(z.object({ pointer: z.string(), code: z.string(), detail: z.string() }))
      .optional()
      .meta({ description: 'Fields of the entry that are not imported.' }),
  })
  .meta({ id: 'ImportEntry' })
export type ImportEntry = z.output<typeof ImportEntry>

export const ImportResult = z
  .object({
    dryRun: z.boolean(),
    complete: z.boolean().meta({ description: 'False if an entry needs answers or is refused.' }),
    entries: z.array(ImportEntry),
  })
  .meta({ id: 'ImportResult' })
export type ImportResult = z.output<typeof ImportResult>
