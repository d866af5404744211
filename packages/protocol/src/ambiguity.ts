import { isIdValue } from './message.ts'
import { metaKey } from './modern.ts'

/**
 * Refuses messages that readers take differently: a server could run what the gateway never judged.
 * Readers differ on repeated names, case, aliases (`request_id`) and numbers in place of text.
 */

/** Names on which the gateway or a server bases a decision, for each object that holds them. */
const messageNames = ['jsonrpc', 'id', 'method', 'params', 'result', 'error']
const paramsNames = [
  '_meta',
  'arguments',
  'cursor',
  'inputResponses',
  'level',
  'name',
  'progressToken',
  'protocolVersion',
  'requestId',
  'requestState',
  'taskId',
  'uri',
]
const metaNames = ['progressToken', ...Object.values(metaKey)]

/** Members that identify a call. */
const idNames: ReadonlySet<string> = new Set(['id', 'progressToken', 'requestId'])

/** Members whose strings decide what runs, or identify a call. */
const decisiveNames: ReadonlySet<string> = new Set([
  'id',
  'method',
  'name',
  'progressToken',
  'requestId',
  'taskId',
  'uri',
])

/**
 * Members whose text decides. Some readers make text of numbers: Jackson takes `"name": 1` for "1".
 */
const textNames: ReadonlySet<string> = new Set(['method', 'name', 'taskId', 'uri'])

/** A name that decides something, and the rules for its value. */
interface KnownName {
  /** Tells the names of one object apart. */
  readonly bit: number
  readonly isText: boolean
  readonly isDecisive: boolean
  readonly isId: boolean
}

/** The known names of an object, in their exact and in their folded form. */
interface Names {
  readonly place: string
  readonly exact: ReadonlyMap<string, KnownName>
  readonly folded: ReadonlyMap<string, string>
  /** The member that holds another object with known names. */
  readonly inner: { readonly name: string; readonly names: Names } | undefined
}

function namesOf(place: string, names: readonly string[], inner?: Names['inner']): Names {
  const exact = names.map((name, index): [string, KnownName] => [
    name,
    {
      bit: 1 << index,
      isText: textNames.has(name),
      isDecisive: decisiveNames.has(name),
      isId: idNames.has(name),
    },
  ])
  return {
    place,
    exact: new Map(exact),
    folded: new Map(names.map((name) => [foldedName(name), name])),
    inner,
  }
}

const ofMeta = namesOf("'_meta'", metaNames)
const ofParams = namesOf("'params'", paramsNames, { name: '_meta', names: ofMeta })
const ofMessage = namesOf('The message', messageNames, { name: 'params', names: ofParams })

/** Most levels that readers of Python and Java can read. Deeper nesting ends some servers. */
const mostLevels = 1000

/** The reason to refuse a text. */
export interface Refusal {
  readonly reason: 'syntax' | 'parts' | 'ambiguous'
  readonly detail: string
}

/**
 * Says why a JSON-RPC message or batch must be refused; undefined if all readers take it alike. One
 * pass that builds no values, and checks the names of the message, `params` and `_meta` only.
 * @param mostParts most objects, arrays and members that the text may hold
 */
export function refusalOf(text: string, mostParts: number): Refusal | undefined {
  const reader = new Reader(text, mostParts)
  try {
    reader.readAll()
  } catch (refusal) {
    if (!(refusal instanceof Refused)) throw refusal
    return refusal
  }
  return reader.ambiguity === undefined
    ? undefined
    : { reason: 'ambiguous', detail: reader.ambiguity }
}

/** Says why two readers could take a message of valid JSON differently; undefined if none could. */
export function findAmbiguity(bytes: Uint8Array): string | undefined {
  const { buffer, byteOffset, byteLength } = bytes
  const text = Buffer.from(buffer, byteOffset, byteLength).toString()
  const refusal = refusalOf(text, Number.POSITIVE_INFINITY)
  return refusal?.detail
}

/** Ends the reading. Not an Error, because nobody needs its stack. */
class Refused implements Refusal {
  readonly reason: 'syntax' | 'parts'
  readonly detail: string

