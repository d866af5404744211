import type { ResourceCalls } from '@mcp-gateway/contract'
import type { z } from 'zod'
import type { Mistake } from '../../core/errors.ts'
import type { Principal } from '../../core/principal.ts'
import type { Resource } from '../../core/resource.ts'
import type { PermittedCollection } from '../../store/permitted.ts'
import type { Collection } from '../../store/store.ts'
import type { Warning } from '../validation.ts'

/** The differences between the kinds of resources. The rest of the control plane is shared. */
export interface Kind<
  R extends Resource = Resource,
  Input extends { readonly name: string } = { readonly name: string },
> {
  readonly kind: R['kind']
  /** The calls of the contract. */
  readonly calls: ResourceCalls
  is(resource: Resource): resource is R
  /** A resource of this kind. */
  resource(fields: Omit<Resource, 'kind' | 'spec'>, spec: R['spec']): R
  /** Validates the body of POST and PUT; `more` finds mistakes that the schema cannot express. */
  read(
    body: unknown,
    more: () => Promise<readonly Mistake[]>,
  ): Promise<{ readonly value: Input; readonly warnings: readonly Warning[] }>
  /** Schema of the body of PATCH. */
  readonly patch: z.ZodObject
  /** The claim at `/mcp`: the name of a tool, or true if an adapter joins. */
  claims(spec: R['spec']): unknown
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

/** Lists the resources of one kind. */
export function listOfKind<R extends Resource>(
  all: Pick<Collection<Resource>, 'list'>,
  kind: Pick<Kind<R>, 'kind' | 'is'>,
): Pick<Collection<R>, 'list'> {
  const isKind = (resource: Resource): resource is R => kind.is(resource)
  return { list: async (query) => (await all.list({ ...query, kind: kind.kind })).filter(isKind) }
}

/** The resources of one kind, of a store that holds several kinds. */
export function ofKind<R extends Resource, Held>(
  store: PermittedCollection<Resource, Held>,
  kind: Pick<Kind<R>, 'kind' | 'is'>,
): PermittedCollection<R, Held> {
  return {
    ...store,
    ...listOfKind(store, kind),
    async get(name) {
      const found = await store.get(name)
      return found !== undefined && kind.is(found) ? found : undefined
    },
  }
}
