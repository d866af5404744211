import { randomBytes } from 'node:crypto'
import type { Shares } from '@mcp-gateway/mcp-http'
import {
  readArray,
  readObject,
  readString,
  writeObject,
  type RawObject,
} from '@mcp-gateway/protocol'
import { partyOf, type Principal } from '../../core/principal.ts'
import type { TicketHolder, Tickets } from './tickets.ts'

export interface LargeResultsOptions {
  readonly tickets: Tickets
  /** The name of this process among the gateways. */
  readonly self: string
  /** Counts the bytes that are kept for each caller. */
  readonly heldBytes: Shares
}

/** Kept for so long, in milliseconds. */
const keptMs = 15 * 60_000
/** Bytes of a result that the client sees at once. */
const previewBytes = 2 * 1024
/** At least so many more bytes must be left out, because notes and addresses take room, too. */
const noteBytes = 1024
/** Bytes of one range, if the client names none. */
const rangeBytes = 32 * 1024
const scheme = 'result://'

/** A part of a kept result, or the reason why there is none. */
export type Range = { readonly text: string; readonly total: number } | { readonly missing: string }

/**
 * Keeps results of tools that are too long for their clients, in memory and for a while. The client
 * gets a beginning, and an address that only the same caller can read, in ranges.
 */
export class LargeResults implements AsyncDisposable {
  readonly #options: LargeResultsOptions
  readonly #kept = new Map<string, { readonly bytes: Buffer; readonly drop: () => void }>()

  constructor(options: LargeResultsOptions) {
    this.#options = options
  }

  /**
   * Shortens a result whose texts are longer than `most` bytes together. Structured content is never
   * changed where the tool has an outputSchema, as clients check it.
   */
  shorten(
    result: RawObject,
    most: number,
    holder: TicketHolder,
    hasOutputSchema: boolean,
  ): RawObject {
    if (hasOutputSchema && result.has('structuredContent')) return result
    const blocks = readArray(result.get('content')) ?? []
    const texts = blocks.map((block) => textOf(block))
    const bytes = Buffer.from(texts.filter((text) => text !== undefined).join('\n'))
    if (bytes.length <= most) return result

    const shown = Math.min(previewBytes, most)
    // The note and the address may be longer than the rest.
    if (bytes.length < shown + noteBytes) return result
    const uri = this.#keep(bytes, holder)
    const preview = JSON.stringify({ type: 'text', text: previewOf(bytes, shown, uri) })
    const others = blocks.filter((_, index) => texts[index] === undefined)
    const link =
      uri === undefined
        ? []
        : [JSON.stringify({ type: 'resource_link', uri, name: 'whole result', size: bytes.length })]
    const shortened = new Map(result).set('content', `[${[preview, ...link, ...others].join(',')}]`)
    shortened.delete('structuredContent')
    return shortened
  }

  /** The gateway process that keeps the result of an address; undefined for any other address. */
  ownerOf(uri: string, holder: TicketHolder): string | undefined {
    return this.#opened(uri, holder)?.owner
  }

  /** Reads a range of a kept result: `result://…?start=0&bytes=32768`. */
  read(uri: string, holder: TicketHolder): Range {
    const opened = this.#opened(uri, holder)
    const kept = opened && this.#kept.get(opened.id)
    if (opened === undefined || kept === undefined)
      return { missing: 'The result is not kept any more (15 minutes). Call the tool again.' }
    const end = opened.start + opened.bytes
    return { text: wholeCharacters(kept.bytes, opened.start, end), total: kept.bytes.length }
  }

  /** Undefined if there is no room for the result. */
  #keep(bytes: Buffer, { uid, principal }: TicketHolder): string | undefined {
    const share = this.#options.heldBytes.open(partyOf(principal))
    if (share.hold(bytes.length) !== undefined) {
      share.release()
      return undefined
    }
    const id = randomBytes(12).toString('base64url')
    const drop = (): void => {
      clearTimeout(timer)
      share.spare(undefined)
      share.release()
      this.#kept.delete(id)
    }
    const timer = setTimeout(drop, keptMs).unref()
    share.spare(drop)
    this.#kept.set(id, { bytes, drop })
    const text = JSON.stringify([this.#options.self, id])
    return scheme + this.#options.tickets.issue('result', { uid, principal }, text, keptMs)
  }

  #opened(
    uri: string,
    holder: { readonly uid: string; readonly principal: Principal },
  ): { owner: string; id: string; start: number; bytes: number } | undefined {
    if (!uri.startsWith(scheme)) return undefined
    const [ticket = '', query = ''] = uri.slice(scheme.length).split('?')
    const text = this.#options.tickets.open('result', holder, ticket.replace(/\/$/, ''))
    if (text === undefined) return undefined
    const [owner, id] = JSON.parse(text) as [string, string]
    const range = new URLSearchParams(query)
    return {
      owner,
      id,
      start: wholeNumber(range.get('start'), 0),
      bytes: Math.min(wholeNumber(range.get('bytes'), rangeBytes), rangeBytes * 8),
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { drop } of this.#kept.values()) drop()
  }
}

/** True for the address of a kept result. */
export function isResultUri(uri: string): boolean {
  return uri.startsWith(scheme)
}

function textOf(block: string): string | undefined {
  const object = readObject(block)
  return readString(object?.get('type')) === 'text' ? readString(object?.get('text')) : undefined
}

function previewOf(bytes: Buffer, shown: number, uri: string | undefined): string {
  const start = wholeCharacters(bytes, 0, shown)
  const rest =
    uri === undefined
      ? 'The rest was dropped, because your kept results take all the room that you have.'
      : `Read the rest within 15 minutes, in ranges: resources/read of ${uri}?start=${Buffer.byteLength(start)}&bytes=${rangeBytes}`
  return `${start}\n\n[This is the beginning of ${bytes.length} bytes. ${rest}]`
}

/** The text between two places in bytes, moved to where characters begin. */
function wholeCharacters(bytes: Buffer, from: number, to: number): string {
  const begins = (at: number): number => {
    let place = Math.min(at, bytes.length)
    while (place > 0 && place < bytes.length && ((bytes[place] ?? 0) & 0xc0) === 0x80) place -= 1
    return place
  }
  return bytes.toString('utf8', begins(from), begins(to))
}

function wholeNumber(text: string | null, otherwise: number): number {
  return text !== null && /^\d{1,9}$/.test(text) ? Number(text) : otherwise
}

/** A kept range as the result of `resources/read`. */
export function rangeResult(
  uri: string,
  { text, total }: Extract<Range, { text: string }>,
): RawObject {
  const content = writeObject([
    ['uri', JSON.stringify(uri)],
    ['mimeType', '"text/plain"'],
    ['text', JSON.stringify(text)],
    ['_meta', JSON.stringify({ 'mcp-gateway/totalBytes': total })],
  ])
  return new Map([
    ['contents', `[${content}]`],
    ['ttlMs', '0'],
    ['cacheScope', '"private"'],
  ])
}
