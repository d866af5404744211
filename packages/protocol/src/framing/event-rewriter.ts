import { Pieces } from '../pieces.ts'
import { encodeData } from './sse.ts'

/**
 * Passes an event stream on byte for byte, except events whose data changes (WHATWG HTML, section
 * 9.2.6). Holds each event until it is complete, because nothing is known of it before.
 */
export class EventRewriter {
  readonly #maxLength: number
  readonly #rewrite: (data: string) => string
  readonly #held = new Pieces()
  /** True while the current line is empty. */
  #lineEmpty = true
  /** True before the first event. Readers drop a byte order mark only there. */
  #atStart = true
  #afterReturn = false
  /** True after an empty line whose line break may have a second half. */
  #complete = false

  /**
   * `rewrite` returns the same text for an event that stays as it is.
   * @throws from `push` and `end`: its errors, and RangeError for events beyond `maxLength` bytes
   */
  constructor(maxLength: number, rewrite: (data: string) => string) {
    this.#maxLength = maxLength
    this.#rewrite = rewrite
  }

  /** Bytes of the incomplete event. */
  get held(): number {
    return this.#held.length
  }

  /** Takes bytes of the stream, and returns the bytes that can be passed on by now. */
  push(chunk: Uint8Array): Uint8Array {
    const ready: Uint8Array[] = []
    let from = 0

    for (let at = 0; at < chunk.length; at += 1) {
      const byte = chunk[at]
      const second = byte === lineFeed && this.#afterReturn
      this.#afterReturn = byte === carriageReturn
      if (second) continue
      if (this.#complete) {
        ready.push(this.#take(chunk.subarray(from, at)))
        from = at
        this.#complete = false
      }

      const breaks = byte === lineFeed || byte === carriageReturn
      if (breaks && this.#lineEmpty) this.#complete = true
      this.#lineEmpty = breaks
    }

    // Only the second half of the line break could still come. Readers do not wait for it either.
    if (this.#complete) {
      ready.push(this.#take(chunk.subarray(from)))
      this.#complete = false
    } else this.#hold(chunk.subarray(from))

    return join(ready)
  }

  /** Returns the rest of a stream that has ended. Readers should drop it, though not all do. */
  end(): Uint8Array {
    return this.#take(new Uint8Array())
  }

  #hold(bytes: Uint8Array): void {
    this.#held.push(bytes)
    if (this.#held.length > this.#maxLength)
      throw new RangeError('An event of the stream is too long.')
  }

  #take(last: Uint8Array): Uint8Array {
    this.#hold(last)
    const bytes = this.#held.take()
    const atStart = this.#atStart
    this.#atStart = false
    return rewritten(bytes, this.#rewrite, atStart)
  }
}

const lineFeed = 0x0a
const carriageReturn = 0x0d
const decoder = new TextDecoder('utf-8', { ignoreBOM: true })

function join(parts: readonly Uint8Array[]): Uint8Array {
  const [only, ...more] = parts
  return more.length === 0 ? (only ?? new Uint8Array()) : Buffer.concat(parts)
}

function rewritten(
  bytes: Uint8Array,
  rewrite: (data: string) => string,
  atStart: boolean,
): Uint8Array {
  const text = decoder.decode(bytes)
  const lines = (atStart ? text.replace(/^\ufeff/, '') : text).split(/\r\n|\r|\n/)
  const isData = (line: string): boolean => line === 'data' || line.startsWith('data:')
  const data = lines.filter((line) => isData(line))
  if (data.length === 0) return bytes
  const given = data.map((line) => line.slice(line[5] === ' ' ? 6 : 5)).join('\n')
  const changed = rewrite(given)
  if (changed === given) return bytes
  // Drop lines that begin with a byte order mark: no reader knows such a field. At the start of the
  // stream, where this line may come first, readers would drop the mark and read the field.
  const others = lines.filter((line) => !/^(\ufeff|$)/.test(line) && !isData(line))
  return Buffer.from(`${[...others, encodeData(changed)].join('\n')}\n\n`)
}
