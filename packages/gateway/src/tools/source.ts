import type { DeclaredHeader } from '@mcp-gateway/protocol'
import type { Principal } from '../core/principal.ts'
import type { Subject } from '../audit/decision.ts'
import type { Cancellation } from './cancellation.ts'

/** How far a call has come (MCP, progress). */
export interface Progress {
  readonly progress: number
  readonly total?: number
  readonly message?: string
}

/** One call, as the client made it. */
export interface Invocation {
  /** The raw JSON object of the arguments. */
  readonly arguments: string
  readonly requestId: string
  /** Headers of trace context (W3C) that go with the call. */
  readonly trace: Readonly<Record<string, string>>
  /** The same when the same call is made again. */
  readonly idempotencyKey: string
  /** Aborts when the client gives up. */
  readonly cancellation: Cancellation
  /** Only where the client wants to hear of it. */
  readonly progress: ((progress: Progress) => void) | undefined
}

/** A CallToolResult as raw members. */
export type CallResult = ReadonlyMap<string, string>

/** A tool as lists show it. */
export interface ListedTool {
  readonly name: string
  /** The definition as JSON (MCP, `Tool`). */
  readonly json: string
}

/** A tool that a caller may use, found for that caller. */
export interface OfferedTool {
  /** Arguments that headers must repeat. */
  readonly declaredHeaders: readonly DeclaredHeader[]
  /** Never rejects for what the tool or its arguments are to blame for: that is a result with `isError`. */
  call(invocation: Invocation): Promise<CallResult>
}

export interface SourceChange {
  /** Whether a caller sees another list for it. */
  concerns(principal: Principal): boolean
}

/** Told which resource a name means, and whether the caller may use it; what is refused is not to be told to the caller. */
export type Seen = (resource: Subject, allowed: boolean) => void

/** Where tools of the catalogue come from. Registered tools are the first; what MCP servers offer is to be the next. Reading costs no I/O. */
export interface ToolSource {
  /** What a caller may use, in order of names (code points), after a name. */
  list(principal: Principal, after: string): Iterable<ListedTool>
  /** Undefined for what is not there and for what the caller may not use alike. */
  find(principal: Principal, name: string, seen?: Seen): OfferedTool | undefined
  /** Calls back after each change until the returned function is called. */
  onChange(listener: (change: SourceChange) => void): () => void
}
