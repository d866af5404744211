import { OwnerInput } from '@mcp-gateway/contract'
import { GatewayError } from '../../core/errors.ts'
import { authorize, authorizeTransfer, type Permit } from '../../core/permission.ts'
import { samePrincipal, type Principal } from '../../core/principal.ts'
import type { Owner } from '../../core/resource.ts'
import { without } from '../../lib/without.ts'
import type { Admit } from '../../store/store.ts'
import type { OwnedRecord, OwnedRecords, RecordRequest } from './owned-records.ts'
import { validate } from '../validation.ts'

export interface OwnershipRules<R, Held> {
  /** @throws GatewayError for a record that only its source of files may change */
  readonly checkWriter: (record: R) => void
  /** Checks the quota of the new owner; undefined if the caller is exempt. */
  readonly admitNewOwner: (principal: Principal, record: R) => Admit<Held> | undefined
}

/** Gives records to others. An owner can only offer a record; the other side must accept. */
export class Ownership<R extends OwnedRecord, Held> {
  readonly #records: OwnedRecords<R, Held>
  readonly #rules: OwnershipRules<R, Held>

  constructor(records: OwnedRecords<R, Held>, rules: OwnershipRules<R, Held>) {
    this.#records = records
    this.#rules = rules
  }

  /**
   * Changes the owner: an administrator names the new owner, or the caller accepts an offer. The
   * former owner keeps the access that its roles give.
   */
  async transfer(request: RecordRequest, body: unknown): Promise<R> {
    const { principal } = request
    return this.#give(request, body, async (to, stored) => {
      const isOwner = samePrincipal(to, stored.owner)
      if (isOwner && samePrincipal(to, principal)) return stored
      const permit = authorizeTransfer(principal, stored, to)
      if (isOwner) return stored

      const creator = stored.creator ?? stored.owner
      return this.#store(permit, { ...without(stored, 'offeredTo'), owner: to, creator })
    })
  }

  /** Offers the record to somebody, who need not accept. A new offer replaces the one before. */
  async offer(request: RecordRequest, body: unknown): Promise<R> {
    return this.#give(request, body, async (to, stored) => {
      const permit = authorize(request.principal, 'offer', stored)
      if (samePrincipal(to, stored.owner))
        throw new GatewayError('validation_failed', {
          mistakes: [{ pointer: '/id', code: 'already_owner', detail: 'is its owner' }],
        })

      const already = stored.offeredTo !== undefined && samePrincipal(to, stored.offeredTo)
      return already ? stored : this.#store(permit, { ...stored, offeredTo: to })
    })
  }

  /** Withdraws or refuses an offer. */
  async decline(request: RecordRequest): Promise<R> {
    return this.#records.act(request, 'decline', async (permit) => {
      const { kind, name, offeredTo } = permit.resource
      if (offeredTo === undefined)
        throw new GatewayError('not_found', {
          detail: `The ${kind} '${name}' is offered to nobody, so there is no offer to decline.`,
        })

      return this.#store(permit, without(permit.resource, 'offeredTo'))
    })
  }

  /** Runs a request that names another owner. */
  async #give(
    request: RecordRequest,
    body: unknown,
    give: (to: Owner, stored: R) => Promise<R>,
  ): Promise<R> {
    return this.#records.act(request, 'read', async ({ resource }) => {
      this.#rules.checkWriter(resource)
      const { id, issuer = request.principal.issuer } = (await validate(OwnerInput, body)).value
      return give({ id, issuer }, resource)
    })
  }

  #store(permit: Permit<'offer' | 'decline' | 'transfer', R>, owned: R): Promise<R> {
    const { principal, resource } = permit
    const admit = samePrincipal(owned.owner, resource.owner)
      ? undefined
      : this.#rules.admitNewOwner(principal, owned)
    return this.#records.replace(permit, owned, admit)
  }
}
