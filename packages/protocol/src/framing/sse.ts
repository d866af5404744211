import { TextPieces } from '../pieces.ts'

/**
 * Writes one event (WHATWG HTML, section 9.2). Each line of the data gets its own field, so that
 * readers join the same text and no line becomes a field or event of its own.
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

/** A complete event of a stream. */
export interface StreamEvent {
  readonly data: string
  /** The name of the event; `message` if the stream gave no name. */
  readonly event: string
  /** The last id that the stream gave, with this event or an earlier one. */
  readonly id: string | undefined
}

/** Reads an event stream from chunks that end anywhere (WHATWG HTML, section 9.2.6). */
export class EventParser {
  readonly #maxBytes: number
  readonly #event: (event: StreamEvent) => void
  readonly #decoder = new TextDecoder()
  /** The line that is not complete. */
  readonly #rest = new TextPieces()
  #restBytes = 0
  #afterReturn = false
  #data: string | undefined
  /** The `data` fields of the current event after the first one. */
  readonly #moreData = new TextPieces()
  #name = ''
  /** Bytes of the `data` and `event` fields of the current event. */
  #bytes = 0
  #idBytes = 0
  /** The last id that the stream gave. */
  lastId: string | undefined
  /** Milliseconds that the server wants a client to wait before it reconnects. */
  retryMs: number | undefined

  /** @throws RangeError from `push` when an event is longer than `maxBytes` */
  constructor(maxBytes: number, event: (event: StreamEvent) => void) {
    this.#maxBytes = maxBytes
    this.#event = event
  }

  /** Bytes in memory: those of the incomplete event, and those of the last id. */
  get held(): number {
    return this.#restBytes + this.#bytes + this.#idBytes
  }

  push(chunk: Uint8Array): void {
    let text = this.#decoder.decode(chunk, { stream: true })
    // A line ends with CR, LF or both, and CR and LF may come in different chunks.
    if (this.#afterReturn && text.startsWith('\n')) text = text.slice(1)
    if (text !== '') this.#afterReturn = text.endsWith('\r')
    // Search the new text only: the rest has no line break, and a long line that comes in many
    // pieces would be searched again for each piece.
    const lines = text.split(/\r\n|\r|\n/)
    const last = lines.pop() ?? ''
    if (lines.length === 0) {
      this.#rest.push(last)
      this.#restBytes += chunk.length
    } else {
      lines[0] = this.#rest.take() + (lines[0] ?? '')
      this.#rest.push(last)
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
      const data = this.#data === undefined ? undefined : this.#data + this.#moreData.take()
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
      if (this.#data === undefined) this.#data = value
      else this.#moreData.push(`\n${value}`)
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
