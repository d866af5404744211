/**
 * Texts that are JSON-RPC messages, or nearly: repeated names, names that differ by case or escape,
 * letters that fold to ASCII, numbers beyond doubles, halves of surrogate pairs. One seed always
 * gives the same texts.
 */
export class HostileMessages {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  next(): string {
    if (this.#chance(8)) return this.#list(3, () => this.#message())
    const text = this.#message()
    return this.#chance(25) ? this.#broken(text) : text
  }

  /** A number from 0 to `below` - 1, by mulberry32. */
  #below(below: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = this.#state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }

  /** True once in `times`. */
  #chance(times: number): boolean {
    return this.#below(times) === 0
  }

  #pick<T>(items: readonly T[]): T {
    return items[this.#below(items.length)] as T
  }

  #message(): string {
    if (this.#chance(60)) return this.#value(2)
    return this.#object(
      [
        ['jsonrpc', () => '"2.0"'],
        ['id', () => this.#scalar()],
        ['method', () => this.#pick(methods)],
        ['params', () => this.#params()],
      ],
      ['id', 'method', 'params', 'result', 'error'],
    )
  }

  #params(): string {
    if (this.#chance(20)) return this.#value(1)
    return this.#object(
      [
        ['name', () => this.#scalar()],
        ['uri', () => this.#scalar()],
        ['requestId', () => this.#scalar()],
        ['arguments', () => this.#value(3)],
        ['_meta', () => this.#meta()],
      ],
      ['name', 'uri', 'requestId', '_meta', 'progressToken', 'meta'],
    )
  }

  #meta(): string {
    if (this.#chance(20)) return this.#value(1)
    return this.#object(
      [
        ['progressToken', () => this.#scalar()],
        ['x/y', () => this.#value(1)],
      ],
      ['progressToken', 'requestId'],
    )
  }

  /** An object of usual members in any order. Some are missing, and some are hostile. */
  #object(
    usual: readonly (readonly [name: string, value: () => string])[],
    targets: readonly string[],
  ): string {
    const members = usual
      .filter(() => !this.#chance(4))
      .map(([name, value]) => `${this.#name(name)}${this.#space()}:${this.#space()}${value()}`)
    if (this.#chance(4)) {
      const name = this.#chance(3) ? this.#pick(targets) : this.#variant(this.#pick(targets))
      const value = this.#chance(3) ? this.#params() : this.#scalar()
      members.splice(this.#below(members.length + 1), 0, `${this.#name(name)}:${value}`)
    }
    if (this.#chance(3)) members.reverse()
    return `${this.#space()}{${this.#space()}${members.join(`,${this.#space()}`)}}${this.#space()}`
  }

  /** The name as JSON, sometimes with escaped letters. */
  #name(name: string): string {
    const raw = JSON.stringify(name)
    return this.#chance(12)
      ? raw.replaceAll(/[a-z]/gi, (letter) => (this.#chance(3) ? escaped(letter) : letter))
      : raw
  }

  /** Another name that some reader could take for this one. */
  #variant(name: string): string {
    const at = this.#below(name.length + 1)
    switch (this.#below(9)) {
      case 0:
        return name.replaceAll(/[a-z]/gi, (letter) =>
          this.#chance(2) ? letter.toUpperCase() : letter.toLowerCase(),
        )
      case 1:
        return name.toUpperCase()
      case 2:
        return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
      case 3:
        return name.replaceAll(/[iks]/gi, (letter) =>
          this.#pick(folding[letter.toLowerCase()] ?? []),
        )
      case 4:
        return `${name.slice(0, at)}${this.#pick(oddCharacters)}${name.slice(at)}`
      case 5:
        return `${name}${this.#pick(oddCharacters)}`
      case 6:
        return name.charAt(0).toUpperCase() + name.slice(1)
      case 7:
        return this.#pick(['__proto__', 'constructor', 'toString', ''])
      default:
        return name
    }
  }

  #scalar(): string {
    return this.#chance(15) ? this.#value(2) : this.#pick(scalars)
  }

  #value(depth: number): string {
    if (this.#chance(2000)) return '['.repeat(1500) + ']'.repeat(1500)
    const kind = depth === 0 ? 0 : this.#below(4)
    if (kind === 1) return this.#list(3, () => this.#value(depth - 1))
    if (kind === 2) {
      const members = Array.from(
        { length: this.#below(3) },
        () => `"${this.#pick(['id', 'name', 'a'])}":${this.#value(depth - 1)}`,
      )
      return `{${members.join()}}`
    }
    return this.#pick(scalars)
  }

  #list(most: number, item: () => string): string {
    return `[${Array.from({ length: this.#below(most + 1) }, item).join(`${this.#space()},`)}]`
  }

  #space(): string {
    return this.#chance(10) ? this.#pick(spaces) : ''
  }

  /** Nearly always a text that is not JSON any more. */
  #broken(text: string): string {
    const at = this.#below(text.length + 1)
    return `${text.slice(0, at)}${this.#pick(wrecks)}${text.slice(at + this.#below(2))}`
  }
}

const escaped = (letter: string): string =>
  String.raw`\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`

/**
 * Letters that readers without regard to case take for ASCII: dotless i, dotted I, Kelvin sign,
 * long s.
 */
const folding: Readonly<Record<string, readonly string[]>> = {
  i: ['\u0131', '\u0130', 'I'],
  k: ['\u212a', 'K'],
  s: ['\u017f', 'S'],
}

const oddCharacters = ['\0', '_', ' ', '\t', '\ufeff', '\u200b', '\u0307', '\ud800', '\udc00', '-']

const methods = [
  '"tools/call"',
  '"tools/call"',
  String.raw`"tools\/call"`,
  String.raw`"tools/\u0063all"`,
  '"notifications/cancelled"',
  '"resources/read"',
  String.raw`"tools/call\u0000"`,
  '"Tools/Call"',
  '1',
  'null',
]

const scalars = [
  '0',
  '-0',
  '1',
  '2',
  '1.0',
  '10e-1',
  '1e400',
  '-1e400',
  '1e-400',
  '9007199254740992',
  '9007199254740993',
  '123456789012345678901234567890',
  '0.1',
  'true',
  'false',
  'null',
  '""',
  '"1"',
  '"a"',
  String.raw`"\u0061"`,
  String.raw`"\/\b\f\n\r\t\"\\"`,
  String.raw`"a\u0000b"`,
  String.raw`"\ud800"`,
  String.raw`"\udc00\ud800"`,
  String.raw`"\ud83d\ude00"`,
  '"😀"',
  '"é"',
  String.raw`"e\u0301"`,
  '"\u2028\u0085"',
  '"\u007f\ufeff"',
  '"__proto__"',
  '[]',
  '{}',
]

const spaces = [' ', '\t', '\n', '\r', '\r\n  ', '    ']

const wrecks = [
  '',
  ',',
  '"',
  '\\',
  '{',
  '}',
  '[',
  ':',
  '\0',
  '\v',
  '\u00a0',
  '\ufeff',
  '//',
  'NaN',
  '1',
]
