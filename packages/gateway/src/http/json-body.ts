import { isUtf8 } from 'node:buffer'
import type { IncomingMessage } from 'node:http'
import { isCostly, refusalOf, type Refusal } from '@mcp-gateway/protocol'
import { GatewayError, type ErrorCode } from '../core/errors.ts'
import { countHeader } from '../lib/http/raw-headers.ts'

/**
 * The text of a body that every reader takes for the same JSON. Lenient readers also accept
 * comments, a byte order mark or UTF-16, and could see another message.
 * @throws GatewayError `invalid_json`, `body_too_large`
 */
export function jsonText(body: Buffer): string {
  const text = utf8Text(body)
  if (isCostly(text, mostParts))
    throw new GatewayError('body_too_large', {
      detail:
        `The body holds more than ${mostParts} objects, arrays and members. Send less at ` +
        'once.',
    })
  try {
    JSON.parse(text)
    return text
  } catch (cause) {
    throw new GatewayError('invalid_json', {
      detail: `The body is not valid JSON: ${(cause as Error).message.slice(0, 200)}`,
      cause,
    })
  }
}

/**
 * Refuses a body that is not JSON, and a message that two readers could take differently.
 * @throws GatewayError `invalid_json`, `body_too_large`, `ambiguous_message`
 */
export function checkMessageBody(body: Buffer): void {
  const refusal = refusalOf(utf8Text(body), mostParts)
  if (refusal === undefined) return

  const { reason, detail } = refusal
  const advice = reason === 'ambiguous' ? ' Send each member once, as MCP spells it.' : ''
  throw new GatewayError(codeOf[reason], { detail: detail + advice })
}

const codeOf: Readonly<Record<Refusal['reason'], ErrorCode>> = {
  syntax: 'invalid_json',
  parts: 'body_too_large',
  ambiguous: 'ambiguous_message',
}

function utf8Text(body: Buffer): string {
  if (!isUtf8(body))
    throw new GatewayError('invalid_json', {
      detail: 'The body is not valid UTF-8. Send JSON in UTF-8.',
    })

  const text = body.toString()
  if (text.startsWith('\ufeff'))
    throw new GatewayError('invalid_json', {
      detail: 'The body begins with a byte order mark, which is no JSON. Send it without one.',
    })
  return text
}

/** Objects, arrays and members of one body. To read so many takes some tenths of a second. */
const mostParts = 100_000

const utf8Charset = /;[ \t]*charset[ \t]*=[ \t]*(?:utf-?8|"utf-?8")[ \t]*(?=;|$)/i

/**
 * Refuses content headers that make a server read another text. Servers decompress and decode.
 * @throws GatewayError `unsupported_media_type`
 */
export function checkContentHeaders({ headers, rawHeaders }: IncomingMessage): void {
  const { 'content-type': type, 'content-encoding': coding } = headers
  if (countHeader(rawHeaders, 'content-type') > 1)
    throw new GatewayError('unsupported_media_type', {
      detail: 'The request has more than one Content-Type. Send one.',
    })

  if (type !== undefined && type !== 'application/json') {
    // A second charset, or one hidden in another parameter, is left over here.
    if (/charset/i.test(type.replace(utf8Charset, '')))
      throw new GatewayError('unsupported_media_type', {
        detail: 'The Content-Type names a charset other than UTF-8. Send JSON in UTF-8.',
      })
  }
  if (coding !== undefined && coding.trim().toLowerCase() !== 'identity')
    throw new GatewayError('unsupported_media_type', {
      detail: 'The body is compressed, so the gateway cannot check it. Send it uncompressed.',
    })
}
