import { compileGlob } from '../lib/glob.ts'
import { isOneOf } from './access.ts'
import type { Principal } from './principal.ts'

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

/** Rules in the form in which they are applied. */
export interface ToolRules {
  /** Whether a caller may see and call a tool. Undefined when that depends on hints, and they are not given. */
  allows(principal: Principal, name: string, hints: ToolHints | undefined): boolean | undefined
  /** Whether callers may see different lists. */
  readonly byRole: boolean
}

export function compileToolRules(rules: readonly ToolRule[]): ToolRules {
  const compiled = rules.map(({ effect, tools, annotations = {}, roles }) => {
    const patterns = typeof tools === 'string' ? [tools] : tools
    const exact = patterns.map((pattern) => compileGlob(pattern))
    // A server may take a name that is written otherwise for the same, so what is denied is denied in every spelling.
    const alike = effect === 'deny' ? patterns.map((pattern) => compileGlob(fold(pattern))) : []
    const wanted = hintNames.flatMap((name) =>
      annotations[name] === undefined ? [] : [[name, annotations[name]] as const],
    )
    return {
      allows: effect === 'allow',
      fits: (name: string, folded: string): boolean =>
        exact.some((each) => each(name)) || alike.some((each) => each(folded)),
      wanted,
      roles,
    }
  })
  return {
    byRole: rules.some(({ roles }) => roles !== undefined),
    allows(principal, name, hints) {
      // No tool is called so: readers differ in what they make of it, or judging it would take too long.
      if (name.length > longestName || /[\p{Cc}\p{Cs}]/u.test(name)) return false
      const folded = fold(name)
      for (const { allows, fits, wanted, roles } of compiled) {
        if (!fits(name, folded) || (roles !== undefined && !isOneOf(principal, roles))) continue
        if (wanted.length === 0) return allows
        if (hints === undefined) return undefined
        if (wanted.every(([hint, value]) => hints[hint] === value)) return allows
      }
      return false
    },
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
