import { randomUUID } from 'node:crypto'
import { resourceKinds } from '../control/kinds/kinds.ts'
import { SchemaChecks } from '../lib/json/schema-checks.ts'
import { permittedStore } from '../store/permitted.ts'
import type { Composition } from './composition.ts'
import { endpointRules } from './endpoint-rules.ts'
import type { State } from './state.ts'
import type { Workloads } from './workloads.ts'

export type Writing = ReturnType<typeof openWriting>

/** Opens the rules that all writers of the store share: the REST API, and declared files. */
export function openWriting(
  { config, parts, now }: Composition,
  { store, secretSources }: State,
  { reconciler, access }: Workloads,
) {
  const kinds = resourceKinds({
    maxReplicas: config.runtime.maxReplicas,
    endpoints: endpointRules(config),
    checks: parts.use(new SchemaChecks()),
  })

  return {
    store: permittedStore(store),
    sealedResources: store.sealedResources,
    nudge: (name: string) => reconciler.nudge(name),
    access,
    secretSources,
    sources: new Set(Object.keys(config.declared)),
    kinds,
    now: () => new Date(now()),
    newUid: randomUUID,
  }
}
