import type { ServerResponse } from 'node:http'
import { errorAnswer, errorCode } from '@mcp-gateway/protocol'
import { checkUnsent, countable } from './shares/unsent.ts'

/** True if the client accepts event streams. Without an Accept header it accepts everything. */
export function takesEvents({ req }: ServerResponse): boolean {
  const { accept } = req.headers
  return accept === undefined || accepts(accept, 'text/event-stream')
}

/** True if an Accept header names a media type, or a range such as `text/*` that covers it. */
export function accepts(accept: string, type: string): boolean {
  return (
    accept.includes(type) || accept.includes('*/*') || accept.includes(`${type.split('/')[0]}/*`)
  )
}

/** Answers with a JSON body. */
export function sendJson(
  response: ServerResponse,
  status: number,
  body: Uint8Array | string,
  headers: Readonly<Record<string, string>>,
): void {
  const isText = typeof body === 'string'
  const length = isText ? Buffer.byteLength(body) : body.length
  response.writeHead(status, {
    ...headers,
    'content-type': 'application/json',
    'content-length': length,
  })
  // As text, the body goes out with the head in one write.
  response.end(isText ? countable(body, length) : body)
  checkUnsent(response)
}

/** A JSON-RPC error as an answer. */
export interface RpcError {
  /** Raw JSON. Undefined if the id of the request is not known. */
  readonly id?: string | undefined
  readonly code: number
  readonly message: string
  readonly headers?: Readonly<Record<string, string>>
  /** Holds a stable code. */
  readonly data?: { readonly code: string }
}

/** Answers with a JSON-RPC error. */
export function sendRpcError(
  response: ServerResponse,
  status: number,
  { id, code, message, headers = {}, data }: RpcError,
): void {
  if (response.headersSent || response.destroyed) return
  sendJson(response, status, Buffer.from(errorAnswer(id, code, message, data)), headers)
}

/**
 * Refuses a message that two readers could understand differently. The error has no id, because the
 * id itself may be ambiguous.
 */
export function sendAmbiguous(response: ServerResponse, why: string): void {
  const advice = 'The message was not passed on. Send each member once, spelled as MCP spells it.'
  const answer = errorAnswer(undefined, errorCode.invalidRequest, `${why} ${advice}`, {
    code: 'ambiguous_message',
  })
  sendJson(response, 400, Buffer.from(answer), {})
}
