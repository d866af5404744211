import {
  type HttpUpstream,
  knowsSession,
  legacyPostHeaders,
  modernHeaders,
  readMessages,
  sendHttp,
} from '@mcp-gateway/mcp-http'
import {
  eraOf,
  latestLegacyVersion,
  metaKey,
  modernVersion,
  readMessage,
  readObject,
  readString,
  requestMessage,
} from '@mcp-gateway/protocol'

/** The era of a server. A modern server may take legacy clients too. */
export type Era = 'legacy' | 'modern'

/**
 * A server's reaction to a well-formed `initialize`: refusal, or an answer without or with a
 * session.
 */
export type LegacySide = 'none' | 'stateless' | 'sessions'

export const clientInfo = { name: 'mcp-gateway', version: '0.1.0' }

const probeTimeoutMs = 10_000

/**
 * Time for the question of the era, as a part of the time that the client waits. In milliseconds.
 */
export function probeMs(handshakeMs: number): number {
  return Math.min(probeTimeoutMs, handshakeMs / 2)
}

/**
 * Asks with `server/discover` (MCP 2026-07-28, versioning). The era is undefined if the answer does
 * not tell it: the server is down, slow, or asks for credentials.
 */
export async function probe(
  upstream: HttpUpstream,
  boundMs: number,
): Promise<{
  readonly era: Era | undefined
  readonly heard: boolean
  readonly spoke: boolean
  /** The server's reason for an answer that does not tell the era. */
  readonly refusal: string | undefined
}> {
  const params = {
    _meta: {
      [metaKey.protocolVersion]: modernVersion,
      [metaKey.clientInfo]: clientInfo,
      [metaKey.clientCapabilities]: {},
    },
  }
  const body = requestMessage('"era-probe"', 'server/discover', JSON.stringify(params))
  const { status, message } = await send(upstream, modernHeaders('server/discover'), body, boundMs)
  const era = isVerdict(status) ? eraOf(message?.get('result'), message?.get('error')) : undefined
  const said = readString(readObject(message?.get('error'))?.get('message'))
  const refusal =
    era === undefined && said !== undefined
      ? `The server refuses server/discover (HTTP ${status}): ${said.slice(0, 200)}`
      : undefined
  return { era, heard: status !== 0, spoke: message !== undefined || status >= 400, refusal }
}

/**
 * Opens and ends a session of the gateway's own. Undefined if the answers do not tell the side.
 * @param keepsStateless A `ping` tests a side without sessions. Some refuse all but `initialize`.
 */
export async function greet(
  upstream: HttpUpstream,
  keepsStateless: boolean,
): Promise<LegacySide | undefined> {
  const params = { protocolVersion: latestLegacyVersion, capabilities: {}, clientInfo }
  const body = requestMessage('"era-hello"', 'initialize', JSON.stringify(params))
  const { status, message, session } = await send(upstream, legacyPostHeaders, body)
  if (!isVerdict(status)) return undefined
  const result = readObject(message?.get('result'))
  if (result === undefined)
    return message?.has('error') === true || status >= 400 ? 'none' : undefined

  const version = readString(result.get('protocolVersion')) ?? latestLegacyVersion
  const side = session === undefined ? 'stateless' : 'sessions'
  if (side === 'stateless' && !keepsStateless) return side

  const takes = await knowsSession(upstream, session, version)
  if (session !== undefined) {
    const headers = ['mcp-session-id', session, 'mcp-protocol-version', version]
    const request = { method: 'DELETE', headers, answerTimeoutMs: probeTimeoutMs } as const
    sendHttp(upstream, request, { head: () => {}, chunk: () => {}, end: () => {} })
  }
  return takes ? side : 'none'
}

/**
 * True if a status tells the era. A refusal for other reasons does not: credentials, load, or an
 * identity of the caller that is too long.
 */
function isVerdict(status: number): boolean {
  return status >= 200 && status < 500 && ![401, 403, 408, 429, 431].includes(status)
}

/** A server's answer to a request of the gateway's own. Status 0 means that there was no answer. */
interface Answer {
  readonly status: number
  readonly message: ReturnType<typeof readMessage>
  readonly session: string | undefined
}

/** Sends one request, and ends with its answer, because an event stream may stay open after it. */
function send(
  upstream: HttpUpstream,
  headers: readonly string[],
  body: string,
  boundMs = probeTimeoutMs,
): Promise<Answer> {
  return new Promise((resolve) => {
    let status = 0
    let session: string | undefined
    let last: ReturnType<typeof readMessage>
    const decide = (failed = false): void => {
      clearTimeout(timer)
      exchange.abort()
      resolve({ status: failed ? 0 : status, message: last, session })
    }
    const timer = setTimeout(() => decide(true), boundMs)
    const exchange = sendHttp(
      upstream,
      { method: 'POST', headers, body, answerTimeoutMs: boundMs },
      readMessages(
        {
          head: (code, header) => {
            status = code
            session = header('mcp-session-id')
          },
          message: (text) => {
            try {
              last = readMessage(text)
            } catch (error) {
              if (!(error instanceof SyntaxError)) throw error
            }
            if (last?.has('result') === true || last?.has('error') === true) decide()
          },
          end: ({ failure }) => decide(failure !== undefined),
        },
        () => exchange.abort(),
      ),
    )
  })
}
