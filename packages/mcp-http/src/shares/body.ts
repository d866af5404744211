import type { IncomingMessage, ServerResponse } from 'node:http'
import { errorCode, Pieces } from '@mcp-gateway/protocol'
import { sendRpcError } from '../answers.ts'
import type { Share, Shortage } from './shares.ts'

export interface BodyBounds {
  /** The largest accepted body, in bytes. */
  readonly limitBytes: number
  /** Counts the bytes of a body for its caller, until its request ends. */
  readonly room: () => Share
}

/** Bytes. Bodies up to this length are not counted. */
const uncounted = 4096

/**
 * Reads a whole body within bounds. It answers a body that is too large or finds no room, and never
 * calls `done` if the client leaves before the end.
 */
export function readBody(
  request: IncomingMessage,
  response: ServerResponse,
  { limitBytes, room }: BodyBounds,
  done: (body: Buffer) => void,
): void {
  let over = false

  const refuse = (status: number, message: string, headers: Record<string, string>): void => {
    over = true
    pieces.clear()
    request.pause()
    share?.release()

    const all = { ...headers, connection: 'close' }
    sendRpcError(response, status, { code: errorCode.invalidRequest, message, headers: all })
  }

  const tooLarge = (): void => refuse(413, `The body is larger than ${limitBytes} bytes.`, {})

  const noRoom = (shortage: Shortage): void =>
    shortage === 'caller'
      ? refuse(429, `You hold your share of ${ofBodies} Wait until some have ended.`, retry)
      : refuse(503, `Other callers hold all ${ofBodies} Try again later.`, retry)

  const pieces = new Pieces()
  const declared = Number(request.headers['content-length'] ?? 0)
  const chunked = request.headers['transfer-encoding'] !== undefined
  const share = declared > uncounted || chunked ? room() : undefined
  if (declared > limitBytes) return tooLarge()
  if (share !== undefined) {
    response.once('close', () => share.release())
    // Only an unfinished body is given up for another caller.
    share.spare(() => noRoom('caller'))
    const shortage = share.hold(declared)
    if (shortage !== undefined) return noRoom(shortage)
  }

  request.on('data', (chunk: Buffer) => {
    if (over) return
    const length = pieces.length + chunk.length
    if (length > limitBytes) return tooLarge()

    const shortage = share !== undefined && length > share.held ? share.hold(length) : undefined
    if (shortage !== undefined) return noRoom(shortage)

    pieces.push(chunk)
  })

  request.on('end', () => {
    if (over) return
    over = true
    share?.spare(undefined)
    done(pieces.take())
  })

  // `close` follows an error, and then no client waits for an answer.
  request.on('error', () => undefined)
}

const ofBodies = 'the bytes in the bodies of open requests.'
const retry = { 'retry-after': '1' }
