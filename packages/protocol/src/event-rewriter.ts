import { encodeData } from './sse.ts'

/**
 * Passes an event stream on byte for byte, but for events whose data is to be another. (WHATWG HTML, section 9.2.6) An event is held
 * until it is whole, as nothing is known of it before.
 */
export class EventRewriter {
  readonly #maxLength: number
  readonly #rewrite: (data: string) => string
  #held: Uint8Array[] = []
  #length = 0
  /** Whether the line that goes on is empty so far. */
  #lineEmpty = true
  /** Nothing was taken yet: readers drop a byte order mark here alone. */
  #atStart = true
  #afterReturn = false
  /** A line break after an empty line may have a second half. */
  #complete = false

  /** `rewrite` gives the very text back that it got where the event is to stay as it is. @throws from `push` and `end` what it throws, and RangeError when an event is longer than `maxLength` bytes */
  constructor(maxLength: number, rewrite: (data: string) => string) {
    this.#maxLength = maxLength
    this.#rewrite = rewrite
  }

  /** Bytes of the event that is not whole yet. */
  get held(): number {
    return this.#length
  }

  /** The bytes that can be passed on by now. */
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
    // What could come is the second half of its line break, which readers do not wait for either.
    if (this.#complete) {
      ready.push(this.#take(chunk.subarray(from)))
      this.#complete = false
    } else this.#hold(chunk.subarray(from))
    return join(ready)
  }

  /** What is left of a stream that has ended. Readers are to drop it, though not all do. */
  end(): Uint8Array {
    return this.#take(new Uint8Array())
  }

  #hold(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    this.#length += bytes.length
    if (this.#length > this.#maxLength) throw new RangeError('An event of the stream is too long.')
    this.#held.push(bytes)
  }

  #take(last: Uint8Array): Uint8Array {
    this.#hold(last)
    const bytes = join(this.#held)
    this.#held = []
    this.#length = 0
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
  // No reader knows a field that begins with a byte order mark, except at the start of the stream,
  // where the mark is dropped and this line may come first.
  const others = lines.filter((line) => !/^(\ufeff|$)/.test(line) && !isData(line))
  return Buffer.from(`${[...others, encodeData(changed)].join('\n')}\n\n`)
}
