import type { Log } from './log.ts'

/** One finished request, as the log shows it: no secrets, no session ids, no query. */
export interface FinishedRequest {
  readonly requestId: string
  readonly method: string
  readonly path: string
  readonly status: number
  readonly durationMs: number
  readonly principal?: string
  readonly adapter?: string
  readonly tool?: string
  readonly replica?: string
  readonly bytesIn?: number
  readonly bytesOut?: number
  /** Stable code of the error, if one ended the request. */
  readonly error?: string
  /** What caused the error; logged with its stack, once. */
  readonly cause?: unknown
}

/** Writes one line per request: level by what it means for the operator. */
export function createAccessLog(log: Log, enabled: boolean): (request: FinishedRequest) => void {
  return (request) => {
    const failed = request.status >= 500 && request.status !== 503
    // Nearly all requests have no cause, and need no copy.
    if (!failed && request.cause === undefined)
      return enabled ? log.info(request, 'request') : undefined

    const { cause, ...shown } = request
    if (failed) log.error({ ...shown, err: cause }, 'request failed')
    else if (enabled) log.info(shown, 'request')
  }
}
