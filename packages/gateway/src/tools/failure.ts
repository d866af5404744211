import type { ErrorCode } from '../core/error-table.ts'
import type { ValueMistake } from '../lib/json/json-schema.ts'
import { whyUnchecked } from '../lib/json/schema-checks.ts'
import type { CallResult } from './source.ts'

/** Every failure of a tool's call that is no error of the gateway, by its stable code. */
export const failureTable = {
  answer_too_large: 'The answer has more bytes or objects than the gateway reads.',
  arguments_too_large: 'The tool refused the arguments as too large (413).',
  broke_off: 'The tool ended its answer early.',
  invalid_arguments: 'The arguments do not fit the `inputSchema`. `errors` names each place.',
  malformed_answer: 'The answer is not HTTP.',
  malformed_json: 'The answer says that it is JSON, and is not.',
  no_answer: 'The stream of the tool ended without an answer.',
  no_structured_content: 'The tool has an `outputSchema`, and its answer no structured content.',
  output_mismatch: 'The answer does not fit the `outputSchema`. `errors` names each place.',
  redirect: 'The tool answered with a redirect (3xx). The gateway follows none.',
  refused_arguments: 'The tool refused the arguments (400, 422).',
  schema_too_slow: 'The gateway cannot check the value against the schema in time.',
  timeout: 'The tool did not answer in time.',
  tool_failed: 'The tool failed (another 5xx).',
  tool_forbidden: 'The tool does not allow the caller to do this (403).',
  tool_not_found:
    'The address of the tool, or the object of the arguments, is not there (404, 410).',
  tool_refused: 'The tool refused the call (another 4xx).',
  tool_unauthenticated: 'The tool does not know the caller (401).',
  tool_unavailable: 'The tool cannot serve now (408, 425, 503).',
  too_many_calls: 'The tool was called too often (429).',
  unreachable: 'The tool does not accept connections, so the call was not sent.',
  untrusted: 'The gateway cannot verify the certificate of the tool.',
  wrong_content_type: 'The tool has an `outputSchema`, and its answer is not JSON.',
} as const

/** A call may also fail with an error of the gateway. */
export type FailureCode = keyof typeof failureTable | ErrorCode
/** A failed call, as the client and its model see it. */
export interface Failure {
  /** Stable across versions. */
  readonly code: FailureCode
  readonly text: string
  /**
   * Advice on the same call: `yes` helps and runs nothing twice, `no` does not help, `corrected`
   * needs other arguments, `unsure` means that the call may have run.
   */
  readonly retry: 'yes' | 'no' | 'corrected' | 'unsure'
  readonly details?: Readonly<Record<string, unknown>>
}

const advice: Readonly<Record<Failure['retry'], string>> = {
  yes: 'Calling again later may help.',
  no: 'Calling again will not help.',
  corrected: 'Call again with corrected arguments.',
  unsure: 'The call may have run: call again only if that does no harm.',
}

/** Key of `_meta` under which programs find the failure. */
const failureMeta = 'mcp-gateway/error'

/** The result with `isError` for a failure. */
export function failure({ code, text, retry, details }: Failure): CallResult {
  const meta = { [failureMeta]: { code, retryable: retry === 'yes', ...details } }
  return new Map([
    ['content', JSON.stringify([{ type: 'text', text: `${text}\n${advice[retry]}` }])],
    ['isError', 'true'],
    ['_meta', JSON.stringify(meta)],
  ])
}

/**
 * Reports mistakes as a result, so that models can correct themselves (MCP 2025-11-25, tools, error
 * handling).
 */
export function invalidArguments(mistakes: readonly ValueMistake[]): CallResult {
  const unchecked = whyUnchecked(mistakes)
  if (unchecked !== undefined)
    return failure({
      code: unchecked.code,
      text: `The arguments ${unchecked.detail}; the tool was not called.`,
      retry: unchecked.code === 'checks_busy' ? 'yes' : 'no',
    })
  const lines = mistakes.map(
    ({ pointer, detail }) => `- ${pointer === '' ? 'arguments' : `arguments${pointer}`}: ${detail}`,
  )
  return failure({
    code: 'invalid_arguments',
    text:
      `The arguments do not fit the tool's inputSchema; ` +
      `the tool was not called.\n${lines.join('\n')}`,
    retry: 'corrected',
    details: { errors: mistakes.map(({ pointer, detail }) => ({ pointer, detail })) },
  })
}
