import { errorAnswer, errorCode, type Exchange, type ModernRequest } from '@mcp-gateway/protocol'
import { toGatewayError } from '../../core/errors.ts'
import { authorize, isOpenTo, type Permit } from '../../core/permission.ts'
import type { Principal } from '../../core/principal.ts'
import type { Adapter } from '../../core/resource.ts'
import type { ServerRequests } from '../../servers/server-requests.ts'
import type { ToolGuard } from '../../servers/tool-guard.ts'
import type { CatalogueMember } from '../catalogue/catalogue.ts'
import type { MemberLists } from '../lists/member-lists.ts'
import type { AggregateCaller, Member } from './member.ts'
import { AdapterItems, type AdapterItemsOptions } from './adapter-items.ts'
import { defaultQuestions, type QuestionPolicy } from './questions.ts'
import type { ShownItems } from '../catalogue/shared-items.ts'
import type { ShownItem } from '../catalogue/shown-item.ts'

export interface AdapterMemberOptions extends AdapterItemsOptions {
  /** The adapter as of now; undefined if it has been removed. */
  readonly adapter: () => Adapter | undefined
  readonly servers: Pick<ServerRequests, 'request' | 'gone' | 'stateOwner'>
  /** Applies the tool rules of adapters. */
  readonly guard: Pick<ToolGuard, 'rulesOf' | 'watchCalls'>
  /** Undefined if there is no adapter of the name. */
  readonly lists: MemberLists | undefined
}

/** An adapter as a member of an aggregate. */
export class AdapterMember implements Member, CatalogueMember {
  readonly #options: AdapterMemberOptions
  readonly #items: AdapterItems
  readonly questions: QuestionPolicy

  constructor(options: AdapterMemberOptions) {
    this.#options = options
    this.#items = new AdapterItems(options)
    this.questions = { ...defaultQuestions, ...options.membership.spec.questions }
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
    return this.#items.of(this.#options.lists?.snapshot)
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
    return this.uses(principal) && this.#items.covers(uri, this.#options.lists?.snapshot)
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
function headersOf({ idempotencyKey, loop, requestId, trace }: AggregateCaller): readonly string[] {
  const headers = ['x-request-id', requestId, ...Object.entries(trace).flat()]
  if (loop !== undefined) headers.push('cdn-loop', loop)
  if (idempotencyKey !== undefined) headers.push('idempotency-key', idempotencyKey)
  return headers
}
