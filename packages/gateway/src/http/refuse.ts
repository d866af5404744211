import type { IncomingMessage, ServerResponse } from 'node:http'
import type { GatewayError } from '../core/errors.ts'
import { requestIdOf } from './edge.ts'

/** The body of RFC 9457 for an error: what REST callers get. */
export function problemOf(error: GatewayError, requestId: string): Record<string, unknown> {
  return {
    type: 'about:blank',
    title: error.title,
    status: error.status,
    ...(error.message === error.title || error.code === 'internal' ? {} : { detail: error.message }),
    code: error.code,
    requestId,
    retryable: error.retry,
    ...(error.mistakes.length === 0 ? {} : { errors: error.mistakes }),
  }
}

/** Answers an MCP request with a JSON-RPC error and the fitting status. The id is null, as the body may not be read (JSON-RPC 2.0 section 5). */
export function sendRpcError(response: ServerResponse, error: GatewayError, requestId: string): void {
  const message = error.code === 'internal' ? error.title : error.message
  send(response, error, 'application/json', requestId, {
    jsonrpc: '2.0',
    id: null,
    error: { code: error.rpcCode, message, data: { code: error.code, requestId, retryable: error.retry } },
  })
}

/** Answers a request that was refused before its plane was reached. */
export function refuse(request: IncomingMessage, response: ServerResponse, error: GatewayError): void {
  const requestId = requestIdOf(request)
  send(response, error, 'application/problem+json', requestId, problemOf(error, requestId))
}

function send(response: ServerResponse, error: GatewayError, type: string, requestId: string, body: unknown): void {
  const text = JSON.stringify(body)
  response.writeHead(error.status, {
    ...error.headers,
    'content-type': type,
    'content-length': Buffer.byteLength(text),
    'x-request-id': requestId,
  })
  response.end(text)
}
