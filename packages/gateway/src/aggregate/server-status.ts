import type { ServerStatus } from '@mcp-gateway/contract'
import type { Principal } from '../core/principal.ts'
import { memberKey, namedBy, type VirtualServer } from '../core/virtual-servers/virtual-server.ts'
import { defined } from '../lib/defined.ts'
import type { Assembly } from './assembly.ts'
import type { AssembledMember } from './members/assembled-member.ts'
import { mistakesOf, type MemberState } from './members/standing.ts'

/** How a virtual server stands, without the sum of it. */
export type ServerStanding = Omit<ServerStatus, 'phase'>

type MemberStatus = ServerStatus['members'][number]

const noItems = { tools: 0, prompts: 0, resources: 0 }

/** How the members of a virtual server stand, as far as a caller may know. */
export function statusesOf(
  { spec }: VirtualServer,
  { assembly, since }: { readonly assembly: Assembly; readonly since: StateTimes },
  principal: Principal,
): MemberStatus[] {
  since.note(assembly.members)
  const named = new Set(spec.members.flatMap((each) => keyOf(namedBy(each)) ?? []))
  return assembly.members.flatMap((each): MemberStatus[] => {
    const { kind, lists, member, required } = each
    const { state, reason } = assembly.standingOf(each, principal)
    const { alias, items, name } = member
    const about = { alias, kind, name, required, state, ...defined({ reason }) }
    if (state === 'Missing')
      // The definition names it, so it may be hidden, or there may be nothing to hide.
      return named.has(memberKey({ kind, name })) ? [{ ...about, ...noItems }] : []

    const mistakes = [...mistakesOf(lists), ...assembly.displacedOf(each)]
    return [
      {
        ...about,
        ...defined({ since: since.of(each) }),
        tools: items.tools.length,
        prompts: items.prompts.length,
        resources: items.resources.length + items.templates.length,
        ...(mistakes.length === 0 ? {} : { mistakes }),
      },
    ]
  })
}

/** The named members of a definition that this process has not read yet. */
export function unreadStatusesOf({ spec }: VirtualServer): MemberStatus[] {
  return spec.members.flatMap((each) => {
    const target = namedBy(each)
    if (target === undefined) return []
    const { alias = target.name, required = false } = each
    const reason = 'This gateway has not read the definition yet.'
    return [{ ...target, alias, required, state: 'Starting' as const, reason, ...noItems }]
  })
}

function keyOf(target: ReturnType<typeof namedBy>): string | undefined {
  return target === undefined ? undefined : memberKey(target)
}

/** Remembers since when the members of one virtual server have been in their states. */
export class StateTimes {
  readonly #now: () => number
  #known: ReadonlyMap<string, { readonly state: MemberState; readonly since: string }> = new Map()

  /** @param now milliseconds since the epoch */
  constructor(now: () => number) {
    this.#now = now
  }

  /** Looks at the states of all members. Those that have changed begin now. */
  note(members: readonly AssembledMember[]): void {
    const since = new Date(this.#now()).toISOString()
    this.#known = new Map(
      members.map((each) => {
        const key = keyOfMember(each)
        const { state } = each.standing()
        const before = this.#known.get(key)
        return [key, before?.state === state ? before : { state, since }]
      }),
    )
  }

  of(member: AssembledMember): string | undefined {
    return this.#known.get(keyOfMember(member))?.since
  }
}

function keyOfMember({ kind, member }: AssembledMember): string {
  return memberKey({ kind, name: member.name })
}
