import { type HttpUpstream, readMessages, sendHttp } from '@mcp-gateway/mcp-http'
import { requestMessage } from '@mcp-gateway/protocol'
import { GatewayError } from '../core/errors.ts'
import { heldBytes, shortOf } from '../core/shares.ts'
import { FlatHeaders } from './flat-headers.ts'
import type { ToolList } from './known-tools.ts'
import { pageOf, type Page } from './ruled-messages.ts'

const askTimeoutMs = 30_000
const mostPages = 100
/** Characters that all pages of one list may have together. */
const mostRead = 64 * 1024 * 1024

/**
 * Asks the server for all its tools, with the headers of the caller's own request, and adds them to
 * `list`.
 * @throws GatewayError `upstream_failed`
 */
export async function listTools(
  server: Pick<HttpUpstream, 'pool' | 'held'>,
  { path, headers }: { readonly path: string; readonly headers: readonly string[] },
  id: string,
  envelope: string | undefined,
  list: ToolList,
): Promise<void> {
  const flat = new FlatHeaders(headers)
  const modern = flat.all('mcp-method').length > 0
  const own = flat.without((name) => ownOfCall.test(name))
  let read = 0
  let cursor: string | undefined
  for (let page = 0; page < mostPages; page += 1) {
    const params = [
      ...(cursor === undefined ? [] : [`"cursor":${cursor}`]),
      ...(envelope === undefined ? [] : [`"_meta":${envelope}`]),
    ]
    const body = requestMessage(id, 'tools/list', `{${params.join(',')}}`)
    const headers = modern ? [...own, 'mcp-method', 'tools/list'] : own
    const answered = await askOnce({ ...server, path, headers: () => headers }, body, id)
    for (const tool of answered.tools) list.add(tool)
    cursor = answered.next
    if (cursor === undefined) return
    read += answered.length
    if (read > mostRead) break
  }
  throw unreadable()
}

/** Headers that belong to one request only. */
const ownOfCall = new RegExp(
  '^(mcp-method|mcp-name|mcp-param-.*|idempotency-key|last-event-id|' +
    'content-length|accept-encoding)$',
)

function askOnce(upstream: HttpUpstream, body: string, id: string): Promise<Page> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      exchange.abort()
      reject(
        new GatewayError('upstream_timeout', {
          detail: 'The server did not list its tools in time, which its rules ask for.',
        }),
      )
    }, askTimeoutMs)
    const exchange = sendHttp(
      upstream,
      { method: 'POST', headers: [], body, answerTimeoutMs: askTimeoutMs },
      readMessages(
        {
          message: (text) => {
            const page = pageOf(text, id)
            if (page === undefined) return
            clearTimeout(timer)
            resolve(page)
            exchange.abort()
          },
          end: ({ failure }) => {
            clearTimeout(timer)
            // The call itself has not been sent yet.
            if (failure?.code === 'answer_dropped') return reject(shortOf('caller', heldBytes))
            reject(
              failure?.unsent === true
                ? new GatewayError('upstream_unreachable', { cause: failure.message })
                : unreadable(),
            )
          },
        },
        () => exchange.abort(),
      ),
    )
  })
}

function unreadable(): GatewayError {
  return new GatewayError('upstream_failed', {
    detail:
      'The server does not say which tools it has, which its rules ask for. ' +
      'The request was not run.',
  })
}
