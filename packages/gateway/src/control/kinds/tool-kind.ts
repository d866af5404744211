import { inspectHeaders } from '@mcp-gateway/protocol'
import { calls, ToolInput, ToolPatch, type ToolResource } from '@mcp-gateway/contract'
import { GatewayError, type Mistake } from '../../core/errors.ts'
import { partyOf } from '../../core/principal.ts'
import type { McpTool, Tool, ToolSpec } from '../../core/resource.ts'
import type { SchemaMistake } from '../../lib/json/json-schema.ts'
import type { SchemaChecks } from '../../lib/json/schema-checks.ts'
import { WorkRefused } from '../../lib/async/timed-worker.ts'
import { tableOf } from '../../lib/json/table-of.ts'
import type { Kind } from './kind.ts'
import { validate, type Warning } from '../validation.ts'
import { endpointWarnings } from './endpoint-fields.ts'
import { placeholderWarnings } from './placeholders.ts'
import { requestMistakes } from './request-mistakes.ts'
import {
  codeFields,
  runningFields,
  sharedView,
  workloadInput,
  workloadMistakes,
  workloadSpec,
  type WorkloadRules,
} from './workload-fields.ts'

/** The kind of HTTP services with an MCP tool definition, at `/tools`. */
export function toolKind(rules: WorkloadRules, checks: SchemaChecks): Kind<Tool, ToolInput> {
  return {
    kind: 'tool',
    calls: calls.tool,
    is: (resource): resource is Tool => resource.kind === 'tool',
    resource: (fields, spec) => ({ ...fields, kind: 'tool', spec }),
    read: (body, more) => validate(ToolInput, body, more),
    patch: ToolPatch,
    mistakes: async (body, principal) => [
      ...workloadMistakes(body, rules),
      ...requestMistakes(body),
      ...(await definitionMistakes(body, (schema) =>
        schemaMistakes(checks, schema, partyOf(principal)),
      )),
    ],
    warnings,
    spec(input, stored): ToolSpec {
      const { tool, port, path, request } = input.toolDefinition
      const definition = { tool: normalized(tool), port, path }
      return {
        ...workloadSpec(input, stored),
        toolDefinition: request === undefined ? definition : { ...definition, request },
      }
    },
    inputOf: workloadInput,
    view: (tool, given): ToolResource =>
      sharedView(
        tool,
        { toolDefinition: tool.spec.toolDefinition as ToolResource['toolDefinition'] },
        given,
      ),
    claims: ({ toolDefinition }) => toolDefinition.tool.name,
    code: codeFields,
    running: (spec) => [...runningFields(spec), spec.toolDefinition.port],
    contains: ({ name, spec }, text) =>
      [
        name,
        spec.description,
        spec.toolDefinition.tool.name,
        spec.toolDefinition.tool.title,
        spec.toolDefinition.tool.description,
      ].some((each) => each?.toLowerCase().includes(text) === true),
  }
}

/**
 * Converts payloads of the original, which write `readOnly` for `readOnlyHint` and have an unused
 * `type`.
 */
function normalized({
  annotations,
  type: _type,
  ...tool
}: ToolInput['toolDefinition']['tool']): McpTool {
  const { readOnly, ...hints } = annotations ?? {}
  const all = {
    ...hints,
    ...(hints.readOnlyHint === undefined && readOnly !== undefined
      ? { readOnlyHint: readOnly }
      : {}),
  }
  const given = Object.entries({
    ...tool,
    ...(annotations === undefined ? {} : { annotations: all }),
  })
  return Object.fromEntries(given.filter(([, value]) => value !== undefined)) as unknown as McpTool
}

function warnings(input: ToolInput): Warning[] {
  const { annotations } = input.toolDefinition.tool
  const found = [...endpointWarnings(input), ...placeholderWarnings(input)]
  if (annotations?.readOnly === undefined) return found
  const detail =
    annotations.readOnlyHint === undefined
      ? "was read as 'readOnlyHint'."
      : "had no effect, as 'readOnlyHint' is given."
  return [
    { pointer: '/toolDefinition/tool/annotations/readOnly', code: 'renamed_field', detail },
    ...found,
  ]
}

/** @throws GatewayError `checks_busy` */
async function schemaMistakes(
  checks: SchemaChecks,
  schema: Readonly<Record<string, unknown>>,
  party: string,
): Promise<readonly SchemaMistake[]> {
  try {
    return await checks.schemaMistakes(schema, party)
  } catch (error) {
    throw error instanceof WorkRefused ? new GatewayError('checks_busy', { cause: error }) : error
  }
}

async function definitionMistakes(
  body: unknown,
  mistakesOf: (schema: Readonly<Record<string, unknown>>) => Promise<readonly SchemaMistake[]>,
): Promise<Mistake[]> {
  const tool = tableOf(tableOf(tableOf(body)['toolDefinition'])['tool'])
  const { inputSchema, outputSchema } = tool
  const mistakes: Mistake[] = []

  for (const [member, schema] of Object.entries({ inputSchema, outputSchema })) {
    if (typeof schema !== 'object' || schema === null || Array.isArray(schema)) continue

    const place = `/toolDefinition/tool/${member}`
    if (member === 'inputSchema' && tableOf(schema)['type'] !== 'object')
      mistakes.push({
        pointer: `${place}/type`,
        code: 'schema_not_object',
        detail: 'must be "object": arguments are a JSON object',
      })
    if (member === 'inputSchema' && inspectHeaders(JSON.stringify(schema)) === undefined)
      mistakes.push({
        pointer: place,
        code: 'invalid_header_annotation',
        detail:
          'each x-mcp-header must be another header name, on a property of a primitive type ' +
          'that is reached through properties alone',
      })

    for (const { pointer, code, detail } of await mistakesOf(schema as Record<string, unknown>))
      mistakes.push({ pointer: `${place}${pointer}`, code, detail })
  }

  // A list holds hundreds of definitions.
  if (mistakes.length === 0 && Buffer.byteLength(JSON.stringify(tool)) > largestDefinition)
    mistakes.push({
      pointer: '/toolDefinition/tool',
      code: 'definition_too_large',
      detail: `must be at most ${largestDefinition} bytes of JSON`,
    })
  return mistakes
}

const largestDefinition = 128 * 1024
