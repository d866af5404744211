import type { Share, Shares } from '@mcp-gateway/mcp-http'
import { Pieces } from '@mcp-gateway/protocol'
import type { Dispatcher } from 'undici'
import type { ReplicaDirectory } from '../core/directories/directory.ts'
import { GatewayError } from '../core/errors.ts'
import type { Permit } from '../core/permission.ts'
import { answerDropped } from '../core/shares.ts'
import { partyOf, type Principal } from '../core/principal.ts'
import { defined } from '../lib/defined.ts'
import type { AddressPolicy } from '../lib/net/address-policy.ts'
import type { DecideOutgoing } from '../upstream/outgoing.ts'
import type { Upstream } from '../upstream/upstream.ts'
import { Upstreams } from '../upstream/upstreams.ts'
import { AnswerTooLong, AnswerUnchecked, parseType, readAnswer } from './answer.ts'
import type { Cancellation } from './cancellation.ts'
import { failure, type Failure, type FailureCode } from './failure.ts'
import type { CalledTool, OutputCheck } from './registered-tools.ts'
import type { CallResult, Invocation } from './source.ts'
import { ToolExchange, type ToolResponse } from './tool-exchange.ts'

export interface ToolCallerOptions {
  readonly directory: ReplicaDirectory
  readonly endpointPolicy: AddressPolicy
  readonly outgoing: DecideOutgoing
  readonly callTimeoutMs: number
  readonly connectTimeoutMs: number
  readonly keepAliveMs: number
  readonly answerLimitBytes: number
  /** Most calls that may be open at one server outside the runtime. */
  readonly connectionsPerServer: number
  /** Counts the bytes of answers that are held until they are whole. */
  readonly heldBytes: Shares
  readonly now: () => number
}

/** Bytes of an error answer that are searched for its message. */
const errorBodyLimit = 16 * 1024
const longestMessage = 2000

/** The destination of one attempt. */
interface Target {
  readonly dispatcher: Pick<Dispatcher, 'dispatch'>
  readonly origin: string
  readonly path: string
  readonly upstream: Upstream
}

/** Calls tools: a POST whose body is the arguments, to a replica or an endpoint. */
export class ToolCaller implements AsyncDisposable {
  readonly #options: ToolCallerOptions
  readonly #upstreams: Upstreams

