import { AdapterInput, AdapterPatch, type AdapterResource } from '@mcp-gateway/contract'
import type { Adapter } from '../core/resource.ts'
import type { Kind } from './kind.ts'
import { codeFields, maskedInput, runningFields, sharedView, workloadMistakes, workloadSpec } from './workload-fields.ts'

/** MCP servers, at `/adapters`. */
export function adapterKind({ maxReplicas }: { readonly maxReplicas: number }): Kind<Adapter, AdapterInput> {
  return {
    kind: 'adapter',
    collection: '/adapters',
    input: AdapterInput,
    patch: AdapterPatch,
    mistakes: (body) => workloadMistakes(body, maxReplicas),
    warnings: () => [],
    spec: (input, stored) => ({
      ...workloadSpec(input, stored),
      ...(input.eras === 'auto' ? {} : { eras: input.eras }),
      ...(input.legacyLeg === 'passthrough' ? {} : { legacyLeg: input.legacyLeg }),
    }),
    inputOf: ({ name, spec }) => ({ name, ...spec, ...maskedInput(spec) }),
    view: (adapter, warnings): AdapterResource => {
      const { imageName, imageVersion, eras, legacyLeg } = adapter.spec
      const own = {
        imageName,
        imageVersion,
        ...(eras === undefined ? {} : { eras }),
        ...(legacyLeg === undefined ? {} : { legacyLeg }),
      }
      return sharedView(adapter, own, warnings)
    },
    code: codeFields,
    running: (spec) => [...runningFields(spec), spec.eras, spec.legacyLeg],
    contains: ({ name, spec }, text) => name.includes(text) || spec.description.toLowerCase().includes(text),
  }
}
