import {
  encodeHeaderValue,
  errorAnswer,
  errorCode,
  headerName,
  modernVersion,
  paramHeaders,
  readMessage,
  readString,
  requestMessage,
  writeObject,
  type Exchange,
  type ModernEndpoint,
  type ModernRequest,
} from '@mcp-gateway/protocol'
import { sendHttp, type HttpUpstream } from './http-upstream.ts'
import { readMessages } from './message-reader.ts'

/** A modern server over HTTP (MCP 2026-07-28, transports): each request a POST, which its disconnect cancels. */
export class HttpModernEndpoint implements ModernEndpoint {
  /** Chosen for each request, as a modern server has no sessions. @throws Error when there is none */
  readonly #upstream: () => HttpUpstream
  readonly #answerTimeoutMs: number
  readonly #open = new Map<Exchange, { abort(): void }>()

  constructor(upstream: () => HttpUpstream, answerTimeoutMs: number) {
    this.#upstream = upstream
    this.#answerTimeoutMs = answerTimeoutMs
  }

  request(request: ModernRequest, exchange: Exchange): void {
    const { id, method, params } = request
    const name = headerName(method, params)
    let answered = false
    const fail = (reason: string): void => exchange.answer(502, errorAnswer(id, errorCode.internal, reason))
    let upstream: HttpUpstream
    try {
      upstream = this.#upstream()
    } catch (error) {
      return fail((error as Error).message)
    }
    const sent = sendHttp(
      upstream,
      {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          accept: 'application/json, text/event-stream',
          'mcp-protocol-version': modernVersion,
          'mcp-method': method,
          ...(name === undefined ? {} : { 'mcp-name': encodeHeaderValue(name) }),
          ...paramHeaders(request.declaredHeaders ?? [], params.get('arguments')),
        },
        body: requestMessage(id, method, writeObject(params)),
        answerTimeoutMs: this.#answerTimeoutMs,
      },
      readMessages(
        {
          message: (text) => {
            let isAnswer: boolean
            try {
              isAnswer = readString(readMessage(text)?.get('method')) === undefined
            } catch (error) {
              if (!(error instanceof SyntaxError)) throw error
              return
            }
            if (answered) return
            if (!isAnswer) return exchange.tell(text)
            answered = true
            exchange.answer(200, text)
          },
          end: ({ status, failure }) => {
            this.#open.delete(exchange)
            if (!answered) fail(failure?.message ?? `The server gave no answer (HTTP ${status}).`)
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