  constructor(options: ToolCallerOptions) {
    this.#options = options
    this.#upstreams = new Upstreams(options.directory, {
      connectTimeoutMs: options.connectTimeoutMs,
      keepAliveMs: options.keepAliveMs,
      coldStartMs: options.callTimeoutMs,
      endpointPolicy: options.endpointPolicy,
      endpointConnections: { most: options.connectionsPerServer, beyond: 'wait' },
    })
  }

  /** Never rejects, unless the client has given up. */
  async call(
    { principal, resource }: Permit<'use', CalledTool>,
    invocation: Invocation,
    output: OutputCheck,
  ): Promise<CallResult> {
    const ending = new Ending(invocation.cancellation, this.#options.callTimeoutMs)
    try {
      const headers = this.#headers(resource, principal, invocation)
      return await this.#attempts(resource, partyOf(principal), headers, invocation, ending, output)
    } catch (error) {
      invocation.cancellation.throwIfAborted()
      return failure(this.#explain(resource, error, ending.late))
    } finally {
      ending.clear()
    }
  }

  /** @throws GatewayError if the credential for the tool cannot be read */
  #headers(tool: CalledTool, principal: Principal, invocation: Invocation): readonly string[] {
    const { callTimeoutMs, now, outgoing } = this.#options
    return [
      'content-type',
      'application/json',
      'accept',
      'application/json, text/event-stream, application/x-ndjson, */*;q=0.8',
      'x-request-id',
      invocation.requestId,
      'x-mcp-tool',
      tool.spec.toolDefinition.tool.name,
      'x-mcp-deadline',
      new Date(now() + callTimeoutMs).toISOString(),
      'idempotency-key',
      `"${invocation.idempotencyKey}"`,
      ...Object.entries(invocation.trace).flat(),
      ...outgoing(tool, principal).headers,
    ]
  }

  /** Tries the call. An unsent request may go to another replica. */
  async #attempts(
    tool: CalledTool,
    caller: string,
    headers: readonly string[],
    invocation: Invocation,
    ending: Ending,
    output: OutputCheck,
  ): Promise<CallResult> {
    const tried = new Set<string>()
    for (;;) {
      const { dispatcher, origin, path, upstream } =
        targetOf(tool, caller, this.#upstreams.pick(tool, undefined, tried)) ??
        (await this.#coming(tool, caller, ending))
      upstream.inFlight += 1

      const exchange = new ToolExchange()
      const share = this.#options.heldBytes.open(caller)
      share.spare(() => exchange.cancel(answerDropped('caller')))
      ending.onEnd(() => exchange.cancel())

      try {
        const response = await exchange.send(dispatcher, {
          origin,
          path,
          headers,
          body: invocation.arguments,
        })

        return await this.#read(tool, response, exchange, share, invocation, output)
      } catch (error) {
        if (!isUnsent(error) || ending.over) throw error
        tried.add(upstream.replica.name)
        if (this.#upstreams.pick(tool, undefined, tried) === undefined) throw error
      } finally {
        // Unread bytes would hold the connection.
        exchange.cancel()
        share.spare(undefined)
        share.release()
        upstream.inFlight -= 1
      }
    }
  }

  /** Waits for a replica that is cold or restarting. */
  async #coming(tool: CalledTool, caller: string, ending: Ending): Promise<Target> {
    const waiting = new AbortController()
    ending.onEnd(() => waiting.abort())
    return targetOf(tool, caller, await this.#upstreams.waitFor(tool, undefined, waiting.signal))
  }

  async #read(
    tool: CalledTool,
    { status, contentType, retryAfter }: ToolResponse,
    body: AsyncIterable<Buffer>,
    share: Share,
    invocation: Invocation,
    output: OutputCheck,
  ): Promise<CallResult> {
    if (status < 200 || status >= 300)
      return failure(
        refusalOf(
          tool,
          status,
          retryAfter,
          await messageOf(body, contentType),
          this.#options.now(),
        ),
      )

    return readAnswer(
      { status, contentType, body },
      {
        limitBytes: this.#options.answerLimitBytes,
        hold: (bytes) => {
          const shortage = share.hold(bytes)
          if (shortage !== undefined) throw answerDropped(shortage)
        },
        output,
        resourceUri: `tool://${tool.name}/${encodeURIComponent(invocation.requestId)}`,
        progress: invocation.progress,
      },
    )
  }

  #explain(tool: CalledTool, error: unknown, late: boolean): Failure {
    const harmless = runsTwice(tool)
    if (error instanceof AnswerTooLong)
      return {
        code: 'answer_too_large',
        text:
          `The tool's answer is larger than ${this.#options.answerLimitBytes} bytes, ` +
          'or holds too many objects.',
        retry: 'no',
      }
    if (error instanceof AnswerUnchecked) {
      const { code, message: text } = error
      const again = harmless ? 'yes' : 'unsure'
      return { code, text, retry: code === 'checks_busy' ? again : 'no' }
    }

    return this.#explainExchange(error, late, harmless)
  }

  /** The failure of an exchange that gave no whole answer. */
  #explainExchange(error: unknown, late: boolean, harmless: boolean): Failure {
    const code = codeOf(error)
    if (code === 'endpoint_forbidden')
      return {
        code: 'endpoint_forbidden',
        text: "The tool's endpoint is at an address that the gateway may not call.",
        retry: 'no',
      }
    if (code === 'upstream_untrusted')
      return { code: 'untrusted', text: "The tool's certificate is not trusted.", retry: 'no' }
    // The system's messages name hosts and ports, which callers must not learn.
    if (isUnsent(error)) {
      const seconds = this.#options.callTimeoutMs / 1000
      const text = `The call was not sent: no connection within ${seconds} s.`
      return late
        ? { code: 'timeout', text, retry: 'yes' }
        : { code: 'unreachable', text: 'The tool cannot be reached.', retry: 'yes' }
    }

    if (error instanceof GatewayError && code === 'answer_dropped')
      return {
        code,
        text: "The tool's answer takes more memory than is left for it, so the gateway dropped it.",
        retry: harmless ? 'yes' : 'unsure',
      }
    if (error instanceof GatewayError)
      return {
        code: error.code,
        text: `The tool cannot be called now: ${error.message}`,
        retry: error.retry ? 'yes' : 'no',
      }

    if (late)
      return {
        code: 'timeout',
        text:
          `The tool did not answer within ${this.#options.callTimeoutMs / 1000} s; ` +
          'the call was ended.',
        retry: harmless ? 'yes' : 'unsure',
      }

    if (
      (error as Error).name === 'HTTPParserError' ||
      code.startsWith('HPE_') ||
      code === 'UND_ERR_HEADERS_OVERFLOW'
    )
      return {
        code: 'malformed_answer',
        text: 'The tool answered something that is not HTTP.',
        retry: 'no',
      }

    return {
      code: 'broke_off',
      text: 'The tool broke off before its answer was whole.',
      retry: harmless ? 'yes' : 'unsure',
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#upstreams[Symbol.asyncDispose]()
  }
}

