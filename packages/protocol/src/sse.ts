/**
 * One event of an event stream (WHATWG HTML, section 9.2). Data of several lines gets as many
 * fields, so that a reader joins them to the same text and no line of it becomes a field or an
 * event of its own.
 */
export function encodeEvent(id: string | undefined, data: string): string {
  return `${id === undefined ? '' : `id: ${id}\n`}${encodeData(data)}\n\n`
}

/** The `data` fields of an event, without the line break after the last one. */
export function encodeData(data: string): string {
  if (!data.includes('\n') && !data.includes('\r')) return `data: ${data}`
  return data
    .split(/\r\n|\r|\n/)
    .map((line) => `data: ${line}`)
    .join('\n')
}

/** A comment that keeps intermediaries from closing a silent stream. */
export const keepAliveComment = ': keep-alive\n\n'

/** What a stream has said when an event is complete. */
export interface StreamEvent {
  readonly data: string
  /** Its name; `message` when it has none. */
  readonly event: string
  /** The last id that the stream gave, on this event or before. */
  readonly id: string | undefined
}

/** Reads an event stream, however its bytes are cut. (WHATWG HTML, section 9.2.6) */
export class EventParser {
  readonly #maxBytes: number
  readonly #event: (event: StreamEvent) => void
  readonly #decoder = new TextDecoder()
  #rest = ''
  #restBytes = 0
  #afterReturn = false
  #data: string | undefined
  #name = ''
  /** Bytes of the fields of the event so far. */
  #bytes = 0
  #idBytes = 0
  /** The last id that the stream gave. */
  lastId: string | undefined
  /** How long the server wants a client to wait before it comes back, in milliseconds. */
  retryMs: number | undefined

  /** @throws RangeError from `push` when an event is longer than `maxBytes` */
  constructor(maxBytes: number, event: (event: StreamEvent) => void) {
    this.#maxBytes = maxBytes
    this.#event = event
  }

  /** Bytes of the event that is not whole yet, and of what stays of others. */
  get held(): number {
    return this.#restBytes + this.#bytes + this.#idBytes
  }

  push(chunk: Uint8Array): void {
    let text = this.#decoder.decode(chunk, { stream: true })
    // A line may end in CR, LF or both, and the two may come in different chunks.
    if (this.#afterReturn && text.startsWith('\n')) text = text.slice(1)
    if (text !== '') this.#afterReturn = text.endsWith('\r')
    // What was there before has no line break: only what is new is searched, or a long line in many pieces would be searched for each.
    const lines = text.split(/\r\n|\r|\n/)
    const last = lines.pop() ?? ''
    if (lines.length === 0) {
      this.#rest += last
      this.#restBytes += chunk.length
    } else {
      lines[0] = this.#rest + (lines[0] ?? '')
      this.#rest = last
      this.#restBytes = Buffer.byteLength(last)
    }
    for (const line of lines) this.#line(line)
    this.#checkBytes()
  }

  #checkBytes(): void {
    if (this.held > this.#maxBytes) throw new RangeError('An event of the stream is too long.')
  }

  #line(line: string): void {
    if (line === '') {
      const data = this.#data
      const event = this.#name === '' ? 'message' : this.#name
      this.#data = undefined
      this.#name = ''
      this.#bytes = 0
      if (data !== undefined && data !== '') this.#event({ data, event, id: this.lastId })
      return
    }
    const colon = line.indexOf(':')
    const field = colon === -1 ? line : line.slice(0, colon)
    const value = colon === -1 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1)
    if (field === 'data') {
      this.#data = this.#data === undefined ? value : `${this.#data}\n${value}`
      this.#bytes += Buffer.byteLength(value) + 1
      this.#checkBytes()
    } else if (field === 'event') {
      this.#name = value
      this.#bytes += Buffer.byteLength(value)
    } else if (field === 'id' && !value.includes('\0')) {
      this.lastId = value
      this.#idBytes = Buffer.byteLength(value)
    } else if (field === 'retry' && /^\d+$/.test(value)) this.retryMs = Number(value)
  }
}
