import { isUtf8 } from 'node:buffer'
import { unreadableAnswer } from '@mcp-gateway/mcp-http'
import {
  elements,
  errorAnswer,
  errorCode,
  hasJsonNumbers,
  idKey,
  outline,
  nestedEnd,
  type MessageOutline,
} from '@mcp-gateway/protocol'
import { withoutOrnaments } from './ornaments.ts'

export interface ServerLinesOptions {
  readonly message: (line: Uint8Array, message: MessageOutline) => void
  /** Called with text that is no message. */
  readonly noMessage: (line: Uint8Array) => void
  /** Milliseconds that a request stays open after an unreadable text that may be its answer. */
  readonly doubtMs?: number
}

const defaultDoubtMs = 5000
/** Bounds of one message that a server has written over several lines. */
const mostLines = 10_000
const mostBytes = 1024 * 1024
/** Number of lines after which only an unindented brace counts as the end. */
const mostTries = 64
/**
 * The most remembered questions of the server. The server may write their answers to its own log.
 */
const mostAnswered = 1000

/**
 * Reads messages among a server's lines, which include banners, logs and lookalikes. Unreadable
 * text that may answer an open request ends it with an error, unless a better answer comes soon.
 */
export class ServerLines {
  readonly #options: ServerLinesOptions
  readonly #timers = new Set<NodeJS.Timeout>()
  /** Keys of the answered questions of the server. */
  readonly #answered = new Set<string>()
  /** The beginning of a message that spans several lines. */
  #begun: Uint8Array[] = []
  #begunBytes = 0
  #ended = false

  constructor(options: ServerLinesOptions) {
    this.#options = options
  }

