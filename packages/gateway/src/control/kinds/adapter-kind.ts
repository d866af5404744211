import { AdapterInput, AdapterPatch, calls, type AdapterResource } from '@mcp-gateway/contract'
import type { Mistake } from '../../core/errors.ts'
import type { Adapter } from '../../core/resource.ts'
import { mostStepsOf, stepsOfName, type ToolRule } from '../../core/fields/tool-rules.ts'
import { tableOf } from '../../lib/json/table-of.ts'
import type { Kind } from './kind.ts'
import { endpointWarnings } from './endpoint-fields.ts'
import { placeholderWarnings } from './placeholders.ts'
import {
  codeFields,
  runningFields,
  sharedView,
  workloadInput,
  workloadMistakes,
  workloadSpec,
  type WorkloadRules,
} from './workload-fields.ts'
import { validate, type Warning } from '../validation.ts'

/** The kind of MCP servers, at `/adapters`. */
export function adapterKind(rules: WorkloadRules): Kind<Adapter, AdapterInput> {
  return {
    kind: 'adapter',
    calls: calls.adapter,
    is: (resource): resource is Adapter => resource.kind === 'adapter',
    resource: (fields, spec) => ({ ...fields, kind: 'adapter', spec }),
    read: (body, more) => validate(AdapterInput, body, more),
    patch: AdapterPatch,
    mistakes: (body) => [...workloadMistakes(body, rules), ...ruleMistakes(body)],
    warnings,
    spec: (input, stored) => ({
      ...workloadSpec(input, stored),
      ...(input.anonymous ? { anonymous: true as const } : {}),
      ...(input.aggregate ? { aggregate: true as const } : {}),
      ...(input.toolRules.length === 0
        ? {}
        : { toolRules: input.toolRules.map((rule) => toToolRule(rule)) }),
      ...(input.eras === 'auto' ? {} : { eras: input.eras }),
      ...(input.legacyLeg === 'auto' ? {} : { legacyLeg: input.legacyLeg }),
    }),
    inputOf: workloadInput,
    view: (adapter, warnings): AdapterResource => {
      const { aggregate, eras, legacyLeg, toolRules, anonymous } = adapter.spec
      const own = {
        ...(anonymous === undefined ? {} : { anonymous }),
        ...(aggregate === undefined ? {} : { aggregate }),
        ...(toolRules === undefined
          ? {}
          : { toolRules: toolRules as NonNullable<AdapterResource['toolRules']> }),
        ...(eras === undefined ? {} : { eras }),
        ...(legacyLeg === undefined ? {} : { legacyLeg }),
      }
      return sharedView(adapter, own, warnings)
    },
    claims: ({ aggregate }) => aggregate === true,
    code: codeFields,
    running: (spec) => [...runningFields(spec), spec.eras, spec.legacyLeg],
    contains: ({ name, spec }, text) =>
      name.includes(text) || spec.description.toLowerCase().includes(text),
  }
}

/** Limits the worst-case cost of rules at registration, because every call evaluates them. */
function ruleMistakes(body: unknown): Mistake[] {
  const { data } = AdapterInput.shape.toolRules.safeParse(tableOf(body)['toolRules'])
  if (data === undefined || mostStepsOf(data) <= stepsOfName) return []
  return [
    {
      pointer: '/toolRules',
      code: 'too_costly',
      detail:
        'must not take so long to judge: use fewer patterns with several stars, ' +
        'or with question marks between stars',
    },
  ]
}

function toToolRule({
  effect,
  tools,
  annotations,
  roles,
}: AdapterInput['toolRules'][number]): ToolRule {
  const given = Object.entries(annotations ?? {}).filter(([, value]) => value !== undefined)
  return {
    effect,
    tools,
    ...(given.length === 0 ? {} : { annotations: Object.fromEntries(given) }),
    ...(roles === undefined ? {} : { roles: [...new Set(roles)] }),
  }
}

function warnings(input: AdapterInput): Warning[] {
  const { toolRules } = input
  const allows = toolRules.length === 0 || toolRules.some(({ effect }) => effect === 'allow')
  return [
    ...endpointWarnings(input),
    ...placeholderWarnings(input),
    ...(allows
      ? []
      : [
          {
            pointer: '/toolRules',
            code: 'nothing_allowed' as const,
            detail:
              'No rule allows anything, so every tool is denied. ' +
              'End with {"effect": "allow", "tools": "*"} to allow the rest.',
          },
        ]),
  ]
}
