import { skipSpace, skipString } from './json-text.ts'

/**
 * Finds the RFC 6901 pointer of the first name that stands twice in its object, in valid JSON.
 * Readers differ in which they take (RFC 8259 section 4): one may run what another never checked.
 */
export function findDuplicateKey(json: string): string | undefined {
  const stack: { readonly keys: Set<string> | undefined; segment: string | number }[] = []

  const pointer = (): string =>
    stack
      .map(({ segment }) => `/${String(segment).replaceAll('~', '~0').replaceAll('/', '~1')}`)
      .join('')

  for (let at = 0; at < json.length; at += 1) {
    const character = json[at]
    if (character === '{') stack.push({ keys: new Set(), segment: '' })
    else if (character === '[') stack.push({ keys: undefined, segment: 0 })
    else if (character === '}' || character === ']') stack.pop()
    else if (character === ',') {
      const top = stack.at(-1)
      if (top !== undefined && typeof top.segment === 'number') top.segment += 1
    } else if (character === '"') {
      const start = at
      const end = skipString(json, start)
      at = end - 1

      const top = stack.at(-1)
      if (top?.keys === undefined || json[skipSpace(json, end)] !== ':') continue

      const key = JSON.parse(json.slice(start, end)) as string
      top.segment = key
      if (top.keys.has(key)) return pointer()

      top.keys.add(key)
    }
  }

  return undefined
}
