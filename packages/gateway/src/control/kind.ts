import type { z } from 'zod'
import type { Mistake } from '../core/errors.ts'
import type { Principal } from '../core/principal.ts'
import type { Resource, ResourceKind } from '../core/resource.ts'
import type { Warning } from './validation.ts'

/** What differs between the kinds of resources; the rest of the control plane is the same for all. */
export interface Kind<
  R extends Resource = Resource,
  Input extends { readonly name: string } = { readonly name: string },
> {
  readonly kind: ResourceKind
  /** Path under which resources of the kind are: `/adapters`. */
  readonly collection: string
  /** Schema of the body of POST and PUT. */
  readonly input: z.ZodObject
  /** Schema of the body of PATCH. */
  readonly patch: z.ZodObject
  /** Rules that the schema cannot say. `body` may be anything. */
  mistakes(body: unknown, principal: Principal): readonly Mistake[] | Promise<readonly Mistake[]>
  /** What of a valid body has no effect, or another than it says. */
  warnings(input: Input): readonly Warning[]
  /** What to store for a valid body, in place of `stored` if there is something. */
  spec(input: Input, stored: R | undefined): R['spec']
  /** The resource as a body that would make it again, for a merge patch. Stored secrets stand as masks, and stay. */
  inputOf(resource: R, patch: unknown): Record<string, unknown>
  /** What may be shown of a resource: secret values are masked. */
  view(resource: R, warnings: readonly Warning[]): object
  /** What decides which code runs, or is called. */
  code(spec: R['spec']): unknown
  /** What a workload is made of; changes of the rest restart nothing. */
  running(spec: R['spec']): unknown
  /** Whether a resource is meant by a text that people look for, which is in lower case. */
  contains(resource: R, text: string): boolean
}

export function tableOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}
