import type { ApiKey } from '../core/api-key.ts'
import type { BoundSessions } from '../core/virtual-servers/bound-sessions.ts'
import type { Holdings } from '../core/access.ts'
import type { Resource, Stored } from '../core/resource.ts'
import type { Secret } from '../core/secret.ts'
import type { KeptLists, VirtualServer } from '../core/virtual-servers/virtual-server.ts'

/** A change that has been stored. `resource` is absent when it was deleted. */
export interface Change<R extends Stored = Resource> {
  readonly kind: R['kind']
  readonly name: string
  readonly resource?: R
}

export interface ListQuery<R extends Stored = Resource> {
  readonly kind?: R['kind']
  /** Only names after this one, in order of code points. */
  readonly after?: string
  readonly limit?: number
  /** The list may end once its records have this many bytes together, but holds at least one. */
  readonly bytes?: number
}

/** Bytes that a written record takes in the store. */
export interface Space {
  readonly bytes: number
  /** Bytes that the record takes now; 0 for a new record. */
  readonly bytesBefore: number
  /** Bytes of all other records of the owner in the collection. */
  readonly ownerBytes: number
  /** Bytes of all other records in the collection. */
  readonly totalBytes: number
}

/**
 * Called within a write with what else the resource's owner holds. An error undoes the write and is
 * rethrown. No write of any process comes between, so two writes cannot both take the last place.
 */
export type Admit<Held = Holdings> = (held: Held, space: Space) => void

/**
 * Stored records that share a name space. `Held` is what an owner holds of them: by default, their
 * number. Few methods keep drivers small.
 */
export interface Collection<R extends Stored, Held = number> {
  /**
   * Stores a new record. Names are unique over all kinds of the collection. @throws `name_taken`
   */
  create(resource: R, admit?: Admit<Held>): Promise<void>
  get(name: string): Promise<R | undefined>
  list(query: ListQuery<R>): Promise<readonly R[]>
  /**
   * Replaces the record of that name if its stored uid is the same and its version is
   * `expectedVersion`.
   * @throws `not_found`, `precondition_failed`, `name_taken`
   */
  replace(resource: R, expectedVersion: number, admit?: Admit<Held>): Promise<void>
  /** Deletes a record if uid and version match. @throws `not_found`, `precondition_failed` */
  delete(name: string, uid: string, expectedVersion: number): Promise<void>
  /**
   * Yields every later change by any process, in order for each name. May repeat and merge changes
   * of a name, but never loses the last. Ends on abort. Consumers begin to watch, then list.
   */
  watch(signal: AbortSignal): AsyncIterable<Change<R>>
}

/**
 * Adapters and tools. A finished write survives `kill -9`. Drivers pass `test/contracts`. MCP tool
 * names (`spec.toolDefinition.tool.name`) are unique. GatewayErrors: `name_taken`, `not_found`,
 * `storage_full`, `store_unavailable`, `precondition_failed` (version differs).
 */
export interface Store extends Collection<Resource, Holdings>, AsyncDisposable {
  /** API keys by id. */
  readonly apiKeys: Collection<ApiKey>
  readonly secrets: Collection<Secret>
  /** Virtual servers. */
  readonly servers: Collection<VirtualServer>
  /** The lists of the members of virtual servers, by adapter. */
  readonly lists: Collection<KeptLists>
  /** The legacy sessions of virtual servers that are bound to their process, by caller. */
  readonly sessions: Collection<BoundSessions>
  /** Rejects when the store cannot serve now (readiness). */
  ping(): Promise<void>
}
