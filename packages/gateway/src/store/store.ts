import type { Holdings } from '../core/access.ts'
import type { Resource, ResourceKind } from '../core/resource.ts'

/** A change that has been stored. `resource` is absent when it was deleted. */
export interface Change {
  readonly kind: ResourceKind
  readonly name: string
  readonly resource?: Resource
}

export interface ListQuery {
  readonly kind?: ResourceKind
  /** Names after this one, in order of code points. */
  readonly after?: string
  readonly limit?: number
}

/**
 * Called within a write with what the resource's owner has besides it; what it throws undoes the write and is thrown on. No other write, of
 * whichever process, comes between, so that two at once can not both have the last place.
 */
export type Admit = (held: Holdings) => void

/**
 * Desired state, kept durably: a write that has returned survives `kill -9`. Few calls, so that a driver is small;
 * all drivers pass `store-contract.ts`. Errors are GatewayErrors: `name_taken`, `not_found`, `precondition_failed`
 * (version differs), `storage_full`, `store_unavailable`.
 */
export interface Store extends AsyncDisposable {
  /** Stores a new resource. Names are unique over all kinds, MCP tool names (`spec.toolDefinition.tool.name`) over all tools. @throws `name_taken` */
  create(resource: Resource, admit?: Admit): Promise<void>
  get(name: string): Promise<Resource | undefined>
  list(query: ListQuery): Promise<readonly Resource[]>
  /** Replaces the resource of the same name if its stored uid is the same and its stored version is `expectedVersion`. @throws `not_found`, `precondition_failed`, `name_taken` */
  replace(resource: Resource, expectedVersion: number, admit?: Admit): Promise<void>
  /** Deletes if uid and version are as given. @throws `not_found`, `precondition_failed` */
  delete(name: string, uid: string, expectedVersion: number): Promise<void>
  /**
   * Every change stored after the call, in order per name, by whichever process; may repeat and may merge changes of one name,
   * never loses the last. Ends when the signal aborts. A consumer lists first *after* it has begun to watch.
   */
  watch(signal: AbortSignal): AsyncIterable<Change>
  /** Rejects when the store can not serve now (readiness). */
  ping(): Promise<void>
}
