import {
  EventParser,
  isCostly,
  LineFramer,
  Pieces,
  readArray,
  readObject,
  readString,
  type RawObject,
} from '@mcp-gateway/protocol'
import { defined } from '../lib/defined.ts'
import { whyUnchecked, type Unchecked } from '../lib/json/schema-checks.ts'
import { failure, type FailureCode } from './failure.ts'
import type { OutputCheck } from './registered-tools.ts'
import type { CallResult, Progress } from './source.ts'

/** The parts of an HTTP answer that `readAnswer` needs. */
export interface HttpAnswer {
  readonly status: number
  /** The header as it came, or undefined. */
  readonly contentType: string | undefined
  readonly body: AsyncIterable<Buffer>
}

export interface ReadingOptions {
  readonly limitBytes: number
  /** Receives the number of held bytes. @throws GatewayError if there is no room for them */
  readonly hold: (bytes: number) => void
  readonly output: OutputCheck
  /** Address of the answer if it becomes an embedded resource. */
  readonly resourceUri: string
  readonly progress: ((progress: Progress) => void) | undefined
}

/** The limits on the bytes of an answer. */
type Held = Pick<ReadingOptions, 'limitBytes' | 'hold'>

/** The body was longer than allowed. */
export class AnswerTooLong extends Error {
  override readonly name = 'AnswerTooLong'
}

/** The check of the answer against the outputSchema came to no verdict. */
export class AnswerUnchecked extends Error {
  override readonly name = 'AnswerUnchecked'
  readonly code: Unchecked['code']

  constructor(code: Unchecked['code'], message: string) {
    super(message)
    this.code = code
  }
}

/**
 * Reads a successful answer of a tool by its content type.
 * @throws AnswerTooLong, AnswerUnchecked, and any error of the body
 */
export async function readAnswer(answer: HttpAnswer, options: ReadingOptions): Promise<CallResult> {
  const { type, charset } = parseType(answer.contentType)
  if (type === 'text/event-stream') return fromStream(readEvents(answer.body, options), options)
  if (/^application\/(x-ndjson|ndjson|jsonl|x-jsonlines|json-seq)$/.test(type))
    return fromStream(readLines(answer.body, options), options)

  const bytes = await readWhole(answer.body, options)
  if (/^(application|text)\/([\w.-]+\+)?json$/.test(type))
    return fromJson(bytes.toString(), options)
  if (options.output !== undefined)
    return wrongAnswer(
      'wrong_content_type',
      'The tool declares an outputSchema, but ' +
        `${type === '' ? 'its answer has no content type' : `answered ${type}`} instead of JSON.`,
    )

  if (bytes.length === 0) return new Map([['content', '[]']])
  if (type === '' || isText.test(type)) {
    const text = decode(bytes, charset, type !== '')
    if (text !== undefined) return block({ type: 'text', text })
  }

  const media = /^(image|audio)\//.exec(type)?.[1]
  if (media !== undefined)
    return block({ type: media, data: bytes.toString('base64'), mimeType: type })

  const mimeType = type === '' ? 'application/octet-stream' : type
  return block({
    type: 'resource',
    resource: { uri: options.resourceUri, mimeType, blob: bytes.toString('base64') },
  })
}

const textTypes = 'x-yaml|javascript|ecmascript|x-www-form-urlencoded|sql|graphql|toml|x-sh'
const isText = new RegExp(String.raw`^(text/.*|application/(([\w.-]+\+)?(xml|yaml)|${textTypes}))$`)

function block(content: object): CallResult {
  return new Map([['content', JSON.stringify([content])]])
}

function wrongAnswer(
  code: FailureCode,
  text: string,
  details?: Readonly<Record<string, unknown>>,
): CallResult {
  return failure({ code, text, retry: 'no', ...defined({ details }) })
}

/** Type and subtype in lower case (empty if missing or malformed), and the charset. */
export function parseType(header: string | undefined): {
  readonly type: string
  readonly charset: string
} {
  const [first = '', ...parameters] = (header ?? '').split(';')
  const type = first.trim().toLowerCase()
  const charset = parameters
    .map((each) => /^\s*charset\s*=\s*"?([\w.:-]+)"?\s*$/i.exec(each)?.[1])
    .find((each) => each !== undefined)
  return { type: /^[\w.+-]+\/[\w.+-]+$/.test(type) ? type : '', charset: charset ?? 'utf-8' }
}

/** The text of the bytes. Undefined if the tool named no type and the bytes are no text. */
function decode(bytes: Buffer, charset: string, saysText: boolean): string | undefined {
  let decoder: InstanceType<typeof TextDecoder>
  try {
    decoder = new TextDecoder(charset, { fatal: !saysText })
  } catch {
    decoder = new TextDecoder()
  }
  try {
    return decoder.decode(bytes)
  } catch {
    return undefined
  }
}

async function readWhole(body: AsyncIterable<Buffer>, { limitBytes, hold }: Held): Promise<Buffer> {
  const pieces = new Pieces()
  for await (const chunk of body) {
    pieces.push(chunk)
    if (pieces.length > limitBytes) throw new AnswerTooLong()
    hold(pieces.length)
  }
  return pieces.take()
}

