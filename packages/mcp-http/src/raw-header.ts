/** The first value of a header in a raw list, or undefined. `name` is in lower case. */
export function rawHeader(raw: readonly Buffer[], name: string): string | undefined {
  for (let index = 0; index < raw.length; index += 2) {
    const key = raw[index] as Buffer
    if (key.length === name.length && key.toString('latin1').toLowerCase() === name)
      return (raw[index + 1] as Buffer).toString('latin1')
  }
  return undefined
}
