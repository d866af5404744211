import { Pieces } from '@mcp-gateway/protocol'
import { parseType } from './answer.ts'

/** Bytes of an error answer that are searched for its message. */
const errorBodyLimit = 16 * 1024
const longestMessage = 2000

/**
 * The message of an error answer, for people: bounded, in plain text, without pages and stack
 * traces.
 */
export async function messageOf(
  body: AsyncIterable<Buffer>,
  contentType: string | undefined,
): Promise<string> {
  const { type } = parseType(contentType)
  const json = /^(application|text)\/([\w.-]+\+)?json$/.test(type)
  if (!json && type !== 'text/plain') return ''
  const pieces = new Pieces()
  for await (const chunk of body) {
    pieces.push(chunk)
    if (pieces.length >= errorBodyLimit) break
  }
  const text = pieces.take().subarray(0, errorBodyLimit).toString()
  return plain(json ? jsonMessage(text) : text)
}

/**
 * The message of an error in one of the common forms: RFC 9457, `error`, `message`, FastAPI's
 * `detail`.
 */
function jsonMessage(text: string): string {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return text
  }

  const read = (node: unknown, depth: number): string | undefined => {
    if (typeof node === 'string') return node
    if (typeof node !== 'object' || node === null || depth > 3) return undefined
    if (Array.isArray(node)) {
      const lines = node.slice(0, 20).flatMap((each) => read(each, depth + 1) ?? [])
      return lines.length === 0 ? undefined : lines.join('; ')
    }

    const { loc, msg } = node as { loc?: unknown; msg?: unknown }
    if (typeof msg === 'string') return Array.isArray(loc) ? `${loc.join('.')}: ${msg}` : msg

    for (const name of ['detail', 'message', 'error', 'errors', 'title', 'reason']) {
      const found = read((node as Record<string, unknown>)[name], depth + 1)
      if (found !== undefined && found !== '') return found
    }

    return undefined
  }

  return read(value, 0) ?? ''
}

function plain(text: string): string {
  const lines = text
    .split(/[\r\n]+/)
    // Frames of stack traces: JavaScript, Java and C#, then Python.
    .filter((line) => !/^\s*(at\s.+[:(]|File ".+", line \d+)/.test(line))
  const clean = lines
    .join('\n')
    .replace(/(?!\n)\p{Cc}/gu, ' ')
    .trim()
  return clean.length > longestMessage ? `${clean.slice(0, longestMessage)}…` : clean
}
