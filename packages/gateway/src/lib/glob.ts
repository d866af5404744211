/** Receives the steps of a match. May throw to end the match. */
export type Spend = (steps: number) => void

/** Tests whole texts. */
export type Glob = (text: string, spend?: Spend) => boolean

/**
 * Compiles a pattern: `*` matches any characters, also none; `?` matches one. For each part between
 * two stars, a match takes steps in proportion to the text.
 */
export function compileGlob(pattern: string): Glob {
  const { parts, byCharacter } = partsOf(pattern)

  if (byCharacter) {
    const characters = parts.map((part) => Array.from(part))
    return (text, spend) => fits(characters, Array.from(text), placeOf, spend)
  }
  if (parts.length === 1)
    return (text, spend) => {
      spend?.(1)
      return text === pattern
    }
  return (text, spend) => fits(parts, text, placeIn, spend)
}

/**
 * Returns the parts between the stars. `byCharacter`: `?` is one character, which may be two UTF-16
 * units.
 */
function partsOf(pattern: string): { readonly parts: string[]; readonly byCharacter: boolean } {
  return { parts: pattern.split(/\*+/), byCharacter: /[?\ud800-\udfff]/.test(pattern) }
}

/** Finds the first place of a part in a text, from a place on; -1 when there is none. */
type PlaceOf<T> = (part: T, text: T, from: number, last: number, spend: Spend | undefined) => number

/**
 * Puts the first part at the start, the last at the end, and each other part at its first place
 * after the one before: a later place never helps.
 */
function fits<T extends string | readonly string[]>(
  parts: readonly T[],
  text: T,
  place: PlaceOf<T>,
  spend: Spend | undefined,
): boolean {
  const first = parts[0] as T
  const last = parts.at(-1) as T
  if (parts.length === 1)
    return first.length === text.length && place(first, text, 0, 0, spend) === 0

  const end = text.length - last.length
  if (end < first.length || place(first, text, 0, 0, spend) !== 0) return false
  if (place(last, text, end, end, spend) !== end) return false

  let at = first.length
  for (let index = 1; index < parts.length - 1; index += 1) {
    const part = parts[index] as T
    const found = place(part, text, at, end - part.length, spend)
    if (found === -1) return false
    at = found + part.length
  }

  return true
}

/** Characters that `indexOf` passes in the time of one step. */
const charactersOfStep = 16

const placeIn: PlaceOf<string> = (part, text, from, last, spend) => {
  if (last === from) {
    spend?.(1)
    return text.startsWith(part, from) ? from : -1
  }
  spend?.(1 + Math.floor((text.length - from) / charactersOfStep))
  const found = text.indexOf(part, from)
  return found > last ? -1 : found
}

const placeOf: PlaceOf<readonly string[]> = (part, text, from, last, spend) => {
  for (let at = from; at <= last; at += 1) {
    let same = 0
    while (same < part.length && (part[same] === '?' || part[same] === text[at + same])) same += 1
    spend?.(1 + same)
    if (same === part.length) return at
  }
  return -1
}

/** The most steps that a pattern takes for a text of so many UTF-16 units. */
export function mostSteps(pattern: string, length: number): number {
  const { parts, byCharacter } = partsOf(pattern)
  const steps = parts.map((part, index) => {
    const anchored = index === 0 || index === parts.length - 1
    if (!byCharacter) return anchored ? 1 : 2 + Math.floor(length / charactersOfStep)
    const places = anchored ? 1 : Math.max(1, length - part.length + 1)
    return places * (1 + part.length)
  })
  return steps.reduce((sum, each) => sum + each, 0)
}
