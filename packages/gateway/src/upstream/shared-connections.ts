import { type Share, Shares } from '@mcp-gateway/mcp-http'
import type { Dispatcher } from 'undici'
import { GatewayError } from '../core/errors.ts'

/** Sends requests to a server. */
export type Dispatching = Pick<Dispatcher, 'dispatch'>
type Options = Dispatcher.DispatchOptions
type Handler = Dispatcher.DispatchHandler

/** A handler of a request that may have to wait for a connection. */
export interface PatientHandler extends Handler {
  /** The request waits. `leave` removes it, and does nothing once the request is on its way. */
  onWait?(leave: () => void): void
}

export interface ConnectionLimits {
  /** Most requests that may be open at one server. A request occupies its connection. */
  readonly most: number
  /** Requests beyond the share of their caller wait. If streams may never end, they are refused. */
  readonly beyond: 'wait' | 'refuse'
}

interface Waiting {
  readonly share: Share
  readonly start: () => void
}

/** The connections to one server, shared by callers. */
export class SharedConnections {
  readonly #shares: Shares
  readonly #beyond: ConnectionLimits['beyond']
  readonly #unused: () => void
  /** By caller. A caller whose request has begun goes to the end, so that callers take turns. */
  readonly #waiting = new Map<string, Set<Waiting>>()

  /** `unused` is called whenever the last open request has ended. */
  constructor({ most, beyond }: ConnectionLimits, unused: () => void) {
    this.#shares = new Shares(most)
    this.#beyond = beyond
    this.#unused = unused
  }

  dispatch(caller: string, via: Dispatching, options: Options, handler: PatientHandler): boolean {
    const share = this.#shares.open(caller)
    const counted = new CountedHandler(handler, share, isStream(options), () => this.#ended())
    const start = (): void => void via.dispatch(options, counted)
    const queue = this.#waiting.get(caller)
    if (queue === undefined && share.hold(1) === undefined) start()
    else if (this.#beyond === 'refuse') handler.onError?.(tooMany())
    else {
      const waiting = { share, start }
      if (queue === undefined) this.#waiting.set(caller, new Set([waiting]))
      else queue.add(waiting)
      handler.onWait?.(() => this.#leave(caller, waiting))
    }
    return true
  }

  #leave(caller: string, waiting: Waiting): void {
    const queue = this.#waiting.get(caller)
    if (queue?.delete(waiting) === true && queue.size === 0) this.#waiting.delete(caller)
  }

  #ended(): void {
    for (const [caller, queue] of this.#waiting) {
      const [first] = queue
      if (first === undefined || first.share.hold(1) !== undefined) continue
      queue.delete(first)
      this.#waiting.delete(caller)
      if (queue.size > 0) this.#waiting.set(caller, queue)
      first.start()
    }
    if (this.#shares.held === 0 && this.#waiting.size === 0) this.#unused()
  }
}

/** Frees the place of a request at its end, by success, error or abort. */
class CountedHandler implements Handler {
  readonly #handler: Handler
  readonly #share: Share
  readonly #stream: boolean
  readonly #ended: () => void
  #over = false

  constructor(handler: Handler, share: Share, stream: boolean, ended: () => void) {
    this.#handler = handler
    this.#share = share
    this.#stream = stream
    this.#ended = ended
  }

  onConnect(abort: (reason?: Error) => void): void {
    // A call in progress may have run, so it is never given up for another caller.
    if (this.#stream) this.#share.spare(() => abort(tooMany()))
    this.#handler.onConnect?.(abort)
  }

  onHeaders(status: number, raw: Buffer[], resume: () => void, statusText: string): boolean {
    return this.#handler.onHeaders?.(status, raw, resume, statusText) ?? true
  }

  onData(chunk: Buffer): boolean {
    return this.#handler.onData?.(chunk) ?? true
  }

  onComplete(trailers: string[] | null): void {
    this.#end()
    this.#handler.onComplete?.(trailers)
  }

  onError(error: Error): void {
    this.#end()
    this.#handler.onError?.(error)
  }

  #end(): void {
    if (this.#over) return
    this.#over = true
    this.#share.release()
    this.#ended()
  }
}

/** True if a request opens a stream that stays open. */
function isStream({ method, headers }: Options): boolean {
  return method === 'GET' || (Array.isArray(headers) && headers.includes('subscriptions/listen'))
}

function tooMany(): GatewayError {
  return new GatewayError('too_many_connections', { headers: { 'retry-after': '5' } })
}
