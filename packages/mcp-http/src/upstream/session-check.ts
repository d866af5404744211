import { requestMessage } from '@mcp-gateway/protocol'
import { legacyPostHeaders, sendHttp, type HttpUpstream } from './http-upstream.ts'

const timeoutMs = 5000
const ping = requestMessage('"session-check"', 'ping', '{}')

/**
 * Asks a legacy server by `ping` if it knows a session, or if it works without one. Servers answer
 * 400 to unknown sessions, and a `ping` is never a bad request. True if the answer is unclear.
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
