import type { Dispatcher } from 'undici'
import { rawHeader } from '../raw-header.ts'

type Dispatching = Pick<Dispatcher, 'dispatch'>

const mostHops = 5
/** Bytes of the body of a redirect. Beyond them its connection is not worth keeping. */
const longestBody = 64 * 1024

/**
 * Follows redirects that keep method and body (307, 308; RFC 9110 section 15.4) at the same origin,
 * where credentials may go. Servers send them to add or drop a slash. All others reach the handler.
 */
export function followRedirects(pool: Dispatching, origin: string): Dispatching {
  return {
    dispatch: (options, handler) =>
      pool.dispatch(options, new Following(pool, origin, options, handler)),
  }
}

/** Path and query of a location, if the location lies at `origin`. */
export function pathAtOrigin(
  location: string | undefined,
  origin: string,
  path: string,
): string | undefined {
  const base = new URL(path, origin)
  if (location === undefined || !URL.canParse(location, base.href)) return undefined
  const target = new URL(location, base.href)
  // Servers behind a proxy that ends TLS call themselves `http`. The next request stays with
  // `https`.
  const downgraded = base.protocol === 'https:' && target.protocol === 'http:'
  const scheme = downgraded ? base.protocol : target.protocol
  const same = scheme === base.protocol && target.host === base.host
  return same && target.username === '' && target.password === ''
    ? target.pathname + target.search
    : undefined
}

/** An address without the parts that may hold secrets. */
export function placeOf(location: string | undefined): string | undefined {
  return location?.replace(/[?#].*$/s, '').replace(/\/\/[^/]*@/, '//')
}

/**
 * The error for a redirect: a client that followed it would hand the request and its secrets to any
 * address that the server names. Give `place` only for those who may know it.
 */
export function redirectsElsewhere(status: number, place: string | undefined): string {
  const address = place === undefined ? 'another address' : place
  return (
    `The server redirects to ${address} (HTTP ${status}), which the gateway does ` +
    'not follow. ' +
    'The owner must register the final address.'
  )
}

class Following implements Dispatcher.DispatchHandler {
  readonly #pool: Dispatching
  readonly #origin: string
  readonly #options: Dispatcher.DispatchOptions
  readonly #handler: Dispatcher.DispatchHandler
  #path: string
  #hops = 0
  #abort: ((reason?: Error) => void) | undefined
  /** Bytes of the redirect's body read so far. Undefined for any other answer. */
  #passed: number | undefined

  constructor(
    pool: Dispatching,
    origin: string,
    options: Dispatcher.DispatchOptions,
    handler: Dispatcher.DispatchHandler,
  ) {
    this.#pool = pool
    this.#origin = origin
    this.#options = options
    this.#handler = handler
    this.#path = options.path
  }

  onConnect(abort: (reason?: Error) => void): void {
    this.#abort = abort
    this.#handler.onConnect?.(abort)
  }

  onHeaders(status: number, raw: Buffer[], resume: () => void, statusText: string): boolean {
    const next = status === 307 || status === 308 ? this.#next(raw) : undefined
    if (next === undefined)
      return this.#handler.onHeaders?.(status, raw, resume, statusText) ?? true
    this.#path = next
    this.#hops += 1
    this.#passed = 0
    return true
  }

  onData(chunk: Buffer): boolean {
    if (this.#passed === undefined) return this.#handler.onData?.(chunk) ?? true
    this.#passed += chunk.length
    if (this.#passed > longestBody) this.#abort?.(new Error('the body of a redirect is too long'))
    return true
  }

  onComplete(trailers: string[] | null): void {
    if (this.#passed === undefined) return this.#handler.onComplete?.(trailers)
    this.#passed = undefined
    this.#pool.dispatch({ ...this.#options, path: this.#path }, this)
  }

  onError(error: Error): void {
    this.#handler.onError?.(error)
  }

  #next(raw: readonly Buffer[]): string | undefined {
    if (this.#hops === mostHops) return undefined
    return pathAtOrigin(rawHeader(raw, 'location'), this.#origin, this.#path)
  }
}
