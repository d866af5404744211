import { readObject, writeObject, type RawObject } from '@mcp-gateway/protocol'
import type { ToolParameter, ToolRequest } from '../../core/resource.ts'
import type { ValueMistake } from '../../lib/json/json-schema.ts'
import { fieldsOf, isAbsent, simpleParts, styleOf, textOf, type Pair } from './parameter-text.ts'

/** The parts of an HTTP request that the arguments of a call decide. */
export interface HttpRequest {
  readonly method: ToolRequest['method']
  /** Follows the path of the endpoint; begins with '/', or is empty. */
  readonly path: string
  /** Encoded, without '?'; empty for none. */
  readonly query: string
  /** Names and values in turn. */
  readonly headers: readonly string[]
  readonly body: string | null
}

/** The arguments cannot be sent. */
export class Unsendable extends Error {
  override readonly name = 'Unsendable'
  readonly mistakes: readonly ValueMistake[]

  constructor(mistakes: readonly ValueMistake[]) {
    super('The arguments cannot be sent.')
    this.mistakes = mistakes
  }
}

/**
 * The HTTP request of a call. No value leaves its place: not its segment of the path, not its field
 * of the query, not its header. The endpoint has a query of its own, which no argument replaces.
 * @throws Unsendable
 */
export function httpRequestOf(
  request: ToolRequest,
  argumentsText: string,
  endpoint?: string,
): HttpRequest {
  const given = readObject(argumentsText) ?? new Map<string, string>()
  const mistakes: ValueMistake[] = []
  const refuse = ({ argument }: ToolParameter, detail: string): void =>
    void mistakes.push({ pointer: `/${argument}`, detail })

  const path = pathOf(request, given, refuse)
  const fixed = fixedFields(request, endpoint)
  const query = ofPlace(request, 'query').flatMap((parameter) =>
    queryFields(parameter, given, fixed, refuse),
  )
  const headers = ofPlace(request, 'header').flatMap((parameter) =>
    headerOf(parameter, given, refuse),
  )
  const body = bodyOf(request, given)
  if (mistakes.length > 0) throw new Unsendable(mistakes)

  return {
    method: request.method,
    path,
    query: encoded(query),
    headers: [
      ...(body === null ? [] : ['content-type', body.contentType]),
      'accept',
      request.accept ?? 'application/json, */*;q=0.8',
      // Some public services refuse requests without it.
      'user-agent',
      'mcp-gateway',
      ...headers,
    ],
    body: body?.text ?? null,
  }
}

/** The path and query of a request to an endpoint, whose own query stays. */
export function placeAt(base: string, { path, query }: HttpRequest): string {
  if (path === '' && query === '') return base
  const mark = base.indexOf('?')
  const [pathname, search] = mark === -1 ? [base, ''] : [base.slice(0, mark), base.slice(mark + 1)]
  const whole = path === '' ? pathname : pathname.replace(/\/+$/, '') + path
  const fields = [search, query].filter((each) => each !== '').join('&')
  return fields === '' ? whole : `${whole}?${fields}`
}

type Refuse = (parameter: ToolParameter, detail: string) => void

function ofPlace({ parameters }: ToolRequest, place: ToolParameter['in']): ToolParameter[] {
  return parameters.filter((parameter) => parameter.in === place)
}

function pathOf(request: ToolRequest, given: RawObject, refuse: Refuse): string {
  const byName = new Map(
    ofPlace(request, 'path').map((parameter) => [parameter.name ?? parameter.argument, parameter]),
  )
  const segments = (request.path ?? '').split('/').map((segment) => {
    let last: ToolParameter | undefined
    const text = segment.replaceAll(/\{([^{}]*)\}/g, (_whole, name: string) => {
      last = byName.get(name)
      return last === undefined ? '' : pathText(last, given, refuse)
    })
    if (last !== undefined && leavesSegment(text))
      refuse(last, "must not hold '.' or '..' as a part of the path")
    return text
  })
  return segments.join('/')
}

