import type { Resource } from '../core/resource.ts'
import { referencesOf } from '../core/secret.ts'
import { each } from '../store/each.ts'
import type { Store } from '../store/store.ts'

/** The workloads that refer to a secret of the store. */
export async function usersOf(store: Pick<Store, 'list'>, secret: string): Promise<readonly Resource[]> {
  const refers = ({ spec }: Resource): boolean => referencesOf(spec).some(([, { source, name }]) => source === 'store' && name === secret)
  const users: Resource[] = []
  for await (const resource of each(store, {})) if (refers(resource)) users.push(resource)
  return users
}
