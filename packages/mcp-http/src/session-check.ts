import { requestMessage } from '@mcp-gateway/protocol'
import { legacyPostHeaders, sendHttp, type HttpUpstream } from './http-upstream.ts'

const timeoutMs = 5000
const ping = requestMessage('"session-check"', 'ping', '{}')

/**
 * Asks a legacy server whether it still knows a session (or, without one, whether it takes requests
 * after `initialize`), by a `ping` in it. Many servers answer 400
 * for an unknown session, and for bad requests as well; a `ping` is never a bad request.
 * True when the server gives no clear answer.
 */
export function knowsSession(
  upstream: HttpUpstream,
  session: string | undefined,
  version: string | undefined,
): Promise<boolean> {
  return new Promise((resolve) => {
    const decide = (knows: boolean): void => {
      clearTimeout(timer)
      exchange.abort()
      resolve(knows)
    }
    const timer = setTimeout(() => decide(true), timeoutMs)
    const headers = [
      ...legacyPostHeaders,
      ...(session === undefined ? [] : ['mcp-session-id', session]),
      ...(version === undefined ? [] : ['mcp-protocol-version', version]),
    ]
    const exchange = sendHttp(
      upstream,
      { method: 'POST', headers, body: ping, answerTimeoutMs: timeoutMs },
      {
        head: (status) => decide(status !== 400 && status !== 404),
        chunk: () => undefined,
        end: () => decide(true),
      },
    )
  })
}
