import type { IncomingMessage, ServerResponse } from 'node:http'
import type { GatewayError } from '../core/errors.ts'
import { requestIdOf } from './edge.ts'

/** The body of RFC 9457 for an error: what REST callers get. */
export function problemOf(error: GatewayError, requestId: string): Record<string, unknown> {
  return {
    type: 'about:blank',
    title: error.title,
    status: error.status,
    ...(error.message === error.title || error.code === 'internal'
      ? {}
      : { detail: error.message }),
    code: error.code,
    requestId,
    retryable: error.retry,
    ...(error.mistakes.length === 0 ? {} : { errors: error.mistakes }),
  }
}

/**
 * Answers an MCP request with a JSON-RPC error and the fitting status. `id` is the raw JSON of the request's id; it is null when the body was
 * not read (JSON-RPC 2.0 section 5).
 */
export function sendRpcError(
  response: ServerResponse,
  error: GatewayError,
  requestId: string,
  id = 'null',
): void {
  const message = error.code === 'internal' ? error.title : error.message
  const told = {
    code: error.rpcCode,
    message,
    data: { code: error.code, requestId, retryable: error.retry },
  }
  sendText(
    response,
    error,
    'application/json',
    requestId,
    `{"jsonrpc":"2.0","id":${id},"error":${JSON.stringify(told)}}`,
  )
}

/** Answers a request that was refused before its plane was reached. */
export function refuse(
  request: IncomingMessage,
  response: ServerResponse,
  error: GatewayError,
): void {
  const requestId = requestIdOf(request)
  sendText(
    response,
    error,
    'application/problem+json',
    requestId,
    JSON.stringify(problemOf(error, requestId)),
  )
}

function sendText(
  response: ServerResponse,
  error: GatewayError,
  type: string,
  requestId: string,
  text: string,
): void {
  response.writeHead(error.status, {
    ...error.headers,
    'content-type': type,
    'content-length': Buffer.byteLength(text),
    'x-request-id': requestId,
  })
  response.end(text)
}
