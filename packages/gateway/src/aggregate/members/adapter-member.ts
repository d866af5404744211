import { errorAnswer, errorCode, type Exchange, type ModernRequest } from '@mcp-gateway/protocol'
import { toGatewayError } from '../../core/errors.ts'
import { authorize, isOpenTo, type Permit } from '../../core/permission.ts'
import type { Principal } from '../../core/principal.ts'
import type { Adapter } from '../../core/resource.ts'
import type { ServerRequests } from '../../servers/server-requests.ts'
import type { ToolGuard } from '../../servers/tool-guard.ts'
import type { CatalogueMember } from '../catalogue/catalogue.ts'
import { allListKinds } from '../lists/list-kinds.ts'
import type { MemberLists, MemberSnapshot } from '../lists/member-lists.ts'
import type { AggregateCaller, Member } from './member.ts'
import { claimedBy, shownName, type Claimed } from '../names/names.ts'
import { compileFilters, type Membership, type ShowsItem } from './membership.ts'
import { defaultQuestions, type QuestionPolicy } from './questions.ts'
import { sharedItems, type ShownItems } from '../catalogue/shared-items.ts'
import { showItem, type ShownItem, type ShowOptions } from '../catalogue/shown-item.ts'
import { compileTemplate } from '../names/uris.ts'

export interface AdapterMemberOptions {
  readonly membership: Membership
  /** The adapter as of now; undefined if it has been removed. */
  readonly adapter: () => Adapter | undefined
  readonly servers: Pick<ServerRequests, 'request' | 'gone' | 'stateOwner'>
  /** Applies the tool rules of adapters. */
  readonly guard: Pick<ToolGuard, 'rulesOf' | 'watchCalls'>
  /** Undefined if there is no adapter of the name. */
  readonly lists: MemberLists | undefined
  /** True for a web address that two members list. */
  readonly clashes: (uri: string) => boolean
  /** Names of tools that belong to another member. */
  readonly claimed?: Claimed | undefined
}

const noItems: ShownItems = { tools: [], prompts: [], resources: [], templates: [] }

/** An adapter as a member of an aggregate. */
export class AdapterMember implements Member, CatalogueMember {
  readonly #options: AdapterMemberOptions
  readonly #filters: { readonly shows: ShowsItem; readonly leavesOut: ShowsItem }
  readonly #claimed: Claimed
  readonly questions: QuestionPolicy
  #shown: { readonly of: MemberSnapshot; readonly items: ShownItems } | undefined

  constructor(options: AdapterMemberOptions) {
    this.#options = options
    const { alias, spec } = options.membership
    this.#filters = compileFilters(spec)
    const own = claimedBy(alias, spec.overrides)
    this.#claimed = (shown) => own.has(shown) || options.claimed?.(shown) === true
    this.questions = { ...defaultQuestions, ...spec.questions }
  }

  get alias(): string {
    return this.#options.membership.alias
  }

  get name(): string {
    return this.#options.membership.name
  }

  get title(): string {
    return this.#options.lists?.snapshot?.title ?? this.name
  }

  get items(): ShownItems {
    const snapshot = this.#options.lists?.snapshot
    if (snapshot === undefined) return noItems
    if (this.#shown?.of !== snapshot) {
      const items = sharedItems(snapshot, this.#formOf(snapshot), () => this.#show(snapshot))
      this.#shown = { of: snapshot, items }
    }
    return this.#shown.items
  }

  /** Equal for members that show a snapshot alike. */
  #formOf({ lists }: MemberSnapshot): string {
    const { claimed, clashes, membership } = this.#options
    const { include, exclude, overrides } = membership.spec
    const addresses = [...lists.resources.items, ...lists.templates.items]
    const clashing = addresses.flatMap(({ key }) => (clashes(key) ? key : []))
    const taken =
      claimed === undefined
        ? []
        : lists.tools.items.filter(({ key }) => claimed(shownName(this.alias, key)))
    const changed = [clashing, taken.map(({ key }) => key)]
    return JSON.stringify([this.alias, this.name, include, exclude, overrides, changed])
  }