  constructor(reason: 'syntax' | 'parts', detail: string) {
    this.reason = reason
    this.detail = detail
  }
}

/** Reads one text. Stops at the first mistake of JSON, and notes the first ambiguity. */
class Reader {
  ambiguity: string | undefined
  readonly #text: string
  readonly #mostParts: number
  #at = 0
  #parts = 0
  /** True if the last string has an escape sequence. */
  #escaped = false
  #depth = 0

  constructor(text: string, mostParts: number) {
    this.#text = text
    this.#mostParts = mostParts
  }

  readAll(): void {
    const first = this.#skipSpace()
    if (first === openBracket) this.#readBatch()
    else if (first === openBrace) this.#readObject(ofMessage)
    else this.#readValue()

    this.#skipSpace()
    if (this.#at < this.#text.length) this.#fail()
  }

  #readBatch(): void {
    this.#enter()
    if (this.#skipSpace() === closeBracket) return this.#leave()

    for (;;) {
      if (this.#skipSpace() === openBrace) this.#readObject(ofMessage)
      else {
        this.#note(
          'The batch holds what is no object, and some readers take the list for one message.',
        )
        this.#readValue()
      }
      const next = this.#skipSpace()
      if (next === closeBracket) return this.#leave()
      if (next !== comma) this.#fail()
      this.#at += 1
    }
  }

  /** Reads an object with known names. */
  #readObject(names: Names): void {
    this.#enter()
    if (this.#skipSpace() === closeBrace) return this.#leave()

    let known = 0
    let others: Set<string> | undefined

    for (;;) {
      if (this.#skipSpace() !== quote) this.#fail()
      const name = this.#readName()
      const rules = names.exact.get(name)
      if (rules === undefined) {
        others ??= new Set()
        if (others.has(name)) this.#note(twice(names, name))
        others.add(name)
        this.#checkOther(name, names, known)
      } else {
        if ((known & rules.bit) !== 0) this.#note(twice(names, name))
        known |= rules.bit
        if (name === '_meta' && others?.has('meta') === true)
          this.#note(aliasOf(names, 'meta', name))
      }

      if (this.#skipSpace() !== colon) this.#fail()
      this.#countPart()
      this.#at += 1
      this.#skipSpace()
      if (names.inner?.name === name) this.#readInner(name, names.inner.names)
      else if (rules === undefined) this.#readValue()
      else this.#readRuled(name, rules)

      const next = this.#skipSpace()
      if (next === closeBrace) return this.#leave()
      if (next !== comma) this.#fail()
      this.#at += 1
    }
  }

  /**
   * Reads `params` or `_meta`: an object, null, or the empty list that PHP writes for an object.
   */
  #readInner(name: string, names: Names): void {
    const start = this.#at
    const first = this.#text.charCodeAt(start)
    if (first === openBrace) return this.#readObject(names)

    this.#readValue()
    const isEmptyList = first === openBracket && /^\[\s*\]$/.test(this.#text.slice(start, this.#at))
    // Jackson makes an object of text, and serde makes one of a list.
    if (first !== letterN && !isEmptyList)
      this.#note(`'${name}' is no object, and some readers make one of it.`)
  }

  /** Reads a value on which the gateway or a server bases a decision. */
  #readRuled(name: string, { isText, isDecisive, isId }: KnownName): void {
    const start = this.#at
    const first = this.#text.charCodeAt(start)
    this.#escaped = false
    this.#readValue()
    if (isText && isNumberOrBoolean(first))
      this.#note(`'${name}' is no string, and some readers make text of it.`)
    if (isDecisive && first === quote && this.#escaped && isUnsafe(this.#parsed(start)))
      this.#note(`'${name}' holds a character that some readers cut or replace.`)
    // One character more than a number may have (64) is enough to tell.
    if (
      isId &&
      first !== quote &&
      !isIdValue(this.#text.slice(start, Math.min(this.#at, start + 65)))
    )
      this.#note(`'${name}' must be a string, or a number of at most 64 characters.`)
  }

  /** Notes an unknown name that some reader takes for a known name, or cuts or replaces. */
  #checkOther(name: string, names: Names, known: number): void {
    const meant = names.folded.get(foldedName(name))
    // Extensions may have a parameter `meta`. It is ambiguous only beside `_meta`.
    const isHarmless = name === 'meta' && (known & (names.exact.get('_meta')?.bit ?? 0)) === 0
    if (meant !== undefined && !isHarmless) this.#note(aliasOf(names, name, meant))
    if (isUnsafe(name))
      this.#note(`${names.place} has a name with a character that some readers cut or replace.`)
  }

  /** Reads any value. Walks lists and objects inside it without recursion. */
  #readValue(): void {
    const base = this.#depth
    /** For each level deeper than `base`: true for an object, false for a list. */
    const objects: boolean[] = []

    for (;;) {
      const code = this.#skipSpace()
      if (code === openBrace || code === openBracket) {
        this.#enter()
        const isObject = code === openBrace
        if (this.#skipSpace() !== (isObject ? closeBrace : closeBracket)) {
          objects.push(isObject)
          if (isObject) this.#readMemberName()
          continue
        }

        this.#leave()
      } else if (code === quote) this.#skipString()
      else this.#readScalar(code)

      // The value is complete. Close the levels that end with it.
      for (;;) {
        if (this.#depth === base) return
        const isObject = objects.at(-1) as boolean
        const next = this.#skipSpace()
        if (next === comma) {
          this.#at += 1
          if (isObject) this.#readMemberName()
          break
        }

        if (next !== (isObject ? closeBrace : closeBracket)) this.#fail()
        objects.pop()
        this.#leave()
      }
    }
  }

  #readMemberName(): void {
    if (this.#skipSpace() !== quote) this.#fail()
    this.#skipString()
    if (this.#skipSpace() !== colon) this.#fail()
    this.#countPart()
    this.#at += 1
  }

  #readName(): string {
    const start = this.#at
    this.#escaped = false
    this.#skipString()
    return this.#escaped ? this.#parsed(start) : this.#text.slice(start + 1, this.#at - 1)
  }

  #skipString(): void {
    const text = this.#text
    let at = this.#at + 1
    let soon = at + aFew
    for (;;) {
      if (at >= soon) {
        at = plainEnd(text, at)
        soon = at + aFew
      }
      const code = text.charCodeAt(at)
      if (code === quote) break
      if (code === backslash) {
        this.#escaped = true
        at += this.#escapeLength(at)
      } else if (code >= space) at += 1
      // A control character, or NaN at the end of the text.
      else this.#failAt(at)
    }
    this.#at = at + 1
  }

  #escapeLength(at: number): number {
    const text = this.#text
    const code = text.charCodeAt(at + 1)
    if (code !== letterU) {
      if (!isSimpleEscape(code)) this.#failAt(at + 1)
      return 2
    }
    for (let place = at + 2; place < at + 6; place += 1)
      if (!isHex(text.charCodeAt(place))) this.#failAt(place)
    return 6
  }

  #readScalar(first: number): void {
    if (first === letterT) return this.#readWord('true')
    if (first === letterF) return this.#readWord('false')
    if (first === letterN) return this.#readWord('null')

    const text = this.#text
    let at = this.#at
    if (first === minus) at += 1
    if (text.charCodeAt(at) === digit0) at += 1
    else at = this.#digits(at)
    if (text.charCodeAt(at) === point) at = this.#digits(at + 1)
    const exponent = text.charCodeAt(at) | lowerCase
    if (exponent === letterE) {
      const sign = text.charCodeAt(at + 1)
      at = this.#digits(sign === plus || sign === minus ? at + 2 : at + 1)
    }
    this.#at = at
  }

