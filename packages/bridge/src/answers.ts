import type { ServerResponse } from 'node:http'
import { errorAnswer } from '@mcp-gateway/protocol'

/** Answers with JSON that is there as bytes. */
export function sendJson(
  response: ServerResponse,
  status: number,
  body: Uint8Array,
  headers: Readonly<Record<string, string>>,
): void {
  response.writeHead(status, {
    ...headers,
    'content-type': 'application/json',
    'content-length': body.length,
  })
  response.end(body)
}

/** Answers with a JSON-RPC error. `id` is raw JSON. */
export function sendRpcError(
  response: ServerResponse,
  status: number,
  id: string | undefined,
  code: number,
  message: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  if (response.headersSent || response.destroyed) return
  sendJson(response, status, Buffer.from(errorAnswer(id, code, message)), headers)
}