/** The end of a call: its client gives up, or its time is over. */
class Ending {
  readonly #cancellation: Cancellation
  readonly #timer: NodeJS.Timeout
  #act: () => void = () => undefined
  over = false
  late = false

  constructor(cancellation: Cancellation, timeoutMs: number) {
    this.#cancellation = cancellation
    this.#timer = setTimeout(() => {
      this.late = true
      this.#end()
    }, timeoutMs)
    cancellation.listen(() => this.#end())
  }

  /** Registers the action that ends the current step, in place of the earlier action. */
  onEnd(act: () => void): void {
    this.#act = act
    if (this.over) act()
  }

  clear(): void {
    clearTimeout(this.#timer)
    this.#cancellation.listen(undefined)
  }

  #end(): void {
    this.over = true
    this.#act()
  }
}

function targetOf(tool: CalledTool, caller: string, upstream: Upstream): Target
function targetOf(
  tool: CalledTool,
  caller: string,
  upstream: Upstream | undefined,
): Target | undefined
function targetOf(
  { spec }: CalledTool,
  caller: string,
  upstream: Upstream | undefined,
): Target | undefined {
  if (upstream === undefined) return undefined
  const { via, origin, external, replica } = upstream
  const dispatcher = via(caller)
  return { dispatcher, origin, path: external ? replica.path : spec.toolDefinition.path, upstream }
}

/**
 * True if nothing was sent, because there was no connection. Errors of open connections share some
 * codes, but not the syscall.
 */
function isUnsent(error: unknown): boolean {
  const { syscall, cause } = error as { syscall?: unknown; cause?: unknown }
  if (syscall === 'connect' || unconnected.has(codeOf(error))) return true
  return typeof cause === 'object' && cause !== null && isUnsent(cause)
}

const unconnected: ReadonlySet<string> = new Set([
  'upstream_unreachable',
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'UND_ERR_CONNECT_TIMEOUT',
])

function codeOf(error: unknown): string {
  const { code, cause } = error as { code?: unknown; cause?: unknown }
  if (typeof code === 'string') return code
  return cause === undefined || cause === null ? '' : codeOf(cause)
}

/** True if a second run does no harm, according to the tool's annotations. */
function runsTwice({ spec }: CalledTool): boolean {
  const { annotations } = spec.toolDefinition.tool
  return annotations?.['readOnlyHint'] === true || annotations?.['idempotentHint'] === true
}

