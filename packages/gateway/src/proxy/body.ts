import type { IncomingMessage } from 'node:http'
import { outline } from '@mcp-gateway/protocol'
import { GatewayError } from '../core/errors.ts'
import { discardBody } from '../http/discard.ts'

/**
 * Reads a request's body whole, bounded, and hands over the very bytes. It is read before a replica is chosen, so that a
 * slow client holds no connection to a server and an unsent request can be sent elsewhere.
 * Calls back with `body_too_large`, or with `client_closed_request` when the client goes before the end.
 */
export function readBody(
  request: IncomingMessage,
  limit: number,
  done: (error: GatewayError | undefined, body: Buffer | null) => void,
): void {
  const declared = request.headers['content-length']
  if (declared === undefined && request.headers['transfer-encoding'] === undefined)
    return done(undefined, null)
  if (declared !== undefined && Number(declared) > limit) {
    discardBody(request)
    return done(tooLarge(limit), null)
  }
  let first: Buffer | null = null
  let more: Buffer[] | undefined
  let length = 0
  let over = false
  const finish = (body: Buffer): void => {
    over = true
    done(undefined, body)
  }
  const fail = (error: GatewayError): void => {
    over = true
    done(error, null)
  }
  request.on('data', (chunk: Buffer) => {
    if (over) return
    length += chunk.length
    if (length > limit) {
      first = null
      more = undefined
      discardBody(request)
      return fail(tooLarge(limit))
    }
    if (first === null) first = chunk
    else (more ??= [first]).push(chunk)
  })
  request.on('end', () => {
    if (!over) finish(more === undefined ? (first ?? Buffer.alloc(0)) : Buffer.concat(more, length))
  })
  // An error is followed by `close`, as is the end of every request.
  request.on('error', () => undefined)
  request.on('close', () => {
    if (!over) fail(new GatewayError('client_closed_request'))
  })
}

function tooLarge(limit: number): GatewayError {
  return new GatewayError('body_too_large', { detail: `The body is larger than ${limit} bytes.` })
}

/** The method of the message in a body that may be anything. */
export function methodOf(body: Buffer): string | undefined {
  try {
    return outline(body).method
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}
