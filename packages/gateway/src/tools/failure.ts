import type { CallResult } from './source.ts'

/** A call that did not succeed, as the client and its model are told. */
export interface Failure {
  /** Stable. */
  readonly code: string
  readonly text: string
  /** Whether the same call may be made again: it can help and runs nothing twice; not; not before it is corrected; or it may have run. */
  readonly retry: 'yes' | 'no' | 'corrected' | 'unsure'
  readonly details?: Readonly<Record<string, unknown>>
}

const advice: Readonly<Record<Failure['retry'], string>> = {
  yes: 'Calling again later may help.',
  no: 'Calling again will not help.',
  corrected: 'Call again with corrected arguments.',
  unsure: 'The call may have run: call again only if that does no harm.',
}

/** Key of `_meta` under which programs find what went wrong. */
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
