import { BoundedCache } from '../lib/bounded-cache.ts'
import { compileGlob, mostSteps, type Spend } from '../lib/glob.ts'
import { GatewayError } from './errors.ts'
import { isOneOf, type Principal } from './principal.ts'

/** What an adapter's operator says of the tools of its server. The first rule that fits decides; what none fits is denied. */
export interface ToolRule {
  readonly effect: 'allow' | 'deny'
  /** Globs of tool names. */
  readonly tools: string | readonly string[]
  /** Hints that the tool must give; what a tool does not say counts as `defaultHints`. */
  readonly annotations?: Partial<ToolHints>
  /** Roles of which the caller must hold one; absent: whoever calls. */
  readonly roles?: readonly string[]
}

/** What a server says of how a tool behaves (MCP, tool annotations). */
export interface ToolHints {
  readonly readOnlyHint: boolean
  readonly destructiveHint: boolean
  readonly idempotentHint: boolean
  readonly openWorldHint: boolean
}

const hintNames = ['readOnlyHint', 'destructiveHint', 'idempotentHint', 'openWorldHint'] as const

/** The hints of a tool from its `annotations`, with the specification's defaults; a tool that only reads destroys nothing unless it says so. */
export function hintsOf(annotations: unknown): ToolHints {
  const given =
    typeof annotations === 'object' && annotations !== null
      ? (annotations as Record<string, unknown>)
      : {}
  const hint = (name: keyof ToolHints, fallback: boolean): boolean => {
    const value = given[name]
    return typeof value === 'boolean' ? value : fallback
  }
  const readOnlyHint = hint('readOnlyHint', false)
  return {
    readOnlyHint,
    destructiveHint: hint('destructiveHint', !readOnlyHint),
    idempotentHint: hint('idempotentHint', false),
    openWorldHint: hint('openWorldHint', true),
  }
}

/** No name that rules judge is longer: the specification knows tools of 128 characters, and matching takes time with the length. */
export const longestName = 256

/** The steps that the tools of one message may take to be judged: some 40 ms. */
const stepsOfMessage = 20_000_000

/** The steps that the rules of an adapter may take for one name, be it as long as names may be. */
export const stepsOfName = 100_000

/** The steps that rules take at most for one name. */
export function mostStepsOf(rules: readonly Pick<ToolRule, 'effect' | 'tools'>[]): number {
  let steps = 0
  for (const { effect, tools } of rules)
    for (const pattern of [tools].flat())
      steps += mostSteps(pattern, longestName) * (effect === 'deny' ? 2 : 1)
  return steps
}

/** What judging the tools of one message has left to spend. */
export class Effort {
  #left: number

  constructor(steps = stepsOfMessage) {
    this.#left = steps
  }

  get left(): number {
    return this.#left
  }

  /** @throws GatewayError `rules_too_costly` */
  readonly spend: Spend = (steps) => {
    this.#left -= steps
    if (this.#left < 0)
      throw new GatewayError('rules_too_costly', {
        detail:
          'The tool rules of this adapter take too long to judge the message. Use fewer or simpler patterns, or send fewer calls at once.',
      })
  }
}

/** Rules in the form in which they are applied. */
export interface ToolRules {
  /**
   * Whether a caller may see and call a tool. Undefined when that depends on hints, and they are
   * not given. @throws GatewayError `rules_too_costly`
   */
  allows(
    principal: Principal,
    name: string,
    hints: ToolHints | undefined,
    effort?: Effort,
  ): boolean | undefined
  /** Whether callers may see different lists. */
  readonly byRole: boolean
}

/** Names of which it is remembered which rules fit. */
const namesKept = 1000

export function compileToolRules(rules: readonly ToolRule[]): ToolRules {
  const compiled = rules.map(({ effect, tools, annotations = {}, roles }) => {
    const patterns = [tools].flat()
    const exact = anyOf(patterns)
    // A server may take a name that is written otherwise for the same, so what is denied is denied in every spelling.
    const alike = effect === 'deny' ? anyOf(patterns.map((pattern) => fold(pattern))) : undefined
    const wanted = hintNames.flatMap((name) =>
      annotations[name] === undefined ? [] : [[name, annotations[name]] as const],
    )
    return {
      allows: effect === 'allow',
      fits: (name: string, folded: string, spend: Spend): boolean =>
        exact(name, spend) || alike?.(folded, spend) === true,
      wanted,
      roles,
    }
  })
  /** By name, whether each rule fits it, as far as it was asked. The caller does not matter. */
  const known = new BoundedCache<string, boolean[]>(namesKept)
  return {
    byRole: rules.some(({ roles }) => roles !== undefined),
    allows(principal, name, hints, effort = new Effort()) {
      // No tool is called so: readers differ in what they make of it, or judging it would take too long.
      if (name.length > longestName || /[\p{Cc}\p{Cs}]/u.test(name)) return false
      let fitting = known.get(name)
      if (fitting === undefined) known.set(name, (fitting = []))
      let folded: string | undefined
      for (const [index, { allows, fits, wanted, roles }] of compiled.entries()) {
        const fit = (fitting[index] ??= fits(name, (folded ??= fold(name)), effort.spend))
        if (!fit || (roles !== undefined && !isOneOf(principal, roles))) continue
        if (wanted.length === 0) return allows
        if (hints === undefined) return undefined
        if (wanted.every(([hint, value]) => hints[hint] === value)) return allows
      }
      return false
    },
  }
}

/** Whether one of the patterns fits a name. Those without wildcards are looked up. */
function anyOf(patterns: readonly string[]): (name: string, spend: Spend) => boolean {
  const exact = new Set(patterns.filter((pattern) => !/[*?]/.test(pattern)))
  const globs = [...new Set(patterns)]
    .filter((pattern) => !exact.has(pattern))
    .map((pattern) => compileGlob(pattern))
  return (name, spend) => {
    spend(1)
    return exact.has(name) || globs.some((fits) => fits(name, spend))
  }
}

/** The same text for names that lenient readers take for one: without case, compatibility forms, spaces and what is not seen. */
export function fold(name: string): string {
  return name
    .normalize('NFKC')
    .replaceAll(/[\s\p{C}]/gu, '')
    .toUpperCase()
    .toLowerCase()
    .normalize('NFKC')
}
