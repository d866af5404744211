import type { z } from 'zod'
import type { Mistake } from '../core/errors.ts'
import type { Principal } from '../core/principal.ts'
import type { Resource, ResourceKind } from '../core/resource.ts'
import type { Warning } from './validation.ts'

/** The differences between the kinds of resources. The rest of the control plane is shared. */
export interface Kind<
  R extends Resource = Resource,
  Input extends { readonly name: string } = { readonly name: string },
> {
  readonly kind: ResourceKind
  /** Path of the kind's resources: `/adapters`. */
  readonly collection: string
  /** Schema of the body of POST and PUT. */
  readonly input: z.ZodObject
  /** Schema of the body of PATCH. */
  readonly patch: z.ZodObject
  /** Rules that the schema cannot express. `body` may be anything. */
  mistakes(body: unknown, principal: Principal): readonly Mistake[] | Promise<readonly Mistake[]>
  /** Warnings about fields of a valid body that have no effect, or an unexpected effect. */
  warnings(input: Input): readonly Warning[]
  /** The spec to store for a valid body. `stored` is the resource that it replaces, if any. */
  spec(input: Input, stored: R | undefined): R['spec']
  /**
   * The resource as a body that would create it again, as base of a merge patch. Masks stand for
   * stored secrets, and keep them.
   */
  inputOf(resource: R, patch: unknown): Record<string, unknown>
  /** The public view of a resource, with masked secrets. */
  view(resource: R, warnings: readonly Warning[]): object
  /** The fields that decide which code runs or is called. */
  code(spec: R['spec']): unknown
  /** The fields that make up a workload. Other changes restart nothing. */
  running(spec: R['spec']): unknown
  /** True if a resource matches a search text, which is in lower case. */
  contains(resource: R, text: string): boolean
}

export function tableOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}
