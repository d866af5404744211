import type { ApiKey } from '../core/api-key.ts'
import type { Holdings } from '../core/access.ts'
import type { Resource, Stored } from '../core/resource.ts'
import type { Secret } from '../core/secret.ts'

/** A change that has been stored. `resource` is absent when it was deleted. */
export interface Change<R extends Stored = Resource> {
  readonly kind: R['kind']
  readonly name: string
  readonly resource?: R
}

export interface ListQuery<R extends Stored = Resource> {
  readonly kind?: R['kind']
  /** Names after this one, in order of code points. */
  readonly after?: string
  readonly limit?: number
  /** The list may end when its records have so many bytes together; it has one at least. */
  readonly bytes?: number
}

/** How much room a record takes that is written, in bytes as they are stored. */
export interface Space {
  readonly bytes: number
  /** What it takes now; 0 for a new one. */
  readonly bytesBefore: number
  /** What all else of its owner takes in the collection. */
  readonly ownerBytes: number
  /** What all else takes in the collection. */
  readonly totalBytes: number
}

/**
 * Called within a write with what the resource's owner has besides it; what it throws undoes the write and is thrown on. No other write, of
 * whichever process, comes between, so that two at once cannot both have the last place.
 */
export type Admit<Held = Holdings> = (held: Held, space: Space) => void

/** Stored things that share a name space. `Held` is how much of them an owner has; where nothing else is said, how many. */
export interface Collection<R extends Stored, Held = number> {
  /** Stores a new one. Names are unique over all kinds of the collection. @throws `name_taken` */
  create(resource: R, admit?: Admit<Held>): Promise<void>
  get(name: string): Promise<R | undefined>
  list(query: ListQuery<R>): Promise<readonly R[]>
  /** Replaces what has the same name if its stored uid is the same and its stored version is `expectedVersion`. @throws `not_found`, `precondition_failed`, `name_taken` */
  replace(resource: R, expectedVersion: number, admit?: Admit<Held>): Promise<void>
  /** Deletes if uid and version are as given. @throws `not_found`, `precondition_failed` */
  delete(name: string, uid: string, expectedVersion: number): Promise<void>
  /**
   * Every change stored after the call, in order per name, by whichever process; may repeat and may merge changes of one name,
   * never loses the last. Ends when the signal aborts. A consumer lists first *after* it has begun to watch.
   */
  watch(signal: AbortSignal): AsyncIterable<Change<R>>
}

/**
 * Desired state, kept durably: a write that has returned survives `kill -9`. Few calls, so that a driver is small;
 * all drivers pass the suite in `test/contracts`. Errors are GatewayErrors: `name_taken`, `not_found`, `precondition_failed`
 * (version differs), `storage_full`, `store_unavailable`. By itself it is the collection of adapters and tools; MCP tool names
 * (`spec.toolDefinition.tool.name`) are unique over all tools.
 */
export interface Store extends Collection<Resource, Holdings>, AsyncDisposable {
  /** By their ids. */
  readonly apiKeys: Collection<ApiKey>
  readonly secrets: Collection<Secret>
  /** Rejects when the store cannot serve now (readiness). */
  ping(): Promise<void>
}
