import type { IncomingMessage, ServerResponse } from 'node:http'
import {
  Bag,
  errorAnswer,
  errorCode,
  paramHeaderMistake,
  type Classified,
  type Exchange,
  type ModernRequest,
} from '@mcp-gateway/protocol'
import { sendJson, sendRpcError, takesEvents } from './answers.ts'
import { ModernExchange } from './modern-exchange.ts'
import { monotonicNow } from './clock.ts'
import { saidNothingFor } from './sessions/session.ts'

/** The server that answers modern requests. `Caller` identifies a caller. */
export interface ModernServer<Caller> {
  request(caller: Caller, request: ModernRequest, exchange: Exchange): void
  /** The client of an exchange has left before its answer. A front says whose request it was. */
  gone(exchange: Exchange, caller?: Caller): void
}

interface Open<Caller> {
  readonly caller: Caller
  readonly exchange: ModernExchange
  readonly request: ModernRequest
}

const keepAliveMs = 15_000

function listens({ method }: ModernRequest): boolean {
  return method === 'subscriptions/listen'
}

/** The HTTP side of modern requests. Each request has one exchange, which ends with its client. */
export class ModernFront<Caller> {
  readonly #server: ModernServer<Caller>
  readonly #open = new Bag<Open<Caller>>()
  readonly #timer: NodeJS.Timeout
  readonly #answerTimeoutMs: number

  /** `answerTimeoutMs` bounds the server's silence about a request. Unset: no bound. */
  constructor(server: ModernServer<Caller>, answerTimeoutMs = Infinity) {
    this.#server = server
    this.#answerTimeoutMs = answerTimeoutMs
    const everyMs = Math.min(keepAliveMs, answerTimeoutMs)
    this.#timer = setInterval(() => this.#tend(), everyMs).unref()
  }

  /** Answers a POST that was classified as modern. */
  handle(
    classified: Classified & { readonly era: 'modern' },
    caller: Caller,
    request: IncomingMessage,
    response: ServerResponse,
  ): void {
    if ('refusal' in classified) {
      const { status, code, message, data } = classified.refusal
      return sendJson(
        response,
        status,
        Buffer.from(errorAnswer(classified.id, code, message, data)),
        {},
      )
    }

    // A client has nothing to notify over HTTP, but a notification is not an error.
    if (classified.request === undefined) return void response.writeHead(202).end()
    if (listens(classified.request) && !takesEvents(response))
      return sendRpcError(response, 406, {
        id: classified.request.id,
        code: errorCode.invalidRequest,
        message: 'The client must accept text/event-stream to listen: its answer is a stream.',
      })

    const { params } = classified.request

    const headerOf = (name: string): string | undefined => {
      const value = request.headers[name]
      return Array.isArray(value) ? value.join(', ') : value
    }

    const exchange = new ModernExchange(response, monotonicNow())
    const open = this.#open.add({ caller, exchange, request: classified.request })
    response.once('close', () => {
      this.#open.delete(open)
      if (!response.writableFinished) this.#server.gone(exchange, caller)
    })

    this.#server.request(
      caller,
      {
        ...classified.request,
        paramHeaderMistake: (declared) =>
          paramHeaderMistake(declared, params.get('arguments'), headerOf),
      },
      exchange,
    )
  }

  #tend(): void {
    const now = monotonicNow()
    for (const each of this.#open.values())
      if (now - each.exchange.heardAt >= this.#answerTimeoutMs && !listens(each.request))
        this.#giveUp(each)
      else each.exchange.keepAlive(now, keepAliveMs)
  }

  /** Ends a request about which the server has been silent for too long. */
  #giveUp({ caller, exchange, request: { id } }: Open<Caller>): void {
    this.#server.gone(exchange, caller)
    const reason = saidNothingFor(this.#answerTimeoutMs)
    exchange.answer(504, errorAnswer(id, errorCode.internal, reason))
  }

  close(): void {
    clearInterval(this.#timer)
  }
}
