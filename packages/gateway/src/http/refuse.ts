import type { IncomingMessage, ServerResponse } from 'node:http'
import type { GatewayError } from '../core/errors.ts'
import { requestIdOf } from './edge.ts'

/** The body of RFC 9457 for an error, for REST callers. */
export function problemOf(error: GatewayError, requestId: string): Record<string, unknown> {
  return {
    type: 'about:blank',
    title: error.title,
    status: error.status,
    detail: error.detail,
    code: error.code,
    requestId,
    retryable: error.retry,
    ...(error.mistakes.length === 0 ? {} : { errors: error.mistakes }),
  }
}

/**
 * Answers an MCP request with a JSON-RPC error and its status. `id` is the raw id of the request,
 * or null if the body was not read (JSON-RPC 2.0 section 5).
 */
export function sendRpcError(
  response: ServerResponse,
  error: GatewayError,
  requestId: string,
  id = 'null',
): void {
  const told = {
    code: error.rpcCode,
    message: error.detail,
    data: { code: error.code, requestId, retryable: error.retry },
  }
  sendText(response, error, requestId, {
    type: 'application/json',
    text: `{"jsonrpc":"2.0","id":${id},"error":${JSON.stringify(told)}}`,
  })
}

/** Answers a request that was refused before it reached a plane. */
export function refuse(
  request: IncomingMessage,
  response: ServerResponse,
  error: GatewayError,
): void {
  const requestId = requestIdOf(request)
  sendText(response, error, requestId, {
    type: 'application/problem+json',
    text: JSON.stringify(problemOf(error, requestId)),
  })
}

function sendText(
  response: ServerResponse,
  error: GatewayError,
  requestId: string,
  { type, text }: { readonly type: string; readonly text: string },
): void {
  response.writeHead(error.status, {
    ...error.headers,
    'content-type': type,
    'content-length': Buffer.byteLength(text),
    'x-request-id': requestId,
  })
  response.end(text)
}
