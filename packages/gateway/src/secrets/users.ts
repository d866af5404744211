import { samePrincipal } from '../core/principal.ts'
import type { Owner, Resource, SecretReference } from '../core/resource.ts'
import { referencesOf } from '../core/secret.ts'
import { each } from '../store/each.ts'
import type { Store } from '../store/store.ts'

/**
 * Lists the workloads that refer to a secret by name. With `of`, leaves out references to another
 * owner's secret.
 */
export async function usersOf(
  store: Pick<Store, 'list'>,
  secret: Pick<SecretReference, 'source' | 'name'>,
  of?: Owner,
): Promise<readonly Resource[]> {
  const refers = ({ spec }: Resource): boolean =>
    referencesOf(spec).some(
      ([, { source, name, owner }]) =>
        source === secret.source &&
        name === secret.name &&
        (of === undefined || owner === undefined || samePrincipal(owner, of)),
    )
  const users: Resource[] = []
  for await (const resource of each(store, {})) if (refers(resource)) users.push(resource)
  return users
}