async function fromJson(text: string, { output }: ReadingOptions): Promise<CallResult> {
  if (isCostly(text)) throw new AnswerTooLong()
  try {
    JSON.parse(text)
  } catch (error) {
    return wrongAnswer(
      'malformed_json',
      `The tool answered JSON that is malformed: ${(error as Error).message.slice(0, 200)}`,
    )
  }

  // Valid JSON has line breaks outside of strings only (RFC 8259 section 7), and messages are one
  // line.
  const raw = text.replace(/[\r\n]+/g, ' ').trim()
  const ready = asCallResult(raw)
  const structured = ready === undefined ? raw : ready.get('structuredContent')

  if (output !== undefined && ready?.get('isError') !== 'true') {
    if (structured === undefined)
      return wrongAnswer(
        'no_structured_content',
        'The tool declares an outputSchema, but answered no structured content.',
      )

    const mistakes = await output(structured)
    const unchecked = whyUnchecked(mistakes)
    if (unchecked !== undefined)
      throw new AnswerUnchecked(unchecked.code, `The tool's answer ${unchecked.detail}.`)
    if (mistakes.length > 0) {
      const lines = mistakes.map(({ pointer, detail }) => `- answer${pointer}: ${detail}`)
      return wrongAnswer(
        'output_mismatch',
        ["The tool's answer does not fit its outputSchema.", ...lines].join('\n'),
        { errors: mistakes.map(({ pointer, detail }) => ({ pointer, detail })) },
      )
    }
  }

  if (ready !== undefined) return ready
  return new Map([
    ['content', JSON.stringify([{ type: 'text', text }])],
    ['structuredContent', raw],
  ])
}

const resultMembers = new Set(['content', 'structuredContent', 'isError', '_meta', 'resultType'])

/**
 * The members of an answer that is itself an MCP CallToolResult, with no other members and with
 * known kinds of content only.
 */
function asCallResult(raw: string): RawObject | undefined {
  if (!raw.startsWith('{') || !raw.includes('"content"')) return undefined
  let members: RawObject | undefined
  try {
    members = readObject(raw)
  } catch {
    // A repeated name: no careful server sends such a result.
    return undefined
  }
  if (members === undefined || ![...members.keys()].every((name) => resultMembers.has(name)))
    return undefined
  const content = readArray(members.get('content'))
  if (content?.every(isContent) !== true) return undefined
  const { isError, type } = { isError: members.get('isError'), type: members.get('resultType') }
  if (isError !== undefined && isError !== 'true' && isError !== 'false') return undefined
  if (type !== undefined && type !== '"complete"') return undefined
  const meta = members.get('_meta')
  return meta !== undefined && !meta.startsWith('{') ? undefined : members
}

function isContent(raw: string): boolean {
  let block: RawObject | undefined
  try {
    block = readObject(raw)
  } catch {
    return false
  }

  const text = (name: string): boolean => block?.get(name)?.startsWith('"') === true
  const type = readString(block?.get('type')) ?? ''
  switch (type) {
    case 'text':
      return text('text')
    case 'image':
    case 'audio':
      return text('data') && text('mimeType')
    case 'resource':
      return block?.get('resource')?.startsWith('{') === true
    case 'resource_link':
      return text('uri') && text('name')
    default:
      return false
  }
}

/** Reports every item but the last as progress. The last item is the answer. */
async function fromStream(
  items: AsyncIterable<string>,
  options: ReadingOptions,
): Promise<CallResult> {
  let count = 0
  let held: string | undefined

  const report = (text: string): void => {
    count += 1
    options.progress?.(progressOf(text, count))
  }

  for await (const item of items) {
    if (held !== undefined) report(held)
    held = item
  }

  if (held === undefined || saysProgress(held)) {
    return wrongAnswer(
      'no_answer',
      'The tool reported progress, but ended its stream without an answer.',
    )
  }
  if (isJson(held)) return fromJson(held, options)
  if (options.output !== undefined)
    return wrongAnswer(
      'malformed_json',
      'The tool declares an outputSchema, but its stream ended with text that is no JSON.',
    )

  return block({ type: 'text', text: held })
}

/** @throws AnswerTooLong if the text takes too long to read */
function isJson(text: string): boolean {
  if (isCostly(text)) throw new AnswerTooLong()
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

function saysProgress(text: string): boolean {
  const value = isJson(text) ? (JSON.parse(text) as unknown) : undefined
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof (value as Progress).progress === 'number' &&
    !('content' in value)
  )
}

function progressOf(text: string, count: number): Progress {
  if (!saysProgress(text)) return { progress: count, message: text.slice(0, 1000) }
  const { progress, total, message } = JSON.parse(text) as Record<string, unknown>
  return {
    progress: progress as number,
    ...(typeof total === 'number' ? { total } : {}),
    ...(typeof message === 'string' ? { message: message.slice(0, 1000) } : {}),
  }
}

async function* readEvents(
  body: AsyncIterable<Buffer>,
  { limitBytes, hold }: Held,
): AsyncIterable<string> {
  let ready: string[] = []
  const parser = new EventParser(limitBytes, ({ data }) => void ready.push(data))
  for await (const chunk of body) {
    try {
      parser.push(chunk)
    } catch (error) {
      if (error instanceof RangeError) throw new AnswerTooLong()
      throw error
    }
    hold(parser.held)
    const items = ready
    ready = []
    yield* items
  }
}

async function* readLines(
  body: AsyncIterable<Buffer>,
  { limitBytes, hold }: Held,
): AsyncIterable<string> {
  let ready: string[] = []
  let tooLong = false
  const framer = new LineFramer(limitBytes, {
    // RFC 7464 puts a record separator before each text.
    line: (line) =>
      void ready.push(
        Buffer.from(line)
          .toString()
          .replace(/^\p{Cc}/u, '')
          .trim(),
      ),
    tooLong: () => (tooLong = true),
  })

  for await (const chunk of body) {
    framer.push(chunk)
    if (tooLong) throw new AnswerTooLong()

    hold(framer.held)
    const items = ready
    ready = []
    for (const item of items) if (item !== '') yield item
  }

  framer.end()
  for (const item of ready) if (item !== '') yield item
}