  /** The place after the digits at `from`. Fails if there are none. */
  #digits(from: number): number {
    let at = from
    while (isDigit(this.#text.charCodeAt(at))) at += 1
    if (at === from) this.#failAt(at)
    return at
  }

  #readWord(word: string): void {
    if (!this.#text.startsWith(word, this.#at)) this.#fail()
    this.#at += word.length
  }

  /** The character after white space; NaN at the end of the text. */
  #skipSpace(): number {
    const text = this.#text
    let at = this.#at
    let code = text.charCodeAt(at)
    while (code === space || code === lineFeed || code === carriageReturn || code === tab)
      code = text.charCodeAt((at += 1))
    this.#at = at
    return code
  }

  #enter(): void {
    this.#countPart()
    this.#at += 1
    this.#depth += 1
    if (this.#depth > mostLevels)
      this.#note(
        `The message nests deeper than ${mostLevels} levels, and some readers fail at that.`,
      )
  }

  #leave(): void {
    this.#at += 1
    this.#depth -= 1
  }

  #countPart(): void {
    this.#parts += 1
    if (this.#parts > this.#mostParts)
      throw new Refused(
        'parts',
        `The body holds more than ${this.#mostParts} objects, arrays and members. ` +
          'Send less at once.',
      )
  }

  #note(ambiguity: string): void {
    this.ambiguity ??= ambiguity
  }

  #parsed(start: number): string {
    return JSON.parse(this.#text.slice(start, this.#at)) as string
  }

  #fail(): never {
    this.#failAt(this.#at)
  }

  #failAt(at: number): never {
    const where =
      at >= this.#text.length
        ? 'It ends too early.'
        : `There is an unexpected character at position ${at}.`
    throw new Refused('syntax', `The body is not valid JSON. ${where}`)
  }
}

