import type { IncomingMessage } from 'node:http'
import type { Share } from '@mcp-gateway/mcp-http'
import { elements, isArray, outline, Pieces } from '@mcp-gateway/protocol'
import { mostOfBatch } from '../audit/mcp-requests.ts'
import { GatewayError } from '../core/errors.ts'
import { shortOf } from '../core/shares.ts'
import { discardBody } from '../http/discard.ts'
import { checkContentHeaders, checkMessageBody } from '../http/json-body.ts'

/** Gives a share that counts the bytes of a body until the request ends. */
export interface BodyOwner {
  openBody(): Share
}

/**
 * Reads a whole body, up to `limit`, before the choice of a replica: a slow client holds no
 * connection to a server, and an unsent request may change replica.
 * `done` gets `body_too_large`, the refusal of the share, or `client_closed_request`.
 */
export function readBody(
  request: IncomingMessage,
  limit: number,
  owner: BodyOwner,
  done: (error: GatewayError | undefined, body: Buffer | null) => void,
): void {
  const declared = request.headers['content-length']
  if (declared === undefined && request.headers['transfer-encoding'] === undefined)
    return done(undefined, null)

  if (declared !== undefined && Number(declared) > limit) {
    discardBody(request)
    return done(tooLarge(limit), null)
  }

  const share = Number(declared ?? Infinity) > uncounted ? owner.openBody() : undefined
  const refuse = (error: GatewayError): void => {
    over = true
    first = null
    more = undefined
    discardBody(request)
    share?.release()
    done(error, null)
  }

  let first: Buffer | null = null
  let more: Pieces | undefined
  let length = 0
  let over = false

  const finish = (body: Buffer): void => {
    over = true
    share?.spare(undefined)
    done(undefined, body)
  }

  // Only a body that is still arriving may be given up for another caller.
  share?.spare(() => refuse(shortOf('caller', unfinished)))
  const shortage = share?.hold(Number(declared ?? 0))
  if (shortage !== undefined) return refuse(shortOf(shortage, unfinished))

  request.on('data', (chunk: Buffer) => {
    if (over) return
    length += chunk.length
    if (length > limit) return refuse(tooLarge(limit))
    const short = share !== undefined && length > share.held ? share.hold(length) : undefined
    if (short !== undefined) return refuse(shortOf(short, unfinished))

    if (first === null) first = chunk
    else {
      if (more === undefined) (more = new Pieces()).push(first)
      more.push(chunk)
    }
  })

  request.on('end', () => {
    if (!over) finish(more?.take() ?? first ?? Buffer.alloc(0))
  })

  // `close` follows an error, and the end of every request.
  request.on('error', () => undefined)
  request.on('close', () => {
    if (over) return
    over = true
    done(new GatewayError('client_closed_request'), null)
  })
}

/** Bytes. Shorter bodies are not counted, because the number of open requests bounds them. */
const uncounted = 4096

/** The name that refusals give to the bytes of bodies. */
const unfinished = 'bytes in the bodies of open requests'

function tooLarge(limit: number): GatewayError {
  return new GatewayError('body_too_large', { detail: `The body is larger than ${limit} bytes.` })
}

/** The method of the message in a body, which may hold anything. */
export function methodOf(body: Buffer): string | undefined {
  try {
    return outline(body).method
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

/**
 * Refuses a body that is no JSON, or that the gateway and a server could read differently.
 * @throws GatewayError `unsupported_media_type`, `invalid_json`, `ambiguous_message`
 */
export function checkMessage(request: IncomingMessage, body: Buffer | null): void {
  checkContentHeaders(request)
  checkMessageBody(body ?? nothing)
  if (body !== null && isArray(body)) checkLength(body)
}

/** Each message of a batch needs its own audit record, so that no call hides behind others. */
function checkLength(batch: Buffer): void {
  if (elements(batch, { start: 0, end: batch.length }).length > mostOfBatch)
    throw new GatewayError('invalid_request', {
      detail: `The batch has more than ${mostOfBatch} messages. Send them in several batches.`,
    })
}

/**
 * True if the request does no harm when it runs twice: it ends a session, opens a stream, or has one
 * message that changes nothing outside its session.
 */
export function isRepeatable({ method }: IncomingMessage, body: Buffer | null): boolean {
  return method !== 'POST' || (body !== null && repeatable.has(methodOf(body) ?? ''))
}

const repeatable: ReadonlySet<string> = new Set([
  'completion/complete',
  'initialize',
  'logging/setLevel',
  'ping',
  'prompts/get',
  'prompts/list',
  'resources/list',
  'resources/read',
  'resources/subscribe',
  'resources/templates/list',
  'resources/unsubscribe',
  'server/discover',
  'tools/list',
])

/** The raw id of the request in a body, which may hold anything. */
export function requestedId(body: Buffer | null): string {
  try {
    const { id } = body === null ? { id: undefined } : (JSON.parse(body.toString()), outline(body))
    return id !== undefined && /^["\-\d]/.test(id) ? id : 'null'
  } catch {
    return 'null'
  }
}

/**
 * True if a request opens a stream that stays open: the GET stream of a session, or
 * `subscriptions/listen`.
 */
export function opensStream({ method, headers }: IncomingMessage, body: Buffer | null): boolean {
  if (method === 'GET' || headers['mcp-method'] === listen) return true
  // Servers may accept a request without the header, and names may be escaped.
  return (
    body !== null && (body.includes('listen') || body.includes('\\u')) && methodOf(body) === listen
  )
}

const listen = 'subscriptions/listen'
const nothing = Buffer.alloc(0)
