import type { Exchange, ModernRequest } from '@mcp-gateway/protocol'
import type { Subject } from '../../audit/decision.ts'
import type { InnerAct } from '../../audit/inner-act.ts'
import type { Principal } from '../../core/principal.ts'
import type { QuestionPolicy } from './questions.ts'

/** The caller of an aggregate, and the parts of its HTTP request that go on to a member. */
export interface AggregateCaller {
  /** The caller as of now, because a session outlives the roles that it was opened with. */
  readonly principal: () => Principal
  /** Names the session of a legacy client, which has connections of its own. Else empty. */
  readonly session: string
  readonly requestId: string
  readonly trace: Readonly<Record<string, string>>
  /** The client's own Idempotency-Key, if it sent one. */
  readonly idempotencyKey: string | undefined
  /** `CDN-Loop`: the gateways that the request has passed, so that each finds a loop. */
  readonly loop?: string | undefined
  /** True if the request comes from this gateway, and must not go to an endpoint again. */
  readonly cameFromHere: boolean
  /** In search mode: the tool that the client's own message calls. */
  readonly calls?: string
  /** Receives the members that messages reach, or are kept from, for the audit log. */
  readonly seen: (act: InnerAct) => void
}

/** A server behind an aggregate, as a modern server (MCP 2026-07-28). */
export interface Member {
  readonly alias: string
  /** The name of the adapter or tool. */
  readonly name: string
  /** The name that users read in questions and errors. */
  readonly title: string
  readonly questions: QuestionPolicy
  /** True if the member completes arguments, or may. */
  readonly completes: boolean
  /** True if the member may answer a call with a task (extension io.modelcontextprotocol/tasks). */
  readonly mayHaveTasks: boolean
  /** True if requests leave for a server outside the runtime. */
  readonly leadsElsewhere: boolean
  /** Differs after the member's server was changed or replaced, so that streams begin again. */
  readonly incarnation: string
  /** True if a caller may use the member now, at its own address. */
  uses(principal: Principal, original: string): boolean
  /** The resource that a call of an item reaches, for the audit log. */
  subjectOf(original: string): Subject
  /** True if a caller may read an address that the member does not list. */
  reads(principal: Principal, uri: string): boolean
  /** Bytes of a result that clients get whole; undefined for no limit. */
  maxResultBytes(original: string): number | undefined
  /** The gateway process that holds the parked call of a state; undefined if none does. */
  stateOwner(principal: Principal, state: string): string | undefined
  /** Calls `denied` if rules refuse a call of a tool on its way. Returns how to stop watching. */
  watchDenials(principal: Principal, tool: string, denied: () => void): (() => void) | undefined
  /** Sends a request, whose names and addresses are those of the member. */
  request(caller: AggregateCaller, request: ModernRequest, exchange: Exchange): void
  /** The client of an exchange has left before its answer. */
  gone(exchange: Exchange): void
  /** The member's lists may be out of date. */
  doubt(): void
}
