import { ServerInput, ServerPatch } from '@mcp-gateway/contract'
import {
  checkPersonalSpace,
  checkQuotas,
  isQuotaExempt,
  type AccessRules,
  type PersonalLimits,
} from '../../core/access.ts'
import type { Mistake } from '../../core/errors.ts'
import { authorizePersonal, checkCreate } from '../../core/permission.ts'
import type { Principal } from '../../core/principal.ts'
import type {
  MemberSpec,
  VirtualServer,
  VirtualServerSpec,
} from '../../core/virtual-servers/virtual-server.ts'
import { defined } from '../../lib/defined.ts'
import { mergePatch } from '../../lib/json/merge-patch.ts'
import { isTable, tableOf } from '../../lib/json/table-of.ts'
import type { PermittedCollection } from '../../store/permitted.ts'
import { OwnedRecords, type RecordRequest, type Written } from '../owned/owned-records.ts'
import { renames, validate, type Warning } from '../validation.ts'
import { withAliases } from './member-aliases.ts'
import { memberMistakes } from './member-mistakes.ts'

export interface ServerRegistryOptions {
  readonly servers: PermittedCollection<VirtualServer>
  readonly serverLimits: PersonalLimits
  readonly access: AccessRules
  readonly now: () => Date
  readonly newUid: () => string
}

/** Creates, shows, changes and deletes virtual servers. */
export class ServerRegistry {
  readonly records: OwnedRecords<VirtualServer>
  readonly #options: ServerRegistryOptions

  constructor(options: ServerRegistryOptions, view: (server: VirtualServer) => object) {
    const { servers } = options
    this.#options = options
    this.records = new OwnedRecords({ ...options, stored: servers, listed: servers, view })
  }

  checkCreate(principal: Principal): void {
    checkCreate(principal, this.#options.access, 'server')
  }

  create(principal: Principal, body: unknown): Promise<Written<VirtualServer>> {
    return this.#create(principal, body, undefined)
  }

  async #create(
    principal: Principal,
    body: unknown,
    atName: string | undefined,
  ): Promise<Written<VirtualServer>> {
    const { access, serverLimits: limits } = this.#options
    const permit = authorizePersonal(principal, access, 'server')
    const { name, spec, warnings } = await this.#specOf(body, atName, undefined)
    const server = { kind: 'server' as const, name, ...this.records.fresh(principal), spec }
    const resource = await this.records.create(permit, server, (held, space) => {
      if (!isQuotaExempt(access, principal))
        checkQuotas(access, { servers: held }, { servers: 1 }, true)
      checkPersonalSpace(limits, 'servers', space)
    })
    return { resource, warnings }
  }

  /** Replaces a virtual server, or creates it. */
  async replace(request: RecordRequest, body: unknown): Promise<Written<VirtualServer>> {
    const { principal, name, ifMatch } = request
    const isNew = ifMatch === undefined && (await this.records.find(name)) === undefined
    if (isNew) return this.#create(principal, body, name)
    return this.#change(request, (stored) => this.#specOf(body, name, stored))
  }

  async patch(request: RecordRequest, patch: unknown): Promise<Written<VirtualServer>> {
    const { name } = request
    return this.#change(request, async (stored) => {
      const { value, warnings } = await validate(ServerPatch, patch, () => renames(name, patch))
      const { formerAliases: _former, selects: _selects, ...fields } = stored.spec
      const merged = mergePatch(fields, value)
      return { ...(await this.#specOf(merged, name, stored)), warnings }
    })
  }

  async delete(request: RecordRequest): Promise<VirtualServer> {
    return this.records.act(request, 'write', (permit) => this.records.delete(permit))
  }

  async #change(
    request: RecordRequest,
    change: (stored: VirtualServer) => Promise<Given>,
  ): Promise<Written<VirtualServer>> {
    return this.records.act(request, 'write', async (permit) => {
      const { spec, warnings } = await change(permit.resource)
      const server = { ...permit.resource, spec }
      const resource = await this.records.replace(permit, server, (_, space) =>
        checkPersonalSpace(this.#options.serverLimits, 'servers', space),
      )
      return { resource, warnings }
    })
  }

  /**
   * The stored form of a body, whose name may stand in the address alone. Members that are named
   * get an alias that stays.
   * @throws GatewayError `validation_failed`
   */
  async #specOf(
    body: unknown,
    atName: string | undefined,
    stored: VirtualServer | undefined,
  ): Promise<Given> {
    const isNamed = atName === undefined || !isTable(body) || 'name' in body
    const named = isNamed ? body : { ...body, name: atName }
    const { value: input, warnings } = await validate(ServerInput, named, () => [
      ...(atName === undefined ? [] : renames(atName, body)),
      ...this.#mistakesOf(tableOf(body), stored),
    ])
    const spec: VirtualServerSpec = {
      description: input.description,
      ...withAliases(input.members as readonly MemberSpec[], stored?.spec),
      requiredRoles: [...new Set(input.requiredRoles)],
      ...defined({
        title: input.title,
        instructions: input.instructions,
        memberInstructions: input.memberInstructions === 'none' ? ('none' as const) : undefined,
        pinned: input.pinned.length === 0 ? undefined : input.pinned,
        ownerRoles: input.ownerRoles.length === 0 ? undefined : [...new Set(input.ownerRoles)],
        anonymous: input.anonymous ? (true as const) : undefined,
      }),
    }
    return { name: input.name, spec, warnings }
  }

  #mistakesOf(
    { anonymous, members }: Readonly<Record<string, unknown>>,
    stored: VirtualServer | undefined,
  ): readonly Mistake[] {
    const found = Array.isArray(members) ? memberMistakes(members) : []
    const mayBe = this.#options.access.anonymous || stored?.spec.anonymous === true
    if (anonymous !== true || mayBe) return found
    const detail = 'needs identity.allowAnonymous in the configuration of the gateway'
    return [{ pointer: '/anonymous', code: 'anonymous_not_allowed', detail }, ...found]
  }
}

/** The stored form of a request's body. */
interface Given {
  readonly name: string
  readonly spec: VirtualServerSpec
  readonly warnings: readonly Warning[]
}