  #show({ lists }: MemberSnapshot): ShownItems {
    const { clashes } = this.#options
    const items = { ...noItems }
    for (const kind of allListKinds)
      items[kind] = lists[kind].items
        .map((item) =>
          showItem(kind, this, item, {
            ...(kind === 'tools' ? this.#toolOptions(item.key) : {}),
            clashes: clashes(item.key),
          }),
        )
        .filter((item) => this.#filters.shows(item))
    return items
  }

  #toolOptions(name: string): ShowOptions {
    const { overrides = {} } = this.#options.membership.spec
    const override = Object.hasOwn(overrides, name) ? overrides[name] : undefined
    return { override, claimed: this.#claimed }
  }

  viewKey(principal: Principal): string | undefined {
    const adapter = this.#options.adapter()
    if (adapter === undefined || !isOpenTo(principal, adapter)) return undefined
    const byRole = this.#options.guard.rulesOf(adapter)?.byRole === true
    return byRole
      ? JSON.stringify(principal.roles.map((role) => role.toLowerCase()).toSorted())
      : ''
  }

  permits(principal: Principal, { hints, kind, original }: ShownItem): boolean {
    const adapter = this.#options.adapter()
    if (adapter === undefined) return false
    const rules = kind === 'tools' ? this.#options.guard.rulesOf(adapter) : undefined
    try {
      return rules === undefined || rules.allows(principal, original, hints) === true
    } catch {
      // The name takes too long to judge, and is refused at the call for the same reason.
      return false
    }
  }

  get completes(): boolean {
    return this.#options.lists?.snapshot?.completes !== false
  }

  readonly mayHaveTasks = true

  get leadsElsewhere(): boolean {
    return this.#options.adapter()?.spec.endpoint !== undefined
  }

  get incarnation(): string {
    const { uid, generation } = this.#options.adapter() ?? {}
    return JSON.stringify([uid, generation])
  }

  uses(principal: Principal): boolean {
    const adapter = this.#options.adapter()
    return adapter !== undefined && isOpenTo(principal, adapter)
  }

  subjectOf(): ReturnType<Member['subjectOf']> {
    return this.#options.adapter() ?? { kind: 'adapter', name: this.name }
  }

  reads(principal: Principal, uri: string): boolean {
    if (!this.uses(principal)) return false
    const item = { kind: 'resources', original: uri, hints: undefined } as const
    const { leavesOut, shows } = this.#filters
    if (shows(item)) return true
    // A filter that shows a template shows what the template stands for.
    const fits = ({ original }: ShownItem): boolean => compileTemplate(original)(uri)
    return this.items.templates.some(fits) && !leavesOut(item)
  }

  maxResultBytes(original: string): number | undefined {
    const { maxResultBytes, overrides } = this.#options.membership.spec
    return overrides?.[original]?.maxResultBytes ?? maxResultBytes
  }

  stateOwner(principal: Principal, state: string): string | undefined {
    const adapter = this.#options.adapter()
    return adapter && this.#options.servers.stateOwner(adapter, principal, state)
  }

  watchDenials(principal: Principal, tool: string, denied: () => void): (() => void) | undefined {
    const adapter = this.#options.adapter()
    return adapter && this.#options.guard.watchCalls(adapter, principal, [tool], denied)
  }

  request(caller: AggregateCaller, request: ModernRequest, exchange: Exchange): void {
    let permit: Permit<'use', Adapter>
    try {
      permit = authorize(caller.principal(), 'use', this.#options.adapter())
    } catch (error) {
      const { status, message } = toGatewayError(error)
      return exchange.answer(status, errorAnswer(request.id, errorCode.internal, message))
    }
    this.#options.servers.request(permit, caller.session, request, exchange, headersOf(caller))
  }

  gone(exchange: Exchange): void {
    this.#options.servers.gone(exchange)
  }

  doubt(): void {
    this.#options.lists?.doubt()
  }
}

/** The headers of the client's request that go on, as they do at the adapter's own address. */
function headersOf({ idempotencyKey, requestId, trace }: AggregateCaller): readonly string[] {
  const headers = ['x-request-id', requestId, ...Object.entries(trace).flat()]
  if (idempotencyKey !== undefined) headers.push('idempotency-key', idempotencyKey)
  return headers
}
