import { GatewayError } from '../core/errors.ts'
import { defined } from '../lib/defined.ts'
import { AnswerTooLong, AnswerUnchecked } from './answer.ts'
import { messageOf } from './error-message.ts'
import { failure, invalidArguments, type Failure, type FailureCode } from './failure.ts'
import type { CalledTool } from './registered-tools.ts'
import { Unsendable } from './request/http-request.ts'
import type { CallResult } from './source.ts'
import type { ToolResponse } from './tool-exchange.ts'

/** The call that an error ended, and the limits that it had. */
export interface FailedCall {
  readonly tool: CalledTool
  /** True if the call ended because its time was over. */
  readonly late: boolean
  readonly callTimeoutMs: number
  readonly answerLimitBytes: number
}

/** The result of a call that an error ended. */
export function failedBy(error: unknown, call: FailedCall): CallResult {
  if (error instanceof Unsendable) return invalidArguments(error.mistakes)
  return failure(explain(error, call))
}

/** The result of a call that the tool answered with an error status. */
export async function refusedBy(
  response: ToolResponse,
  body: AsyncIterable<Buffer>,
  tool: CalledTool,
  now: () => number,
): Promise<CallResult> {
  const said = await messageOf(body, response.contentType)
  return failure(refusalOf(tool, response, said, now()))
}

function explain(error: unknown, call: FailedCall): Failure {
  if (error instanceof AnswerTooLong)
    return {
      code: 'answer_too_large',
      text:
        `The tool's answer is larger than ${call.answerLimitBytes} bytes, ` +
        'or holds too many objects.',
      retry: 'no',
    }

  const again = runsTwice(call.tool) ? 'yes' : 'unsure'
  if (error instanceof AnswerUnchecked) {
    const { code, message: text } = error
    return { code, text, retry: code === 'checks_busy' ? again : 'no' }
  }

  return explainExchange(error, call, again)
}

/** The failure of an exchange that gave no whole answer. */
function explainExchange(
  error: unknown,
  { late, callTimeoutMs }: FailedCall,
  again: 'yes' | 'unsure',
): Failure {
  const code = codeOf(error)
  const seconds = callTimeoutMs / 1000
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
    const text = `The call was not sent: no connection within ${seconds} s.`
    return late
      ? { code: 'timeout', text, retry: 'yes' }
      : { code: 'unreachable', text: 'The tool cannot be reached.', retry: 'yes' }
  }

  if (error instanceof GatewayError && code === 'answer_dropped')
    return {
      code,
      text: "The tool's answer takes more memory than is left for it, so the gateway dropped it.",
      retry: again,
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
      text: `The tool did not answer within ${seconds} s; the call was ended.`,
      retry: again,
    }

  return isMalformed(error as Error, code)
    ? {
        code: 'malformed_answer',
        text: 'The tool answered something that is not HTTP.',
        retry: 'no',
      }
    : {
        code: 'broke_off',
        text: 'The tool broke off before its answer was whole.',
        retry: again,
      }
}

function isMalformed({ name }: Error, code: string): boolean {
  return (
    name === 'HTTPParserError' || code.startsWith('HPE_') || code === 'UND_ERR_HEADERS_OVERFLOW'
  )
}

/**
 * True if nothing was sent, because there was no connection. Errors of open connections share some
 * codes, but not the syscall.
 */
export function isUnsent(error: unknown): boolean {
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
export function runsTwice({ spec }: Pick<CalledTool, 'spec'>): boolean {
  const { annotations } = spec.toolDefinition.tool
  return annotations?.['readOnlyHint'] === true || annotations?.['idempotentHint'] === true
}

function refusalOf(
  tool: CalledTool,
  { status, retryAfter }: ToolResponse,
  said: string,
  now: number,
): Failure {
  const wait = retryAfter === undefined ? undefined : secondsOf(retryAfter, now)
  const tail = said === '' ? '' : `: ${said}`
  const asksToWait = wait === undefined ? '' : `; it asks to wait ${wait} s`

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
      return of('too_many_calls', `The tool has been called too often${asksToWait}`, 'yes')
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
