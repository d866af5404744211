import { readFileSync, statSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { errorCode, outline } from '@mcp-gateway/protocol'
import type { Logger } from 'pino'
import { Pool, type Dispatcher } from 'undici'
import { sendRpcError } from './answers.ts'
import { readBody } from './body.ts'
import type { Handler } from './front.ts'
import { isHeaderValue, type UpstreamHeader } from './settings.ts'

export interface RemoteBridgeOptions {
  readonly url: URL
  readonly headers: readonly UpstreamHeader[]
  /** Until the remote server's response headers. */
  readonly answerTimeoutMs: number
  readonly connectTimeoutMs: number
  readonly bodyLimitBytes: number
  readonly log: Logger
}

/** Headers that a remote server is to get of what a client sends: what MCP, content and tracing need. Identity and cookies stay here. */
const passedOn = /^(accept|content-type|mcp-.*|last-event-id|traceparent|tracestate|baggage|user-agent|accept-language|x-request-id)$/

const stopsHere = /^(connection|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade|set-cookie|www-authenticate)$/

/** A remote MCP server behind this address: bytes pass through both ways, with the headers that the configuration adds. */
export class RemoteBridge implements Handler {
  readonly #options: RemoteBridgeOptions
  readonly #pool: Pool
  readonly #files = new Map<string, { readonly modified: number; readonly value: string }>()

  constructor(options: RemoteBridgeOptions) {
    this.#options = options
    this.#pool = new Pool(options.url.origin, {
      connections: null,
      bodyTimeout: 0,
      headersTimeout: options.answerTimeoutMs,
      connect: { timeout: options.connectTimeoutMs },
    })
  }

  handle(request: IncomingMessage, response: ServerResponse): void {
    const { method = '' } = request
    if (method !== 'POST' && method !== 'GET' && method !== 'DELETE') {
      return sendRpcError(response, 405, undefined, errorCode.invalidRequest, 'Method not allowed.', { allow: 'POST, GET, DELETE' })
    }
    const send = (body: Buffer | null): void => {
      const headers: string[] = []
      const own = new Set(this.#options.headers.map(({ name }) => name.toLowerCase()))
      for (let index = 0; index < request.rawHeaders.length; index += 2) {
        const name = request.rawHeaders[index] as string
        const lower = name.toLowerCase()
        if (passedOn.test(lower) && !own.has(lower)) headers.push(name, request.rawHeaders[index + 1] as string)
      }
      try {
        for (const { name, value } of this.#options.headers) headers.push(name, 'text' in value ? value.text : this.#readFile(value.file))
      } catch (error) {
        this.#options.log.error({ err: error }, 'a header for the remote server can not be read')
        return sendRpcError(response, 502, idOf(body), errorCode.internal, 'The credentials for the remote server can not be read.')
      }
      const { pathname, search } = this.#options.url
      this.#pool.dispatch(
        { method: method as Dispatcher.HttpMethod, path: pathname + search, headers, body },
        new RemoteExchange(response, body, this.#options.log),
      )
    }
    if (method !== 'POST') return send(null)
    readBody(request, this.#options.bodyLimitBytes, (body) => {
      if (body === 'gone') return
      if (body === 'too large')
        return sendRpcError(
          response,
          413,
          undefined,
          errorCode.invalidRequest,
          `The body is larger than ${this.#options.bodyLimitBytes} bytes.`,
          { connection: 'close' },
        )
      send(body)
    })
  }

  /** Looks at the file's time on each request, so that a rotated secret is used at once. */
  #readFile(file: string): string {
    const { mtimeMs: modified } = statSync(file)
    const known = this.#files.get(file)
    if (known?.modified === modified) return known.value
    const value = readFileSync(file, 'utf8').trim()
    if (!isHeaderValue(value)) throw new Error(`${file} does not hold a header value`)
    this.#files.set(file, { modified, value })
    return value
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool.destroy()
  }
}

class RemoteExchange implements Dispatcher.DispatchHandler {
  readonly #response: ServerResponse
  readonly #body: Buffer | null
  readonly #log: Logger
  #abort: ((reason?: Error) => void) | undefined
  #gone = false

  constructor(response: ServerResponse, body: Buffer | null, log: Logger) {
    this.#response = response
    this.#body = body
    this.#log = log
    response.on('close', () => {
      if (response.writableFinished) return
      this.#gone = true
      this.#abort?.(new Error('the client has gone'))
    })
  }

  onConnect(abort: (reason?: Error) => void): void {
    this.#abort = abort
    if (this.#gone) abort(new Error('the client has gone'))
  }

  onHeaders(status: number, raw: Buffer[], resume: () => void): boolean {
    if (status < 200) return true
    const headers: string[] = []
    for (let index = 0; index < raw.length; index += 2) {
      const name = String(raw[index])
      if (!stopsHere.test(name.toLowerCase())) headers.push(name, (raw[index + 1] as Buffer).toString('latin1'))
    }
    this.#response.on('drain', resume)
    this.#response.writeHead(status, headers)
    this.#response.flushHeaders()
    return true
  }

  onData(chunk: Buffer): boolean {
    return this.#response.write(chunk)
  }

  onComplete(): void {
    this.#response.end()
  }

  onError(error: Error): void {
    if (this.#gone) return
    // An orderly end would look like a whole answer.
    if (this.#response.headersSent) return void this.#response.destroy()
    this.#log.warn({ err: error }, 'the remote server could not be used')
    const late = (error as NodeJS.ErrnoException).code === 'UND_ERR_HEADERS_TIMEOUT'
    const message = late
      ? 'The remote server did not answer in time.'
      : this.#abort === undefined
        ? 'The remote server could not be reached.'
        : 'The remote server broke off.'
    sendRpcError(this.#response, late ? 504 : 502, idOf(this.#body), errorCode.internal, message)
  }
}

/** The raw id of a request, for an error that answers it. */
function idOf(body: Buffer | null): string | undefined {
  return body === null || body[0] !== 0x7b ? undefined : outline(body).id
}
