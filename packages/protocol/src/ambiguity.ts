import { eachMember, elements, isArray, nestsDeeper, sliceText, type Slice } from './json-slice.ts'
import { isIdValue } from './message.ts'
import { metaKey } from './modern.ts'

/**
 * Readers of JSON disagree on names that stand twice, on names that differ by case (Go's
 * `encoding/json` ignores case) and on names that libraries treat as aliases (`request_id`). Some
 * also make text of numbers (Jackson takes `"name": 1` for "1"). A decision on one reading and an act on another would let a message pass that the gateway never
 * saw. So a message that two readers could take differently is refused.
 */

/** Names on which the gateway or a server decides, by the object in which they stand. */
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

/** The names of an object: as they are, and by their folded form. */
interface Names {
  readonly exact: ReadonlySet<string>
  readonly folded: ReadonlyMap<string, string>
}
const namesOf = (names: readonly string[]): Names => ({
  exact: new Set(names),
  folded: new Map(names.map((name) => [foldedName(name), name])),
})
const known = {
  message: namesOf(messageNames),
  params: namesOf(paramsNames),
  _meta: namesOf(metaNames),
}

/** Members that say whose call is meant. */
const idNames: ReadonlySet<string> = new Set(['id', 'progressToken', 'requestId'])

/** Members whose strings decide what runs, or whose call is meant. */
const decisiveNames: ReadonlySet<string> = new Set([
  'id',
  'method',
  'name',
  'progressToken',
  'requestId',
  'uri',
])

/** Members that are text, of which the gateway decides by the text. */
const textNames: ReadonlySet<string> = new Set(['method', 'name', 'taskId', 'uri'])

/** Levels that the readers of Python and of Java still read. Deeper ones end some servers. */
const mostLevels = 1000

/**
 * Says why two readers could take a JSON-RPC message, or one of a batch, differently; undefined if
 * none could. Looks at the message, its `params` and their `_meta`; what is inside of arguments is
 * the server's affair. The bytes hold valid JSON. Costs one look at each byte and builds nothing.
 */
export function findAmbiguity(
  bytes: Uint8Array,
  within: Slice = { start: 0, end: bytes.length },
): string | undefined {
  if (nestsDeeper(bytes, within, mostLevels))
    return `The message nests deeper than ${mostLevels} levels, and some readers fail at that.`

  if (!isArray(bytes, within)) return ambiguityOfMessage(bytes, within)

  for (const element of elements(bytes, within)) {
    const found = isObject(bytes, element)
      ? ambiguityOfMessage(bytes, element)
      : 'The batch holds what is no object, and some readers take the list for one message.'
    if (found !== undefined) return found
  }
  return undefined
}

function ambiguityOfMessage(bytes: Uint8Array, message: Slice): string | undefined {
  let params: Slice | undefined
  let meta: Slice | undefined
  const inMessage = ambiguityOfObject(bytes, message, 'message', (name, value) => {
    if (name === 'params') params = value
  })
  if (inMessage !== undefined || params === undefined) return inMessage
  if (!hasNamedMembers(bytes, params)) return madeUp('params')

  const inParams = ambiguityOfObject(bytes, params, 'params', (name, value) => {
    if (name === '_meta') meta = value
  })
  if (inParams !== undefined || meta === undefined) return inParams
  if (!hasNamedMembers(bytes, meta)) return madeUp('_meta')

  return ambiguityOfObject(bytes, meta, '_meta', () => undefined)
}

function ambiguityOfObject(
  bytes: Uint8Array,
  object: Slice,
  what: keyof typeof known,
  visit: (name: string, value: Slice) => void,
): string | undefined {
  const names = new Set<string>()
  let found: string | undefined
  eachMember(bytes, object, (name, value) => {
    found = mistakeOf(name, bytes, value, names, what)
    if (found !== undefined) return true

    names.add(name)
    visit(name, value)
    return false
  })
  return found
}

function mistakeOf(
  name: string,
  bytes: Uint8Array,
  value: Slice,
  names: ReadonlySet<string>,
  what: keyof typeof known,
): string | undefined {
  if (names.has(name)) return `${placeOf(what)} has the member '${shown(name)}' twice.`

  // Nearly all names are these, and need no folding.
  const { exact, folded } = known[what]
  if (exact.has(name)) {
    if (name === '_meta' && names.has('meta'))
      return `${placeOf(what)} has a member 'meta', which some readers take for '_meta'.`
    if (textNames.has(name) && isNumberOrBoolean(bytes[value.start]))
      return `'${name}' is no string, and some readers make text of it.`
    if (decisiveNames.has(name) && hasUnsafeText(bytes, value))
      return `'${name}' holds a character that some readers cut or replace.`
    return idNames.has(name) && !holdsId(bytes, value)
      ? `'${name}' must be a string, or a number of at most 64 characters.`
      : undefined
  }

  const meant = folded.get(foldedName(name))
  if (meant !== undefined && !isHarmlessMeta(name, names))
    return `${placeOf(what)} has a member '${shown(name)}', which some readers take for '${meant}'.`
  return isUnsafe(name)
    ? `${placeOf(what)} has a name with a character that some readers cut or replace.`
    : undefined
}

function placeOf(what: keyof typeof known): string {
  return what === 'message' ? 'The message' : `'${what}'`
}

/**
 * Extensions may have a parameter `meta`. It is taken for `_meta` by some readers, which matters
 * beside the real one.
 */
function isHarmlessMeta(name: string, names: ReadonlySet<string>): boolean {
  return name === 'meta' && !names.has('_meta')
}

/** A NUL or half of a surrogate pair. They can only be written as escapes (RFC 8259 section 7). */
function hasUnsafeText(bytes: Uint8Array, value: Slice): boolean {
  if (bytes[value.start] !== quote) return false
  const raw = sliceText(bytes, value)
  if (!raw.includes(String.raw`\u`)) return false

  return isUnsafe(JSON.parse(raw) as string)
}

function holdsId(bytes: Uint8Array, value: Slice): boolean {
  if (bytes[value.start] === quote) return true

  // A few characters more than a number may have are enough to tell.
  return isIdValue(
    sliceText(bytes, { start: value.start, end: Math.min(value.end, value.start + 65) }),
  )
}

/** Jackson makes an object of text, and serde of a list. */
function madeUp(what: string): string {
  return `'${what}' is no object, and some readers make one of it.`
}

function isObject(bytes: Uint8Array, { start }: Slice): boolean {
  return bytes[start] === openBrace
}

/** Or none at all: null, or the empty list that PHP writes for an empty object. */
function hasNamedMembers(bytes: Uint8Array, value: Slice): boolean {
  if (isObject(bytes, value) || bytes[value.start] === letterN) return true
  return isArray(bytes, value) && elements(bytes, value).length === 0
}

function isNumberOrBoolean(first = 0): boolean {
  return (
    (first >= digit0 && first <= digit9) ||
    first === minus ||
    first === letterT ||
    first === letterF
  )
}

function isUnsafe(text: string): boolean {
  return text.includes('\0') || /\p{Surrogate}/u.test(text)
}

/**
 * The form in which lenient readers compare names: no case, no underscores, and four letters that
 * fold to ASCII.
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

const quote = 0x22
const openBrace = 0x7b
const minus = 0x2d
const digit0 = 0x30
const digit9 = 0x39
const letterF = 0x66
const letterN = 0x6e
const letterT = 0x74