function refusalOf(
  tool: CalledTool,
  status: number,
  retryAfter: string | undefined,
  said: string,
  now: number,
): Failure {
  const wait = retryAfter === undefined ? undefined : secondsOf(retryAfter, now)
  const tail = said === '' ? '' : `: ${said}`

  const of = (code: FailureCode, text: string, retry: Failure['retry']): Failure => ({
    code,
    text: `${text} (HTTP ${status})${tail}`,
    retry,
    details: defined({ status, retryAfterSeconds: wait }),
  })

  if (status < 400)
    return of('redirect', 'The tool answered with a redirect, which is not followed', 'no')

  switch (status) {
    case 400:
    case 422:
      return of('refused_arguments', 'The tool refused the arguments', 'corrected')
    case 401:
      return of('tool_unauthenticated', 'The tool does not know the caller', 'no')
    case 403:
      return of('tool_forbidden', 'The tool does not allow the caller to do this', 'no')
    case 404:
    case 410:
      return of(
        'tool_not_found',
        'The tool found nothing there: its address, or what the arguments name',
        'no',
      )
    case 413:
      return of('arguments_too_large', 'The arguments are too large for the tool', 'corrected')
    case 408:
    case 425:
    case 503:
      return of('tool_unavailable', 'The tool cannot serve now', 'yes')
    case 429:
      return of(
        'too_many_calls',
        'The tool has been called too ' +
          `often${wait === undefined ? '' : `; it asks to wait ${wait} s`}`,
        'yes',
      )
    default:
      return status < 500
        ? of('tool_refused', 'The tool refused the call', 'no')
        : of('tool_failed', 'The tool failed', runsTwice(tool) ? 'yes' : 'unsure')
  }
}

function secondsOf(retryAfter: string, now: number): number | undefined {
  if (/^\d{1,9}$/.test(retryAfter)) return Number(retryAfter)
  const at = Date.parse(retryAfter)
  return Number.isNaN(at) ? undefined : Math.max(0, Math.ceil((at - now) / 1000))
}

/**
 * The message of an error answer, for people: bounded, in plain text, without pages and stack
 * traces.
 */
async function messageOf(
  body: AsyncIterable<Buffer>,
  contentType: string | undefined,
): Promise<string> {
  const { type } = parseType(contentType)
  const json = /^(application|text)\/([\w.-]+\+)?json$/.test(type)
  if (!json && type !== 'text/plain') return ''
  const pieces = new Pieces()
  for await (const chunk of body) {
    pieces.push(chunk)
    if (pieces.length >= errorBodyLimit) break
  }
  const text = pieces.take().subarray(0, errorBodyLimit).toString()
  return plain(json ? jsonMessage(text) : text)
}

/**
 * The message of an error in one of the common forms: RFC 9457, `error`, `message`, FastAPI's
 * `detail`.
 */
function jsonMessage(text: string): string {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return text
  }

  const read = (node: unknown, depth: number): string | undefined => {
    if (typeof node === 'string') return node
    if (typeof node !== 'object' || node === null || depth > 3) return undefined
    if (Array.isArray(node)) {
      const lines = node.slice(0, 20).flatMap((each) => read(each, depth + 1) ?? [])
      return lines.length === 0 ? undefined : lines.join('; ')
    }

    const { loc, msg } = node as { loc?: unknown; msg?: unknown }
    if (typeof msg === 'string') return Array.isArray(loc) ? `${loc.join('.')}: ${msg}` : msg

    for (const name of ['detail', 'message', 'error', 'errors', 'title', 'reason']) {
      const found = read((node as Record<string, unknown>)[name], depth + 1)
      if (found !== undefined && found !== '') return found
    }

    return undefined
  }

  return read(value, 0) ?? ''
}

function plain(text: string): string {
  const lines = text
    .split(/[\r\n]+/)
    // Frames of stack traces: JavaScript, Java and C#, then Python.
    .filter((line) => !/^\s*(at\s.+[:(]|File ".+", line \d+)/.test(line))
  const clean = lines
    .join('\n')
    .replace(/(?!\n)\p{Cc}/gu, ' ')
    .trim()
  return clean.length > longestMessage ? `${clean.slice(0, longestMessage)}…` : clean
}
