import type { Shares } from '@mcp-gateway/mcp-http'
import { GatewayError } from '../core/errors.ts'
import { callerKey, partyOf, type Principal } from '../core/principal.ts'
import type { AdapterSpec, Resource } from '../core/resource.ts'
import {
  compileToolRules,
  Effort,
  type ToolRule,
  type ToolRules,
} from '../core/fields/tool-rules.ts'
import type { Dispatching } from '../upstream/shared-connections.ts'
import type { Upstream } from '../upstream/upstream.ts'
import { guardRequest } from './guarded-request.ts'
import { KnownTools } from './known-tools.ts'
import { judgedMessages } from './ruled-messages.ts'

export interface ToolGuardOptions {
  /** The resource that is registered under a name now. */
  readonly resource: (name: string) => Resource | undefined
  /** Counts the bytes of answers that are held until they are whole. */
  readonly heldBytes: Shares
}

const noTool = compileToolRules([])

/**
 * Applies an adapter's tool rules where requests leave for its server and answers return, so that
 * they judge the very bytes that the server gets, in any era. Without rules, it reads nothing.
 */
export class ToolGuard {
  readonly #options: ToolGuardOptions
  readonly #compiled = new WeakMap<readonly ToolRule[], ToolRules>()
  /**
   * Lists of tools, by replica and by session or caller, because each of these may see another
   * list.
   */
  readonly #known = new KnownTools()
  /** The listeners for denied calls, by call. */
  readonly #watched = new Map<string, Set<() => void>>()
  #asked = 0

  constructor(options: ToolGuardOptions) {
    this.#options = options
  }

  /** True if the adapter has tool rules now. */
  guards({ name, uid }: Resource): boolean {
    return this.#rules(name, uid) !== undefined
  }

  /**
   * Calls `denied` when the rules refuse a call of a translated request. Such a call leaves for the
   * server without a link to its request. Returns the function that stops watching.
   * @throws GatewayError `invalid_request` for a batch of several calls, of which some could run
   */
  watchDenials(
    { name, uid }: Resource,
    principal: Principal,
    body: Buffer | null,
    denied: () => void,
  ): (() => void) | undefined {
    const rules = this.#rules(name, uid)
    if (rules === undefined || body === null) return undefined
    const tools = calledTools(body)
    if (tools.length > 1)
      throw new GatewayError('invalid_request', {
        detail:
          'The server speaks another era than this client, so that each call of a batch would be ' +
          'judged and run by itself. Send calls of an adapter with tool rules one by one.',
      })
    return this.#watch(rules, uid, principal, tools, denied)
  }

  /** As `watchDenials`, for calls of tools by a request of the gateway itself. */
  watchCalls(
    { name, uid }: Resource,
    principal: Principal,
    tools: readonly string[],
    denied: () => void,
  ): (() => void) | undefined {
    const rules = this.#rules(name, uid)
    return rules && this.#watch(rules, uid, principal, tools, denied)
  }

  #watch(
    rules: ToolRules,
    uid: string,
    principal: Principal,
    tools: readonly string[],
    denied: () => void,
  ): () => void {
    try {
      const effort = new Effort()
      if (tools.some((tool) => rules.allows(principal, tool, undefined, effort) === false)) denied()
    } catch {
      // A request that takes too long to judge is refused later, on its way to the server.
    }
    const keys = tools.map((tool) => callKey(uid, principal, tool))
    for (const key of keys)
      this.#watched.set(key, (this.#watched.get(key) ?? new Set()).add(denied))
    return () => {
      for (const key of keys) {
        const watching = this.#watched.get(key)
        watching?.delete(denied)
        if (watching?.size === 0) this.#watched.delete(key)
      }
    }
  }

  /**
   * The way to a replica for one caller. Each request is judged by the rules of its moment.
   * `denied` is called when the rules deny a call.
   */
  to(
    upstream: Upstream,
    { name, uid }: Resource,
    principal: Principal,
    denied?: () => void,
  ): Dispatching {
    const told = (tools: readonly string[]): void => {
      if (denied !== undefined) return denied()
      for (const tool of tools)
        for (const watching of this.#watched.get(callKey(uid, principal, tool)) ?? []) watching()
    }
    const via = upstream.via(partyOf(principal))
    const { heldBytes } = this.#options
    const common = { upstream, via, principal, heldBytes, known: this.#known, told }
    return {
      dispatch: (options, handler) => {
        const rules = this.#rules(name, uid)
        if (rules === undefined) return via.dispatch(options, handler)
        const guarding = { ...common, rules, newId: () => `"gateway-tools-${(this.#asked += 1)}"` }
        guardRequest(guarding, options, handler)
        return true
      },
    }
  }

  /** The compiled rules of an adapter; undefined if it has none. */
  rulesOf({ name, uid }: Resource): ToolRules | undefined {
    return this.#rules(name, uid)
  }

  #rules(name: string, uid: string): ToolRules | undefined {
    const resource = this.#options.resource(name)
    // The adapter was removed while the request was on its way. Its rules are gone, but its server
    // may still run.
    if (resource?.uid !== uid) return noTool
    const { toolRules } = resource.spec as AdapterSpec
    if (toolRules === undefined) return undefined
    let rules = this.#compiled.get(toolRules)
    if (rules === undefined) this.#compiled.set(toolRules, (rules = compileToolRules(toolRules)))
    return rules
  }
}

/** The tools that a client's body calls. Empty if the body is refused for another reason. */
function calledTools(body: Buffer): readonly string[] {
  try {
    return judgedMessages(body).messages.flatMap(({ tool }) => tool ?? [])
  } catch {
    return []
  }
}

/** A key for calls that get the same verdict: same caller, same roles, same tool. */
function callKey(uid: string, principal: Principal, tool: string): string {
  return JSON.stringify([uid, callerKey(principal), tool])
}
