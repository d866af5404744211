import {
  encodeHeaderValue,
  errorAnswer,
  errorCode,
  errorData,
  hasJsonNumbers,
  headerName,
  modernVersion,
  paramHeaders,
  paramsWithMeta,
  readMessage,
  requestMessage,
  type Exchange,
  type ModernEndpoint,
  type ModernRequest,
  sameToServers,
} from '@mcp-gateway/protocol'
import { sendHttp, type HttpUpstream } from './http-upstream.ts'
import { looksLikeAnswer, readMessages, unreadableAnswer } from './message-reader.ts'

/** The headers that every modern request has (MCP 2026-07-28, transports). */
export function modernHeaders(method: string): string[] {
  return [
    'content-type',
    'application/json',
    'accept',
    'application/json, text/event-stream',
    'mcp-protocol-version',
    modernVersion,
    'mcp-method',
    method,
  ]
}

/** By these, a bridge or another gateway says that the server behind it cannot answer. */
const away: ReadonlySet<number> = new Set([502, 503, 504])

/**
 * Sends requests to modern servers over HTTP (MCP 2026-07-28, transports). Each request is a POST,
 * and a disconnect cancels the request.
 */
export class ModernSender {
  readonly #answerTimeoutMs: number
  readonly #open = new WeakMap<Exchange, { abort(): void }>()

  constructor(answerTimeoutMs: number) {
    this.#answerTimeoutMs = answerTimeoutMs
  }

  /** Sends a request. Never throws: the exchange gets the failure. */
  send(upstream: HttpUpstream, request: ModernRequest, exchange: Exchange): void {
    const { id, method, params } = request
    const name = headerName(method, params)
    let answered = false
    let status = 0
    const fail = (why: { readonly message: string; readonly code?: string }): void =>
      exchange.answer(502, errorAnswer(id, errorCode.internal, why.message, errorData(why)))
    const sent = sendHttp(
      upstream,
      {
        method: 'POST',
        headers: [
          ...modernHeaders(method),
          ...(name === undefined ? [] : ['mcp-name', encodeHeaderValue(name)]),
          ...Object.entries(
            paramHeaders(request.declaredHeaders ?? [], params.get('arguments')),
          ).flat(),
        ],
        body: requestMessage(id, method, paramsWithMeta(request)),
        answerTimeoutMs: this.#answerTimeoutMs,
      },
      readMessages(
        {
          head: (code) => (status = code),
          message: (text) => {
            if (answered) return
            const meaning = meaningOf(text, id)
            if (meaning === 'nothing') return
            if (meaning === 'notification') return exchange.tell(text)

            answered = true
            if (meaning === 'answer') exchange.answer(away.has(status) ? status : 200, text)
            else fail({ message: unreadableAnswer })
            sent.finish()
          },
          end: ({ failure }) => {
            this.#open.delete(exchange)
            if (answered) return
            fail(failure ?? { message: `The server gave no answer (HTTP ${status}).` })
          },
        },
        () => sent.abort(),
      ),
    )

    this.#open.set(exchange, sent)
  }

  gone(exchange: Exchange): void {
    this.#open.get(exchange)?.abort()
    this.#open.delete(exchange)
  }
}

/** One modern server over HTTP. */
export class HttpModernEndpoint extends ModernSender implements ModernEndpoint {
  /**
   * Chosen for each request, as a modern server has no sessions.
   * @throws Error if there is no upstream
   */
  readonly #upstream: () => HttpUpstream

  constructor(upstream: () => HttpUpstream, answerTimeoutMs: number) {
    super(answerTimeoutMs)
    this.#upstream = upstream
  }

  request(request: ModernRequest, exchange: Exchange): void {
    let upstream: HttpUpstream
    try {
      upstream = this.#upstream()
    } catch (error) {
      const { message } = error as Error
      const data = errorData(error as Error)
      return exchange.answer(502, errorAnswer(request.id, errorCode.internal, message, data))
    }
    this.send(upstream, request, exchange)
  }
}

/** The meaning of a server's message for the request with this raw id. */
function meaningOf(text: string, id: string): 'answer' | 'notification' | 'nothing' | 'unreadable' {
  let message: ReturnType<typeof readMessage>
  try {
    if (!hasJsonNumbers(text)) throw new SyntaxError('no JSON')
    message = readMessage(text)
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    return looksLikeAnswer(text) ? 'unreadable' : 'nothing'
  }

  if (message === undefined) return 'nothing'
  const given = message.get('id')
  // A server of 2026-07-28 has no requests of its own.
  if (message.has('method')) return given === undefined ? 'notification' : 'nothing'

  // A server that refuses a request unread answers with no id, or with an id of its own.
  const isOurs = message.has('error') || (given !== undefined && sameToServers(given, id))
  return isOurs ? 'answer' : 'nothing'
}
