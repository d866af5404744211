import type { Log } from './log.ts'

/** One finished request for the log. It holds no secrets, session ids or queries. */
export interface FinishedRequest {
  readonly requestId: string
  readonly method: string
  readonly path: string
  readonly status: number
  readonly durationMs: number
  readonly principal?: string | undefined
  readonly adapter?: string | undefined
  readonly tool?: string
  readonly replica?: string | undefined
  readonly bytesIn?: number
  readonly bytesOut?: number
  /** Stable code of the error that ended the request, if any. */
  readonly error?: string | undefined
  /** The cause of the error. Logged once, with its stack. */
  readonly cause?: unknown
}

/** Writes one line per request. Failures that an operator should see have level `error`. */
export function createAccessLog(log: Log, enabled: boolean): (request: FinishedRequest) => void {
  return (request) => {
    const failed = request.status >= 500 && request.status !== 503
    // Nearly all requests have no cause, so this path makes no copy.
    if (!failed && request.cause === undefined)
      return enabled ? log.info(request, 'request') : undefined

    const { cause, ...shown } = request
    if (failed) log.error({ ...shown, err: cause }, 'request failed')
    else if (enabled) log.info(shown, 'request')
  }
}