  line(written: Uint8Array): void {
    const line = withoutOrnaments(written)
    if (line.length === 0) return
    if (this.#reads(line)) return this.#giveUpBegun()
    if (this.#begun.length > 0) return this.#goOn(written)
    if (this.#salvages(line)) return

    this.#options.noMessage(line)
    if (line[0] === 0x7b && nestedEnd(line, 0) === undefined) this.#begin(line)
    else this.#doubt(line)
  }

  /** A line was too long to keep. `head` is its beginning. */
  tooLong(head: Uint8Array): void {
    this.#giveUpBegun()
    this.#doubt(head)
  }

  /** Records a message to the server. */
  sent(message: Uint8Array): void {
    if (bufferOf(message).includes('"method"')) return
    const { id, isResponse } = outline(message)
    if (!isResponse || id === undefined) return
    this.#answered.add(idKey(id))
    for (const oldest of this.#answered) {
      if (this.#answered.size <= mostAnswered) return
      this.#answered.delete(oldest)
    }
  }

  /** Ends the input after the last line. */
  end(): void {
    this.#giveUpBegun()
    this.#ended = true
    for (const timer of this.#timers) clearTimeout(timer)
    this.#timers.clear()
  }

  /** True if the line is a message, or a batch (2025-03-26). */
  #reads(line: Uint8Array): boolean {
    try {
      if (line[0] !== 0x5b) return this.#message(line)
      const parts = elements(line, { start: 0, end: line.length })
      return parts.map(({ start, end }) => this.#message(line.subarray(start, end))).includes(true)
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error
      return false
    }
  }

  #message(line: Uint8Array): boolean {
    // The client cannot read bytes that are not UTF-8.
    if (!isUtf8(line)) return this.#message(Buffer.from(Buffer.from(line).toString()))
    const message = outline(line)
    const { id, method, isResponse } = message
    if (message.end !== line.length || !hasJsonNumbers(bufferOf(line))) return false
    if (method === undefined && !isResponse && id === undefined) return false
    if (method !== undefined || isResponse) this.#options.message(line, message)
    else this.#empty(line, id)
    return true
  }

  /**
   * Ends the request that an object without a result names. Without `jsonrpc` the object may be a
   * log line, so the real answer gets time to come.
   */
  #empty(line: Uint8Array, id: string | undefined): void {
    const fail = (): void =>
      this.#fail(id, 'The server answered with neither a result nor an error.')
    if (isVersioned(line)) return fail()

    this.#options.noMessage(line)
    if (!this.#ended) this.#later(fail)
  }

  /** Reads messages that stand among other text. */
  #salvages(line: Uint8Array): boolean {
    let found = false
    for (const message of messagesWithin(line)) {
      const told = outline(message)
      const { id, method, isResponse } = told
      // A server that logs its input writes the client's messages, which only look like its own.
      const isEcho = isResponse
        ? id === undefined || id === 'null' || this.#answered.has(idKey(id))
        : !methodsOfServers.has(method ?? '')
      if (isEcho) continue
      found = true
      this.#options.message(message, told)
    }
    return found
  }

  #begin(line: Uint8Array): void {
    const begun = [line]
    this.#begun = begun
    this.#begunBytes = line.length
    this.#later(() => (this.#begun === begun ? this.#giveUpBegun() : undefined))
  }

  #goOn(line: Uint8Array): void {
    this.#begun.push(line)
    this.#begunBytes += line.length
    const mayEnd = this.#begun.length > mostTries ? line[0] === 0x7d : line.includes(0x7d)
    const text = mayEnd ? withoutOrnaments(joined(this.#begun)) : undefined
    if (text !== undefined && isJson(text) && this.#reads(text)) this.#begun = []
    else if (this.#begun.length > mostLines || this.#begunBytes > mostBytes) this.#giveUpBegun()
  }

  #giveUpBegun(): void {
    if (this.#begun.length === 0) return
    const text = joined(this.#begun)
    this.#begun = []
    this.#doubt(text)
  }

  /** Ends the request that unreadable text seems to answer, unless a better answer comes soon. */
  #doubt(text: Uint8Array): void {
    const claim = claimedAnswer(text)
    if (claim === undefined || this.#ended) return
    const fail = (): void => this.#fail(claim.id, unreadableAnswer)
    // Without an id, the answer is for the request that is open now.
    if (claim.id === undefined) fail()
    else this.#later(fail)
  }

  #fail(id: string | undefined, reason: string): void {
    const told = Buffer.from(errorAnswer(id, errorCode.internal, reason))
    this.#options.message(told, outline(told))
  }

  #later(callback: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      callback()
    }, this.#options.doubtMs ?? defaultDoubtMs).unref()
    this.#timers.add(timer)
  }
}

/** Methods that no client sends. */
const methodsOfServers: ReadonlySet<string> = new Set([
  'sampling/createMessage',
  'elicitation/create',
  'roots/list',
  'notifications/message',
  'notifications/tools/list_changed',
  'notifications/prompts/list_changed',
  'notifications/resources/list_changed',
  'notifications/resources/updated',
  'notifications/elicitation/complete',
])

/** The most places in one line that are checked for the beginning of a message. */
const mostBeginnings = 16
const beginning = /\{\s*"(?:jsonrpc|id|result|error|method|params)"\s*:/g

/** The JSON-RPC messages in a line that also holds other text. */
function messagesWithin(line: Uint8Array): Uint8Array[] {
  const found: Uint8Array[] = []
  const text = latin1(line)
  beginning.lastIndex = 0
  for (let tries = 0; tries < mostBeginnings; tries += 1) {
    const at = beginning.exec(text)?.index
    if (at === undefined) return found
    const end = nestedEnd(line, at)
    const part = line.subarray(at, end)
    if (end === undefined || !isVersioned(part)) continue
    found.push(part)
    beginning.lastIndex = end
  }
  return found
}

function isJson(bytes: Uint8Array): boolean {
  try {
    JSON.parse(bufferOf(bytes).toString())
    return true
  } catch {
    return false
  }
}

function isVersioned(part: Uint8Array): boolean {
  try {
    const { jsonrpc } = JSON.parse(Buffer.from(part).toString()) as { jsonrpc?: unknown }
    return jsonrpc === '2.0'
  } catch {
    return false
  }
}

const id = String.raw`"id"\s*:\s*("[^"\\\x00-\x1f]{0,200}"|-?\d{1,20})`
const idFirst = new RegExp(id)
const idLast = new RegExp(String.raw`${id}\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}?\s*$`)
const decisive = /"(?:result|error|method)"\s*:/

/**
 * The raw id that unreadable text would answer, or undefined if the text looks like no answer. Only
 * members outside of the result count, because results have ids of their own.
 */
function claimedAnswer(text: Uint8Array): { readonly id: string | undefined } | undefined {
  const head = latin1(text.subarray(0, 4096))
  const place = decisive.exec(head)
  if (place === null || place[0].startsWith('"method"')) return undefined
  const tail = latin1(text.subarray(-256))
  const before = head.slice(0, place.index)
  const named = idFirst.exec(before)?.[1] ?? idLast.exec(tail)?.[1]
  if (named === undefined && !/"jsonrpc"/.test(head)) return undefined
  return { id: named }
}

function joined(lines: readonly Uint8Array[]): Buffer {
  return Buffer.concat(lines.flatMap((line) => [line, Buffer.from('\n')])).subarray(0, -1)
}

/** One character for each byte, so that positions in the text are positions in the bytes. */
function latin1(bytes: Uint8Array): string {
  return bufferOf(bytes).toString('latin1')
}

function bufferOf({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength)
}
