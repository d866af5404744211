import type { IncomingMessage, ServerResponse } from 'node:http'
import { errorCode } from '@mcp-gateway/protocol'
import { sendRpcError } from './answers.ts'

/** Reads a body whole, bounded. One that is too large is answered; of one whose client goes before its end nothing is heard. */
export function readBody(
  request: IncomingMessage,
  response: ServerResponse,
  limit: number,
  done: (body: Buffer) => void,
): void {
  let over = false
  const refuse = (): void => {
    over = true
    const message = `The body is larger than ${limit} bytes.`
    sendRpcError(response, 413, undefined, errorCode.invalidRequest, message, {
      connection: 'close',
    })
  }
  if (Number(request.headers['content-length'] ?? 0) > limit) return refuse()
  const chunks: Buffer[] = []
  let length = 0
  request.on('data', (chunk: Buffer) => {
    if (over) return
    length += chunk.length
    if (length <= limit) return void chunks.push(chunk)
    request.pause()
    refuse()
  })
  request.on('end', () => {
    if (!over) done(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, length))
  })
  // An error is followed by `close`, after which there is nobody to answer.
  request.on('error', () => undefined)
}
