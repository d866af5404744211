import { inspectHeaders } from '@mcp-gateway/protocol'
import { maskedValue, ToolInput, ToolPatch, type ToolResource } from '@mcp-gateway/contract'
import { GatewayError, type Mistake } from '../core/errors.ts'
import { partyOf } from '../core/principal.ts'
import type { McpTool, Tool, ToolSpec } from '../core/resource.ts'
import { literalAddress, type AddressPolicy } from '../lib/address-policy.ts'
import type { SchemaMistake } from '../lib/json-schema.ts'
import type { SchemaChecks } from '../lib/schema-checks.ts'
import { WorkRefused } from '../lib/timed-worker.ts'
import { tableOf, type Kind } from './kind.ts'
import type { Warning } from './validation.ts'
import { codeFields, maskedCredential, maskedInput, runningFields, sharedView, workloadMistakes, workloadSpec } from './workload-fields.ts'

export interface ToolKindOptions {
  readonly maxReplicas: number
  /** Which addresses endpoints may have. Names are resolved, and checked again, at each connection. */
  readonly endpointPolicy: AddressPolicy
  readonly checks: SchemaChecks
}

/** HTTP services with an MCP tool definition, at `/tools`. */
export function toolKind({ maxReplicas, endpointPolicy, checks }: ToolKindOptions): Kind<Tool, ToolInput> {
  return {
    kind: 'tool',
    collection: '/tools',
    input: ToolInput,
    patch: ToolPatch,
    mistakes: async (body, principal) => [
      ...workloadMistakes(body, maxReplicas),
      ...originMistakes(body),
      ...endpointMistakes(body, endpointPolicy),
      ...(await definitionMistakes(body, (schema) => schemaMistakes(checks, schema, partyOf(principal)))),
    ],
    warnings,
    spec(input, stored): ToolSpec {
      const { endpoint, toolDefinition, imageName = '', imageVersion = '' } = input
      const { port, path } = toolDefinition
      if (input.credential?.value === maskedValue && stored !== undefined && origin(endpoint) !== origin(stored.spec.endpoint))
        throw maskedCredential('does not follow a tool to another address: give the secret again')
      // Without an image there is nothing to run, whatever the default says.
      const replicaCount = endpoint === undefined ? input.replicaCount : 0
      return {
        ...workloadSpec({ ...input, imageName, imageVersion, replicaCount }, stored),
        toolDefinition: { tool: normalized(toolDefinition.tool), port, path },
        ...(endpoint === undefined ? {} : { endpoint }),
      }
    },
    inputOf: ({ name, spec }, patch) => {
      const { imageName, imageVersion, replicaCount, endpoint, ...rest } = spec
      return {
        name,
        ...rest,
        ...(endpoint === undefined ? { imageName, imageVersion, replicaCount } : { endpoint }),
        ...maskedInput(spec, patch),
      }
    },
    view: (tool, given): ToolResource => {
      const { imageName, imageVersion, endpoint } = tool.spec
      const toolDefinition = tool.spec.toolDefinition as ToolResource['toolDefinition']
      return sharedView(tool, { ...(endpoint === undefined ? { imageName, imageVersion } : { endpoint }), toolDefinition }, given)
    },
    code: (spec) => [...codeFields(spec), spec.endpoint],
    running: (spec) => [...runningFields(spec), spec.endpoint, spec.toolDefinition.port],
    contains: ({ name, spec }, text) =>
      [name, spec.description, spec.toolDefinition.tool.name, spec.toolDefinition.tool.title, spec.toolDefinition.tool.description].some(
        (each) => each?.toLowerCase().includes(text) === true,
      ),
  }
}

function origin(endpoint: string | undefined): string | undefined {
  return endpoint === undefined ? undefined : new URL(endpoint).origin
}

