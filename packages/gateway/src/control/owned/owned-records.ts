import { authorize, checkKnown, mayRead, type Guarded, type Permit } from '../../core/permission.ts'
import type { Principal } from '../../core/principal.ts'
import type { Owned } from '../../core/resource.ts'
import type { Change, PermittedCollection } from '../../store/permitted.ts'
import type { Admit, Collection } from '../../store/store.ts'
import type { Warning } from '../validation.ts'
import { pageOf, type Page } from './page.ts'
import { checkVersion, retrying } from './precondition.ts'

/** A record that a principal owns. */
export type OwnedRecord = Owned<Guarded['spec']>

/** The actions that a record alone decides. */
type RecordAction = Exclude<Parameters<typeof authorize>[1], 'use'>

export interface ListRequest {
  readonly limit?: number | undefined
  /** The name that the previous page ends with. */
  readonly after?: string | undefined
  /** Prefix of names. */
  readonly name?: string | undefined
  readonly q?: string | undefined
}

/** A stored record, with warnings about the request. */
export interface Written<R> {
  readonly resource: R
  readonly warnings: readonly Warning[]
}

/** The record that a caller asks to act on. */
export interface RecordRequest {
  readonly principal: Principal
  readonly name: string
  /** The version that the caller has read; without one, a lost race is tried again. */
  readonly ifMatch: number | undefined
}

export interface OwnedRecordsOptions<R extends OwnedRecord, Held> {
  readonly stored: PermittedCollection<R, Held>
  /** The records as lists read them. */
  readonly listed: Pick<Collection<R>, 'list'>
  readonly view: (record: R) => object
  /** True if a record is one that a list asks for. */
  readonly matches?: (record: R, query: ListRequest) => boolean
  readonly now: () => Date
  readonly newUid: () => string
}

/**
 * The records of one kind that principals own. Every kind reads, authorizes, retries, counts
 * versions and writes here; the kinds add only their own rules.
 */
export class OwnedRecords<R extends OwnedRecord, Held = number> {
  readonly #options: OwnedRecordsOptions<R, Held>

  constructor(options: OwnedRecordsOptions<R, Held>) {
    this.#options = options
  }

  /** @throws GatewayError as `authorize` */
  async permit<A extends RecordAction>(
    principal: Principal,
    action: A,
    name: string,
  ): Promise<Permit<A, R>> {
    return authorize(principal, action, await this.find(name))
  }

  async get(principal: Principal, name: string): Promise<R> {
    return (await this.permit(principal, 'read', name)).resource
  }

  /** The record, whoever asks. Its caller must authorize. */
  find(name: string): Promise<R | undefined> {
    return this.#options.stored.get(name)
  }

  /** Lists the records that the caller may see, in order of their names. */
  async list(principal: Principal, query: ListRequest): Promise<Page> {
    checkKnown(principal)
    const { listed, matches = () => true, view } = this.#options
    const { after, limit } = query
    const fits = (record: R): boolean => mayRead(principal, record) && matches(record, query)
    return pageOf(listed, { after, limit }, fits, view)
  }

  /** Does something to a record with a permit. */
  async act<A extends RecordAction, T>(
    { principal, name, ifMatch }: RecordRequest,
    action: A,
    work: (permit: Permit<A, R>) => Promise<T>,
  ): Promise<T> {
    return retrying(ifMatch, async () => {
      const permit = await this.permit(principal, action, name)
      checkVersion(permit.resource, ifMatch)
      return work(permit)
    })
  }

  /** The fields of a new record, which its creator owns. */
  fresh({ id, issuer }: Principal, at = this.#options.now()) {
    const createdAt = at.toISOString()
    return {
      uid: this.#options.newUid(),
      version: 1,
      owner: { id, issuer },
      createdAt,
      lastUpdatedAt: createdAt,
    }
  }

  async create(permit: Permit<'create', R['kind']>, record: R, admit?: Admit<Held>): Promise<R> {
    await this.#options.stored.create(permit, record, admit)
    return record
  }

  /** Stores the next version of the permitted record. */
  async replace(permit: Permit<Change, R>, changed: R, admit?: Admit<Held>): Promise<R> {
    const record: R = {
      ...changed,
      version: permit.resource.version + 1,
      lastUpdatedAt: this.#options.now().toISOString(),
    }
    await this.#options.stored.replace(permit, record, admit)
    return record
  }

  async delete(permit: Permit<'write', R>): Promise<R> {
    await this.#options.stored.delete(permit)
    return permit.resource
  }
}
