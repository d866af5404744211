import type { ResourceKind } from '../../core/resource.ts'
import type { SchemaChecks } from '../../lib/json/schema-checks.ts'
import { adapterKind } from './adapter-kind.ts'
import type { EndpointRules } from './endpoint-fields.ts'
import { toolKind } from './tool-kind.ts'

export interface ResourceKindsOptions {
  readonly maxReplicas: number
  readonly endpoints: Readonly<Record<ResourceKind, EndpointRules>>
  readonly checks: SchemaChecks
}

export type ResourceKinds = ReturnType<typeof resourceKinds>

/** Builds the kinds of resources with the rules of this gateway. */
export function resourceKinds({ maxReplicas, endpoints, checks }: ResourceKindsOptions) {
  return {
    adapter: adapterKind({ maxReplicas, endpoints: endpoints.adapter }),
    tool: toolKind({ maxReplicas, endpoints: endpoints.tool }, checks),
  }
}