/** The original's document spells `readOnlyHint` as `readOnly`. */
function normalized({ annotations, ...tool }: ToolInput['toolDefinition']['tool']): McpTool {
  const { readOnly, ...hints } = annotations ?? {}
  const all = { ...hints, ...(hints.readOnlyHint === undefined && readOnly !== undefined ? { readOnlyHint: readOnly } : {}) }
  const given = Object.entries({ ...tool, ...(annotations === undefined ? {} : { annotations: all }) })
  return Object.fromEntries(given.filter(([, value]) => value !== undefined)) as unknown as McpTool
}

function warnings({ endpoint, environmentVariables, useWorkloadIdentity, toolDefinition }: ToolInput): Warning[] {
  const found: Warning[] = []
  const { annotations } = toolDefinition.tool
  if (annotations?.readOnly !== undefined)
    found.push({
      pointer: '/toolDefinition/tool/annotations/readOnly',
      code: 'renamed_field',
      detail: annotations.readOnlyHint === undefined ? "was read as 'readOnlyHint'." : "had no effect, as 'readOnlyHint' is given.",
    })
  if (endpoint === undefined) return found
  const vain = (pointer: string): void =>
    void found.push({ pointer, code: 'no_effect', detail: 'had no effect, as the tool has an endpoint and no image.' })
  if (Object.keys(environmentVariables).length > 0) vain('/environmentVariables')
  if (useWorkloadIdentity) vain('/useWorkloadIdentity')
  return found
}

/** A tool has an image or an endpoint. */
function originMistakes(body: unknown): Mistake[] {
  const { imageName, imageVersion, endpoint } = tableOf(body)
  const missing = (pointer: string, detail: string): Mistake => ({ pointer, code: 'invalid_type', detail })
  if (endpoint === undefined || endpoint === null)
    return [
      ...(imageName === undefined ? [missing('/imageName', 'is required, unless there is an endpoint')] : []),
      ...(imageVersion === undefined ? [missing('/imageVersion', 'is required, unless there is an endpoint')] : []),
    ]
  return Object.entries({ imageName, imageVersion })
    .filter(([, value]) => value !== undefined)
    .map(([key]) => ({ pointer: `/${key}`, code: 'ambiguous', detail: 'must not be there beside an endpoint' }))
}

function endpointMistakes(body: unknown, policy: AddressPolicy): Mistake[] {
  const { endpoint } = tableOf(body)
  if (typeof endpoint !== 'string' || !URL.canParse(endpoint)) return []
  const { username, password, hash, hostname } = new URL(endpoint)
  const mistake = (code: string, detail: string): Mistake => ({ pointer: '/endpoint', code, detail })
  if (username !== '' || password !== '') return [mistake('endpoint_credentials', 'must not hold a user name or a password')]
  if (hash !== '') return [mistake('invalid_format', 'must not hold a fragment')]
  const address = literalAddress(hostname) ?? (/(^|\.)localhost\.?$/i.test(hostname) ? '127.0.0.1' : undefined)
  const refusal = address === undefined ? undefined : policy.refusal(address)
  return refusal === undefined
    ? []
    : [mistake('endpoint_forbidden', `is ${refusal}, which the configuration does not allow (tools.endpointNetworks)`)]
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
      mistakes.push({ pointer: `${place}/type`, code: 'schema_not_object', detail: 'must be "object": arguments are a JSON object' })
    if (member === 'inputSchema' && inspectHeaders(JSON.stringify(schema)) === undefined)
      mistakes.push({
        pointer: place,
        code: 'invalid_header_annotation',
        detail:
          'x-mcp-header must be a header name, on a property of primitive type that is reached through properties alone, and no two the same',
      })
    for (const { pointer, code, detail } of await mistakesOf(schema as Record<string, unknown>))
      mistakes.push({ pointer: `${place}${pointer}`, code, detail })
  }
  // A list holds hundreds of them.
  if (mistakes.length === 0 && Buffer.byteLength(JSON.stringify(tool)) > largestDefinition)
    mistakes.push({
      pointer: '/toolDefinition/tool',
      code: 'definition_too_large',
      detail: `must be at most ${largestDefinition} bytes of JSON`,
    })
  return mistakes
}

const largestDefinition = 128 * 1024
