import { z } from 'zod'
import { ResourceName, Warning, workloadFields } from './adapters.ts'
import { ToolName, ToolResource } from './tools.ts'

const operation = z.string().min(1).max(2048)

/** Body of an import of tools from an OpenAPI document. */
export const ToolImportInput = z
  .object({
    document: z
      .union([z.string(), z.record(z.string(), z.unknown())])
      .optional()
      .meta({ description: 'An OpenAPI 3 document: an object, or its text as JSON or YAML.' }),
    url: z
      .url({ protocol: /^https?$/, message: 'must be an http:// or https:// address' })
      .max(2048)
      .optional()
      .meta({
        description: 'The address of the document, in place of the document. Tools may call it.',
      }),
    operations: z
      .array(operation)
      .min(1)
      .max(200)
      .optional()
      .meta({
        description:
          'The operations, by operationId or by method and path ("GET /pets/{id}"). Without it, ' +
          'the first 200 of the document.',
      }),
    server: workloadFields.endpoint.optional().meta({
      description: 'The address of the service, in place of the one that the document names.',
    }),
    prefix: z
      .string()
      .regex(/^[A-Za-z][A-Za-z0-9]{0,19}$/, 'must be 1 to 20 letters and digits')
      .optional()
      .meta({ description: 'Stands before the names of all tools, as in `petstore_listPets`.' }),
    requiredRoles: workloadFields.requiredRoles.default([]),
    ownerRoles: workloadFields.ownerRoles.default([]),
    callerIdentity: workloadFields.callerIdentity.default('none').meta({
      description:
        'As of a tool. The default is `none`, because the service may belong to somebody else.',
    }),
    credential: workloadFields.credential.optional(),
    labels: workloadFields.labels.default({}),
  })
  .meta({ id: 'ToolImportInput' })
export type ToolImportInput = z.output<typeof ToolImportInput>

export const ToolImportQuery = z.object({
  dryRun: z
    .stringbool()
    .default(true)
    .meta({ description: 'Only says what would happen. Send `false` to register the tools.' }),
})

const ImportedTool = z
  .object({
    operation: z.string().meta({ description: 'Method and path; else as the request names it.' }),
    operationId: z.string().optional(),
    result: z.enum(['created', 'exists', 'refused']),
    name: ResourceName.optional().meta({ description: 'The name of the tool at /tools.' }),
    toolName: ToolName.optional().meta({ description: 'The name that MCP clients see.' }),
    endpoint: z.string().optional(),
    toolDefinition: ToolResource.shape.toolDefinition.optional(),
    code: z.string().optional().meta({ description: 'Why it exists or is refused.' }),
    detail: z.string().optional(),
    errors: z
      .array(z.object({ pointer: z.string(), code: z.string(), detail: z.string() }))
      .optional()
      .meta({ description: 'The mistakes, as in the problem that POST /tools would answer.' }),
    notes: z
      .array(z.object({ code: z.string(), detail: z.string() }))
      .optional()
      .meta({ description: 'Parts of the operation that the tool has not, and what it needs.' }),
  })
  .meta({ id: 'ImportedTool' })

/** The answer to an import. */
export const ToolImportResult = z
  .object({
    dryRun: z.boolean(),
    document: z.object({ title: z.string(), version: z.string() }),
    tools: z.array(ImportedTool),
    remaining: z.array(z.string()).meta({ description: 'Operations beyond the first 200.' }),
    warnings: z.array(Warning).optional(),
  })
  .meta({ id: 'ToolImportResult' })
export type ToolImportResult = z.output<typeof ToolImportResult>
export type ImportedTool = z.output<typeof ImportedTool>
