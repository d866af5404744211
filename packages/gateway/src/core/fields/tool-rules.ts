import { BoundedCache } from '../../lib/bounded-cache.ts'
import { compileGlob, mostSteps, type Spend } from '../../lib/glob.ts'
import { GatewayError } from '../errors.ts'
import { isOneOf, type Principal } from '../principal.ts'

/**
 * A rule of an adapter's operator about the server's tools. The first rule that fits decides; a
 * tool that fits no rule is denied.
 */
export interface ToolRule {
  readonly effect: 'allow' | 'deny'
  /** Globs of tool names. */
  readonly tools: string | readonly string[]
  /** Hints that the tool must give. `hintsOf` supplies the defaults for absent hints. */
  readonly annotations?: Partial<ToolHints>
  /** Roles of which the caller must hold one. Absent: every caller. */
  readonly roles?: readonly string[]
}

/** Hints of a server about a tool's behaviour (MCP, tool annotations). */
export interface ToolHints {
  readonly readOnlyHint: boolean
  readonly destructiveHint: boolean
  readonly idempotentHint: boolean
  readonly openWorldHint: boolean
}

const hintNames = ['readOnlyHint', 'destructiveHint', 'idempotentHint', 'openWorldHint'] as const

/**
 * Reads a tool's hints from its `annotations`, with the specification's defaults. A read-only tool
 * counts as non-destructive unless it says otherwise.
 */
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

/**
 * Longest name that rules judge. The specification recommends at most 128 characters, and matching
 * time grows with the length.
 */
export const longestName = 256

/** Steps that judging the tools of one message may take: about 40 ms. */
const stepsOfMessage = 20_000_000

/** Steps that an adapter's rules may take for one name of the longest length. */
export const stepsOfName = 100_000

/** The largest number of steps that rules need for one name. */
export function mostStepsOf(rules: readonly Pick<ToolRule, 'effect' | 'tools'>[]): number {
  let steps = 0
  for (const { effect, tools } of rules)
    for (const pattern of [tools].flat())
      steps += mostSteps(pattern, longestName) * (effect === 'deny' ? 2 : 1)
  return steps
}

/** The remaining steps for judging the tools of one message. */
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
          'The tool rules of this adapter take too long to judge the message. ' +
          'Use fewer or simpler patterns, or send fewer calls at once.',
      })
  }
}

/** Compiled rules. */
export interface ToolRules {
  /**
   * Decides if a caller may see and call a tool. Undefined if that depends on absent hints.
   * @throws GatewayError `rules_too_costly`
   */
  allows(
    principal: Principal,
    name: string,
    hints: ToolHints | undefined,
    effort?: Effort,
  ): boolean | undefined
  /** True if callers with different roles may see different lists. */
  readonly byRole: boolean
}

/** Number of names whose matching rules are cached. */
const namesKept = 1000

export function compileToolRules(rules: readonly ToolRule[]): ToolRules {
  const compiled = rules.map(({ effect, tools, annotations = {}, roles }) => {
    const patterns = [tools].flat()
    const exact = anyOf(patterns)
    // A server may accept a variant spelling, so a deny rule covers every spelling of a name.
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

  /**
   * By name: for each rule checked so far, whether it fits. The result does not depend on the
   * caller.
   */
  const known = new BoundedCache<string, boolean[]>(namesKept)

  return {
    byRole: rules.some(({ roles }) => roles !== undefined),
    allows(principal, name, hints, effort = new Effort()) {
      // Valid tools have no such names: readers disagree about their meaning, or judging takes too
      // long.
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

/** True if one pattern fits a name. Patterns without wildcards use a set lookup. */
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

/**
 * Folds names that lenient readers treat as equal: ignores case, compatibility forms, spaces and
 * invisible characters.
 */
export function fold(name: string): string {
  return name
    .normalize('NFKC')
    .replaceAll(/[\s\p{C}]/gu, '')
    .toUpperCase()
    .toLowerCase()
    .normalize('NFKC')
}
