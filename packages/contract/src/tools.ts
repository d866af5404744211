import { z } from 'zod'
import {
  DeclaredIn,
  CredentialsView,
  EnvironmentView,
  Owner,
  ResourceName,
  Warning,
  workloadFields,
} from './adapters.ts'

/** Names that MCP clients of every version accept (MCP 2025-11-25, tools). */
export const ToolName = z
  .string()
  .regex(/^[A-Za-z0-9_.-]{1,128}$/, "must be 1 to 128 letters, digits, '_', '-' and '.'")
  .meta({ id: 'ToolName', example: 'get_weather' })

const JsonObject = z.record(z.string(), z.unknown())

/** Hints for clients. The original's API document spells `readOnlyHint` as `readOnly`. */
export const ToolAnnotations = z.object({
  title: z.string().max(1024).optional(),
  readOnlyHint: z.boolean().optional(),
  destructiveHint: z.boolean().optional(),
  idempotentHint: z.boolean().optional(),
  openWorldHint: z.boolean().optional(),
  readOnly: z
    .boolean()
    .optional()
    .meta({ deprecated: true, description: 'Read as `readOnlyHint`.' }),
})

export const ToolIcon = z.object({
  src: z
    .string()
    .max(64 * 1024)
    .regex(/^(https?:\/\/|data:)/, 'must be an http(s) or data address'),
  mimeType: z.string().max(255).optional(),
  sizes: z.array(z.string().max(32)).max(32).optional(),
  theme: z.enum(['light', 'dark']).optional(),
})

/** A tool as MCP clients see it in `tools/list`. */
export const McpTool = z
  .object({
    name: ToolName,
    title: z.string().max(1024).optional(),
    description: z.string().max(16_384).optional(),
    inputSchema: JsonObject.default({ type: 'object' }).meta({
      description: 'JSON Schema 2020-12 of the arguments; its root has "type": "object".',
    }),
    outputSchema: JsonObject.optional().meta({
      description: 'JSON Schema 2020-12 of `structuredContent`.',
    }),
    annotations: ToolAnnotations.optional(),
    icons: z.array(ToolIcon).max(16).optional(),
    _meta: JsonObject.optional(),
    type: z
      .string()
      .max(64)
      .optional()
      .meta({ deprecated: true, description: 'Payloads of the original have it. No effect.' }),
  })
  .meta({ id: 'McpTool' })
export type McpTool = z.output<typeof McpTool>

const Port = z.int().min(1).max(65_535)
const Path = z
  .string()
  .max(1024)
  .regex(
    /^\/[a-zA-Z0-9/_\-.]*$/,
    "must begin with '/' and hold letters, digits, '/', '_', '-' and '.' only",
  )

/** A text that a header can hold (RFC 9110 section 5.5). */
const headerText = /^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/
const argumentName = z.string().min(1).max(256)
const style = z.enum(['simple', 'form', 'spaceDelimited', 'pipeDelimited', 'deepObject', 'json'])
const explode = z.boolean()

/** An argument that goes into the path, the query or a header. */
export const ToolParameter = z.strictObject({
  argument: argumentName.meta({ description: 'The argument, by its name in the inputSchema.' }),
  in: z.enum(['path', 'query', 'header']),
  name: argumentName
    .optional()
    .meta({ description: 'Its name in the request, where it differs from the argument.' }),
  style: style.optional().meta({
    description:
      'How arrays and objects are written, as in OpenAPI. `json` writes JSON. The default is ' +
      '`form` in the query, and `simple` elsewhere.',
  }),
  explode: explode.optional().meta({
    description: 'As in OpenAPI. The default is true for the style `form`, and else false.',
  }),
})

/** The body of a call. */
export const ToolRequestBody = z.strictObject({
  argument: argumentName.optional().meta({
    description: 'The argument that is the body. Without it, all that no parameter takes.',
  }),
  contentType: z
    .string()
    .max(128)
    .regex(
      /^(application\/([\w.+-]+\+)?json|application\/x-www-form-urlencoded|text\/[\w.+-]+)$/,
      'must be JSON, application/x-www-form-urlencoded or a type of text',
    )
    .default('application/json'),
  encoding: z
    .record(argumentName, z.strictObject({ style: style.optional(), explode: explode.optional() }))
    .optional()
    .meta({ description: 'For form fields: the style of each, where it is not the default.' }),
})

