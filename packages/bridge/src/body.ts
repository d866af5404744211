import type { IncomingMessage } from 'node:http'

/** Reads a body whole, bounded. Calls back once, with what went wrong instead if it did. */
export function readBody(request: IncomingMessage, limit: number, done: (body: Buffer | 'too large' | 'gone') => void): void {
  if (Number(request.headers['content-length'] ?? 0) > limit) return done('too large')
  const chunks: Buffer[] = []
  let length = 0
  let over = false
  const finish = (result: Buffer | 'too large' | 'gone'): void => {
    if (over) return
    over = true
    done(result)
  }
  request.on('data', (chunk: Buffer) => {
    length += chunk.length
    if (length <= limit) chunks.push(chunk)
    else {
      request.pause()
      finish('too large')
    }
  })
  request.on('end', () => finish(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, length)))
  request.on('close', () => finish('gone'))
  request.on('error', () => finish('gone'))
}
