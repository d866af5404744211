import type { CallResult } from './source.ts'

/** A failed call, as the client and its model see it. */
export interface Failure {
  /** Stable across versions. */
  readonly code: string
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