function pathText(parameter: ToolParameter, given: RawObject, refuse: Refuse): string {
  const raw = given.get(parameter.argument)
  if (isAbsent(raw)) {
    refuse(parameter, 'is required, because it is a part of the path')
    return ''
  }

  const parts = simpleParts(raw, styleOf(parameter, 'simple').explode)
  const text = parts.map((part) => part.map(encodePart).join('=')).join(',')
  if (text === '') refuse(parameter, 'must not be empty, because it is a part of the path')
  // Control characters end lines or texts in careless servers, even where they are encoded.
  if (/%(?:[01][0-9A-F]|7F)/.test(text)) refuse(parameter, 'must not hold control characters')
  return text
}

/** True if a server that decodes a segment early could read it as a step in the tree of paths. */
function leavesSegment(segment: string): boolean {
  return segment
    .replaceAll(/%2e/gi, '.')
    .split(/[/\\]|%2f|%5c/i)
    .some((step) => step === '.' || step === '..')
}

/** Fields of the query that the members of an object must not pass for. */
function fixedFields({ parameters }: ToolRequest, endpoint: string | undefined): Set<string> {
  const names = parameters.map(({ name, argument }) => name ?? argument)
  const own = endpoint === undefined ? [] : new URL(endpoint).searchParams.keys()
  return new Set([...names, ...own])
}

function queryFields(
  parameter: ToolParameter,
  given: RawObject,
  fixed: ReadonlySet<string>,
  refuse: Refuse,
): Pair[] {
  const raw = given.get(parameter.argument)
  if (isAbsent(raw)) return []

  const name = parameter.name ?? parameter.argument
  const fields = fieldsOf(name, raw, styleOf(parameter, 'form'))
  const clash = fields.find(([field]) => field !== name && fixed.has(field))
  if (clash !== undefined)
    refuse(parameter, `must not have the member '${clash[0]}', which is another parameter`)
  return fields
}

function headerOf(parameter: ToolParameter, given: RawObject, refuse: Refuse): string[] {
  const raw = given.get(parameter.argument)
  if (isAbsent(raw)) return []

  const { style, explode } = styleOf(parameter, 'simple')
  const text =
    style === 'json'
      ? raw
      : simpleParts(raw, explode)
          .map((part) => part.join('='))
          .join(',')
  if (/^[\x20-\x7e]*$/.test(text)) return [parameter.name ?? parameter.argument, text.trim()]
  refuse(parameter, 'must be visible ASCII characters, because it is a header')
  return []
}

function bodyOf(
  { body, parameters }: ToolRequest,
  given: RawObject,
): { readonly contentType: string; readonly text: string } | null {
  if (body === undefined) return null

  const { argument, contentType, encoding = {} } = body
  const raw = argument === undefined ? restOf(given, parameters) : given.get(argument)
  if (raw === undefined) return null

  if (contentType.startsWith('text/')) return { contentType, text: textOf(raw) }
  if (contentType !== 'application/x-www-form-urlencoded') return { contentType, text: raw }

  const fields = [...(readObject(raw) ?? [])].flatMap(([name, value]) => {
    if (isAbsent(value)) return []
    // OpenAPI writes an object in a form as JSON, unless its encoding names a style.
    const named = Object.hasOwn(encoding, name) ? encoding[name] : undefined
    const style = named ?? { style: value.startsWith('{') ? ('json' as const) : undefined }
    return fieldsOf(name, value, styleOf(style, 'form'))
  })
  return { contentType, text: encoded(fields) }
}

/** The arguments that no parameter takes, as an object. */
function restOf(given: RawObject, parameters: readonly ToolParameter[]): string {
  const taken = new Set(parameters.map(({ argument }) => argument))
  return writeObject([...given].filter(([name]) => !taken.has(name)))
}

function encoded(fields: readonly Pair[]): string {
  return fields.map((field) => field.map(encodePart).join('=')).join('&')
}

/** Half a surrogate pair has no UTF-8, so it becomes U+FFFD. */
function encodePart(text: string): string {
  return encodeURIComponent(Buffer.from(text).toString())
}
