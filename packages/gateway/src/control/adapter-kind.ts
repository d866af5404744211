import { AdapterInput, AdapterPatch, type AdapterResource } from '@mcp-gateway/contract'
import type { Adapter } from '../core/resource.ts'
import type { ToolRule } from '../core/tool-rules.ts'
import type { Kind } from './kind.ts'
import { endpointWarnings } from './endpoint-fields.ts'
import {
  codeFields,
  runningFields,
  sharedView,
  workloadInput,
  workloadMistakes,
  workloadSpec,
  type WorkloadRules,
} from './workload-fields.ts'
import type { Warning } from './validation.ts'

/** MCP servers, at `/adapters`. */
export function adapterKind(rules: WorkloadRules): Kind<Adapter, AdapterInput> {
  return {
    kind: 'adapter',
    collection: '/adapters',
    input: AdapterInput,
    patch: AdapterPatch,
    mistakes: (body) => workloadMistakes(body, rules),
    warnings,
    spec: (input, stored) => ({
      ...workloadSpec(input, stored),
      ...(input.anonymous ? { anonymous: true as const } : {}),
      ...(input.toolRules.length === 0
        ? {}
        : { toolRules: input.toolRules.map((rule) => toToolRule(rule)) }),
      ...(input.eras === 'auto' ? {} : { eras: input.eras }),
      ...(input.legacyLeg === 'passthrough' ? {} : { legacyLeg: input.legacyLeg }),
    }),
    inputOf: workloadInput,
    view: (adapter, warnings): AdapterResource => {
      const { eras, legacyLeg, toolRules, anonymous } = adapter.spec
      const own = {
        ...(anonymous === undefined ? {} : { anonymous }),
        ...(toolRules === undefined
          ? {}
          : { toolRules: toolRules as NonNullable<AdapterResource['toolRules']> }),
        ...(eras === undefined ? {} : { eras }),
        ...(legacyLeg === undefined ? {} : { legacyLeg }),
      }
      return sharedView(adapter, own, warnings)
    },
    code: codeFields,
    running: (spec) => [...runningFields(spec), spec.eras, spec.legacyLeg],
    contains: ({ name, spec }, text) =>
      name.includes(text) || spec.description.toLowerCase().includes(text),
  }
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
    ...(allows
      ? []
      : [
          {
            pointer: '/toolRules',
            code: 'nothing_allowed',
            detail:
              'No rule allows anything, so every tool is denied. End with {"effect": "allow", "tools": "*"} to allow the rest.',
          },
        ]),
  ]
}
