/**
 * Counts a header in a raw list of names and values: Node keeps the first copy, a later hop might
 * keep the last. `name` in lower case.
 */
export function countHeader(rawHeaders: readonly string[], name: string): number {
  let found = 0
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const header = rawHeaders[index]
    if (header !== undefined && header.length === name.length && header.toLowerCase() === name)
      found += 1
  }
  return found
}