/** How a call becomes an HTTP request. */
export const ToolRequest = z
  .strictObject({
    method: z.enum(['GET', 'POST', 'PUT', 'PATCH', 'DELETE']).default('POST'),
    path: z
      .string()
      .max(2048)
      .regex(
        /^(\/([\w.~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2}|\{[^{}/?#]{1,256}\})*)+$/,
        "must begin with '/', and hold characters of paths and parameters such as '{id}'",
      )
      .optional()
      .meta({ description: 'Follows the path of the endpoint. `{name}` is a path parameter.' }),
    parameters: z.array(ToolParameter).max(200).default([]),
    body: ToolRequestBody.optional().meta({ description: 'Without it, a call has no body.' }),
    accept: z
      .string()
      .max(1024)
      .regex(headerText, 'must be visible ASCII characters')
      .optional()
      .meta({ description: 'The header Accept.' }),
  })
  .meta({
    id: 'ToolRequest',
    description: 'How a call becomes an HTTP request. Without it, a POST of the arguments as JSON.',
  })
export type ToolRequest = z.output<typeof ToolRequest>

export const ToolDefinition = z
  .object({
    tool: McpTool,
    port: Port.default(8000).meta({
      description: 'Where the image listens. Programs of one machine are given their port.',
    }),
    path: Path.default('/score').meta({ description: 'Where calls are sent.' }),
    request: ToolRequest.optional(),
  })
  .meta({ id: 'ToolDefinition' })

/** A merge patch may change any part of a definition. The result is checked as a whole. */
export const ToolDefinitionPatch = z
  .object({
    tool: z.record(z.string(), z.unknown()),
    port: Port.nullable(),
    path: Path.nullable(),
    request: z.record(z.string(), z.unknown()).nullable(),
  })
  .partial()

/** Body of POST and PUT of a tool: an image or an endpoint, as an adapter has. */
export const ToolInput = z
  .object({
    name: ResourceName,
    imageName: workloadFields.imageName.optional(),
    imageVersion: workloadFields.imageVersion.optional(),
    endpoint: workloadFields.endpoint.optional(),
    toolDefinition: ToolDefinition,
    environmentVariables: workloadFields.environmentVariables.default({}),
    replicaCount: workloadFields.replicaCount.default(1),
    description: workloadFields.description.default(''),
    useWorkloadIdentity: workloadFields.useWorkloadIdentity.default(false),
    requiredRoles: workloadFields.requiredRoles.default([]),
    ownerRoles: workloadFields.ownerRoles.default([]),
    callerIdentity: workloadFields.callerIdentity.default('headers'),
    credential: workloadFields.credential.optional(),
    labels: workloadFields.labels.default({}),
  })
  .meta({ id: 'ToolInput' })
export type ToolInput = z.output<typeof ToolInput>
export type ToolBody = z.input<typeof ToolInput>

export const ToolResource = z
  .object({
    id: z.string().meta({ description: 'Equals the name.' }),
    name: ResourceName,
    imageName: z.string().optional(),
    imageVersion: z.string().optional(),
    endpoint: z.string().optional(),
    toolDefinition: z.object({
      tool: z.object({
        name: z.string(),
        title: z.string().optional(),
        description: z.string().optional(),
        inputSchema: JsonObject,
        outputSchema: JsonObject.optional(),
        annotations: ToolAnnotations.omit({ readOnly: true }).optional(),
        icons: z.array(ToolIcon).optional(),
        _meta: JsonObject.optional(),
      }),
      port: z.int(),
      path: z.string(),
      request: ToolRequest.optional(),
    }),
    environmentVariables: EnvironmentView,
    replicaCount: z.int(),
    description: z.string(),
    useWorkloadIdentity: z.boolean(),
    requiredRoles: z.array(z.string()),
    ownerRoles: z.array(z.string()),
    owner: Owner,
    offeredTo: Owner.optional().meta({ description: 'Who may take it over.' }),
    callerIdentity: workloadFields.callerIdentity.optional(),
    credential: CredentialsView.optional(),
    labels: workloadFields.labels.optional(),
    declared: DeclaredIn.optional(),
    createdBy: z.string(),
    createdAt: z.iso.datetime(),
    lastUpdatedAt: z.iso.datetime(),
    warnings: z.array(Warning).optional().meta({
      description: 'What the request said that had no effect. Only in answers to writes.',
    }),
  })
  .meta({ id: 'Tool' })
export type ToolResource = z.output<typeof ToolResource>