/** Up to this many characters, a loop is faster than a regular expression. */
const aFew = 32
// oxlint-disable-next-line no-control-regex -- they must not stand in a string (RFC 8259)
const plain = /[^"\\\u0000-\u001f]*/y

/** The place after the characters that need no escape in a string. */
function plainEnd(text: string, from: number): number {
  plain.lastIndex = from
  plain.test(text)
  return plain.lastIndex
}

function twice({ place }: Names, name: string): string {
  return `${place} has the member '${shown(name)}' twice.`
}

function aliasOf({ place }: Names, name: string, meant: string): string {
  return `${place} has a member '${shown(name)}', which some readers take for '${meant}'.`
}

function isNumberOrBoolean(first: number): boolean {
  return isDigit(first) || first === minus || first === letterT || first === letterF
}

function isDigit(code: number): boolean {
  return code >= digit0 && code <= digit9
}

function isHex(code: number): boolean {
  const lower = code | lowerCase
  return isDigit(code) || (lower >= letterA && lower <= letterF)
}

/** Tells whether one of `"\/bfnrt` follows a backslash (RFC 8259 section 7). */
function isSimpleEscape(code: number): boolean {
  return code === quote || code === backslash || simpleEscapes.includes(code)
}

/**
 * Finds NUL or half of a surrogate pair, which JSON can only write as escapes (RFC 8259 section 7).
 */
function isUnsafe(text: string): boolean {
  return text.includes('\0') || /\p{Surrogate}/u.test(text)
}

/**
 * The form in which lenient readers compare names (Go's `encoding/json` ignores case): no case, no
 * underscores, and four letters that fold to ASCII.
 */
function foldedName(name: string): string {
  return name
    .toLowerCase()
    .replaceAll('_', '')
    .replaceAll('\u017f', 's')
    .replaceAll(/\u0131|i\u0307/g, 'i')
}

function shown(name: string): string {
  return name.slice(0, 100)
}

const tab = 0x09
const lineFeed = 0x0a
const carriageReturn = 0x0d
const space = 0x20
const quote = 0x22
const plus = 0x2b
const comma = 0x2c
const minus = 0x2d
const point = 0x2e
const digit0 = 0x30
const digit9 = 0x39
const colon = 0x3a
const openBracket = 0x5b
const backslash = 0x5c
const closeBracket = 0x5d
const letterA = 0x61
const letterE = 0x65
const letterF = 0x66
const letterN = 0x6e
const letterT = 0x74
const letterU = 0x75
const openBrace = 0x7b
const closeBrace = 0x7d
/** The bit that makes a capital letter small. */
const lowerCase = 0x20
const simpleEscapes: Uint8Array = Buffer.from('/bfnrt')
