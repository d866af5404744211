import { ServerInput, ServerPatch } from '@mcp-gateway/contract'
import { checkPersonalSpace, type AccessRules, type PersonalLimits } from '../../core/access.ts'
import { GatewayError, type Mistake } from '../../core/errors.ts'
import { authorizePersonal, checkCreate } from '../../core/permission.ts'
import type { Principal } from '../../core/principal.ts'
import type { MemberSpec, VirtualServer, VirtualServerSpec } from '../../core/virtual-server.ts'
import { defined } from '../../lib/defined.ts'
import { mergePatch } from '../../lib/json/merge-patch.ts'
import { newAlias } from '../../core/fields/alias.ts'
import type { PermittedCollection } from '../../store/permitted.ts'
import { OwnedRecords, type Written } from '../owned/owned-records.ts'
import { renames, validate, type Warning } from '../validation.ts'

export interface ServerRegistryOptions {
  readonly servers: PermittedCollection<VirtualServer>
  readonly serverLimits: PersonalLimits & { readonly maxPerPrincipal: number }
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

  async create(principal: Principal, body: unknown): Promise<Written<VirtualServer>> {
    const { access, serverLimits: limits } = this.#options
    const permit = authorizePersonal(principal, access, 'server')
    const { name, spec, warnings } = await this.#specOf(body, undefined)
    const server = { kind: 'server' as const, name, ...this.records.fresh(principal), spec }
    const resource = await this.records.create(permit, server, (held, space) => {
      if (held >= limits.maxPerPrincipal)
        throw new GatewayError('quota_exceeded', {
          detail:
            `You have ${held} virtual servers, and may have ${limits.maxPerPrincipal} ` +
            '(servers.maxPerPrincipal). Delete one that is no longer used.',
        })
      checkPersonalSpace(limits, 'servers', space)
    })
    return { resource, warnings }
  }

  /** Replaces a virtual server, or creates it. */
  async replace(
    principal: Principal,
    name: string,
    body: unknown,
    ifMatch: number | undefined,
  ): Promise<Written<VirtualServer>> {
    if (ifMatch === undefined && (await this.records.find(name)) === undefined)
      return this.create(principal, { ...(body as object), name })
    return this.#change(principal, name, ifMatch, (stored) => this.#specOf(body, stored))
  }

  async patch(
    principal: Principal,
    name: string,
    patch: unknown,
    ifMatch: number | undefined,
  ): Promise<Written<VirtualServer>> {
    return this.#change(principal, name, ifMatch, async (stored) => {
      const { value, warnings } = await validate(ServerPatch, patch)
      const merged = mergePatch({ ...stored.spec, name }, value)
      return { ...(await this.#specOf(merged, stored)), warnings }
    })
  }

  async delete(
    principal: Principal,
    name: string,
    ifMatch: number | undefined,
  ): Promise<VirtualServer> {
    return this.records.act({ principal, name, ifMatch }, 'write', (permit) =>
      this.records.delete(permit),
    )
  }

  async #change(
    principal: Principal,
    name: string,
    ifMatch: number | undefined,
    change: (stored: VirtualServer) => Promise<Given>,
  ): Promise<Written<VirtualServer>> {
    return this.records.act({ principal, name, ifMatch }, 'write', async (permit) => {
      const { spec, warnings } = await change(permit.resource)
      const server = { ...permit.resource, spec }
      const resource = await this.records.replace(permit, server, (_, space) =>
        checkPersonalSpace(this.#options.serverLimits, 'servers', space),
      )
      return { resource, warnings }
    })
  }

  /**
   * The stored form of a body. Members that are named get an alias that stays.
   * @throws GatewayError `validation_failed`
   */
  async #specOf(body: unknown, stored: VirtualServer | undefined): Promise<Given> {
    const named = stored === undefined ? body : { name: stored.name, ...(body as object) }
    const { value: input, warnings } = await validate(ServerInput, named, () => [
      ...(stored === undefined ? [] : renames(stored.name, named)),
      ...this.#mistakesOf(named),
    ])
    const spec: VirtualServerSpec = {
      description: input.description,
      members: withAliases(input.members as readonly MemberSpec[]),
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

  #mistakesOf(body: unknown): Mistake[] {
    const { anonymous, members } = (body ?? {}) as { anonymous?: unknown; members?: unknown }
    const mistakes: Mistake[] = []
    if (anonymous === true && !this.#options.access.anonymous)
      mistakes.push({
        pointer: '/anonymous',
        code: 'anonymous_not_allowed',
        detail: 'needs identity.allowAnonymous in the configuration of the gateway',
      })
    const aliases = new Set<unknown>()
    for (const [index, member] of (Array.isArray(members) ? members : []).entries()) {
      const { alias } = (member ?? {}) as { alias?: unknown }
      if (alias !== undefined && aliases.has(alias))
        mistakes.push({
          pointer: `/members/${index}/alias`,
          code: 'alias_taken',
          detail: 'must differ from the alias of every other member',
        })
      aliases.add(alias)
    }
    return mistakes
  }
}

/** The stored form of a request's body. */
interface Given {
  readonly name: string
  readonly spec: VirtualServerSpec
  readonly warnings: readonly Warning[]
}

/** Gives every named member an alias, which then stays, whatever members come and go. */
function withAliases(members: readonly MemberSpec[]): readonly MemberSpec[] {
  const used = new Set(members.flatMap(({ alias }) => alias ?? []))
  return members.map((member) => {
    if (member.alias !== undefined || 'selector' in member) return member
    const alias = newAlias('adapter' in member ? member.adapter : member.tool, used)
    used.add(alias)
    return { ...member, alias }
  })
}
