import { Agent, type Dispatcher } from 'undici'
import { GatewayError } from '../core/errors.ts'
import type { AddressPolicy } from '../lib/net/address-policy.ts'
import { endpointConnector } from './endpoint-connector.ts'

export interface DocumentFetcherOptions {
  /** Decides on every address that is connected to, after names are resolved. */
  readonly policy: AddressPolicy
  readonly limitBytes: number
  /** Milliseconds for everything, redirects included. */
  readonly timeoutMs: number
}

/** The reason why a document cannot be fetched, which its requester may know. */
class Unfetched extends Error {
  override readonly name = 'Unfetched'
}

/** A fetched document, and the address at which it was in the end. */
export interface Fetched {
  readonly text: string
  readonly url: string
}

const mostRedirects = 5

/** Fetches documents of others, from the addresses alone that the policy allows. */
export class DocumentFetcher implements AsyncDisposable {
  readonly #options: DocumentFetcherOptions
  readonly #agent: Agent

  constructor(options: DocumentFetcherOptions) {
    this.#options = options
    this.#agent = new Agent({
      connect: endpointConnector({ policy: options.policy, timeoutMs: options.timeoutMs }),
      keepAliveTimeout: 1,
      keepAliveMaxTimeout: 1,
    })
  }

  /** The document, or the reason why there is none. */
  async fetch(address: string): Promise<Fetched | { readonly refusal: string }> {
    const { timeoutMs } = this.#options
    const signal = AbortSignal.timeout(timeoutMs)
    try {
      return await this.#follow(new URL(address), signal)
    } catch (error) {
      return { refusal: refusalOf(error, timeoutMs, signal.aborted) }
    }
  }

  async #follow(address: URL, signal: AbortSignal): Promise<Fetched> {
    let url = address
    for (let hops = 0; hops <= mostRedirects; hops += 1) {
      const { body, headers, statusCode } = await this.#agent.request({
        origin: url.origin,
        path: url.pathname + url.search,
        method: 'GET',
        headers: { accept: acceptedTypes, 'user-agent': 'mcp-gateway' },
        signal,
      })

      const next = redirectOf(statusCode, headers['location'], url)
      if (next === undefined) return { text: await this.#read(statusCode, body), url: url.href }
      leave(body)
      url = next
    }
    throw new Unfetched(`leads to more than ${mostRedirects} redirects`)
  }

  async #read(status: number, body: Dispatcher.ResponseData['body']): Promise<string> {
    // An unread body would hold the connection until its time is over.
    if (status < 200 || status >= 300) {
      leave(body)
      throw new Unfetched(`answers with HTTP ${status}`)
    }

    const chunks: Buffer[] = []
    let length = 0
    for await (const chunk of body as AsyncIterable<Buffer>) {
      length += chunk.length
      if (length > this.#options.limitBytes)
        throw new Unfetched(`has more than ${this.#options.limitBytes} bytes`)
      chunks.push(chunk)
    }
    return Buffer.concat(chunks).toString()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent.destroy()
  }
}

/** Ends an answer that nobody reads. Its error would otherwise end the process. */
function leave(body: Dispatcher.ResponseData['body']): void {
  body.on('error', () => undefined).destroy()
}

const acceptedTypes = 'application/json, application/yaml, application/openapi+json, */*;q=0.5'

/** The address of a redirect. An encrypted one never leads to a plain one. */
function redirectOf(
  status: number,
  location: string | string[] | undefined,
  from: URL,
): URL | undefined {
  if (![301, 302, 303, 307, 308].includes(status)) return undefined
  const [place = ''] = [location ?? ''].flat()
  if (place === '' || !URL.canParse(place, from.href))
    throw new Unfetched('answers with a redirect that leads nowhere')

  const next = new URL(place, from.href)
  const downgraded = from.protocol === 'https:' && next.protocol === 'http:'
  if (
    !/^https?:$/.test(next.protocol) ||
    downgraded ||
    next.username !== '' ||
    next.password !== ''
  )
    throw new Unfetched('answers with a redirect that the gateway does not follow')
  return next
}

/** The system's messages name hosts and ports, which callers must not learn. */
function refusalOf(error: unknown, timeoutMs: number, late: boolean): string {
  if (error instanceof Unfetched) return error.message
  const code = error instanceof GatewayError ? error.code : undefined
  if (code === 'endpoint_forbidden') return 'is at an address that the gateway may not call'
  if (code === 'upstream_untrusted') return 'has a certificate that is not trusted'
  return late ? `was not there within ${timeoutMs / 1000} s` : 'cannot be reached'
}
