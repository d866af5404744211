import type { DeclaredHeader } from '@mcp-gateway/protocol'
import type { Principal } from '../core/principal.ts'
import type { Subject } from '../audit/decision.ts'
import type { Cancellation } from './cancellation.ts'

/** The progress of a call (MCP, progress). */
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
  /** Stays the same if the client repeats the call. */
  readonly idempotencyKey: string
  /** Aborts when the client gives up. */
  readonly cancellation: Cancellation
  /** Set only if the client wants progress notifications. */
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

/** A tool that its caller may use. */
export interface OfferedTool {
  /** Arguments that headers must repeat. */
  readonly declaredHeaders: readonly DeclaredHeader[]
  /**
   * Never rejects for a fault of the tool or of its arguments. Such a fault is a result with
   * `isError`.
   */
  call(invocation: Invocation): Promise<CallResult>
}

export interface SourceChange {
  /** True if the change alters the list that a caller sees. */
  concerns(principal: Principal): boolean
}

/**
 * Receives the resource that a name means, and if the caller may use it. The caller must not learn
 * of a refused resource.
 */
export type Seen = (resource: Subject, allowed: boolean) => void

/**
 * A source of tools for the catalogue. Registered tools are the first source; tools of MCP servers
 * are to be the next. Reading needs no I/O.
 */
export interface ToolSource {
  /** The tools that a caller may use, sorted by name (code points), after a name. */
  list(principal: Principal, after: string): Iterable<ListedTool>
  /** Undefined for an unknown tool and for a tool that the caller may not use. */
  find(principal: Principal, name: string, seen?: Seen): OfferedTool | undefined
  /** Calls back after each change until the returned function is called. */
  onChange(listener: (change: SourceChange) => void): () => void
}
