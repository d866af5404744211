import { EventParser, isCostly, Pieces, readArray } from '@mcp-gateway/protocol'
import type { HttpAnswer, HttpFailure } from './http-upstream.ts'

export interface MessageListener {
  head?(status: number, header: (name: string) => string | undefined): void
  message(text: string): void
  /** `lastId` and `retryMs` are those of an event stream, which the listener may resume. */
  end(end: {
    readonly status: number
    readonly failure?: HttpFailure
    readonly lastId?: string
    readonly retryMs?: number
  }): void
}

export const unreadableAnswer = 'The server wrote an answer that is no JSON.'

/** True for unreadable text that the server meant as an answer. */
export function looksLikeAnswer(text: string): boolean {
  return /"(?:result|error)"\s*:/.test(text)
}

const longest = 64 * 1024 * 1024

/** Reads the JSON-RPC messages of an HTTP answer: one JSON body, or the events of a stream. */
export function readMessages(listener: MessageListener, abort: () => void): HttpAnswer {
  let status = 0
  let events: EventParser | undefined
  const pieces = new Pieces()

  const fail = (message: string): void => {
    abort()
    listener.end({ status, failure: { message, unsent: false } })
  }

  const tooLong = (): void => fail('The answer of the server is too long.')

  const give = (text: string): void => {
    if (isCostly(text)) throw new RangeError('The message takes too long to read.')
    listener.message(text)
  }

  return {
    head(code, header) {
      status = code
      listener.head?.(code, header)
      const coding = header('content-encoding')?.toLowerCase() ?? 'identity'
      if (coding !== 'identity') return fail(compressed(coding))

      if (/^text\/event-stream\b/i.test(header('content-type') ?? ''))
        events = new EventParser(longest, ({ data }) => give(data))
    },
    chunk(bytes) {
      if (events === undefined) {
        if (pieces.length + bytes.length > longest) return tooLong()
        return pieces.push(Buffer.from(bytes))
      }

      try {
        events.push(bytes)
      } catch (error) {
        if (!(error instanceof RangeError)) throw error
        tooLong()
      }
    },
    held() {
      return events === undefined ? pieces.length : events.held
    },
    end(failure) {
      const body = pieces.take().toString()
      if (failure === undefined && isCostly(body)) return tooLong()
      if (failure === undefined) for (const text of messagesOf(body)) listener.message(text)

      listener.end({
        status,
        ...(failure === undefined ? {} : { failure }),
        ...(events?.lastId === undefined ? {} : { lastId: events.lastId }),
        ...(events?.retryMs === undefined ? {} : { retryMs: events.retryMs }),
      })
    },
  }
}

function compressed(coding: string): string {
  return `The server compresses its answers (${coding.slice(0, 20)}), although it was asked not to.`
}

/** The message of a body, or the messages of a batch (2025-03-26). */
function messagesOf(body: string): string[] {
  const text = body.trimStart()
  if (text.startsWith('{')) return [text]
  return text.startsWith('[') ? [...(readArray(text) ?? [])] : []
}
