import { readFileSync } from 'node:fs'
import { isHeaderValue, type UpstreamHeader } from './settings.ts'

/** The value of a header for the remote server; one in a file is read each time, so that a rotated secret is used at once. @throws Error */
export function headerValue(value: UpstreamHeader['value']): string {
  if ('text' in value) return value.text
  const read = readFileSync(value.file, 'utf8').trim()
  if (!isHeaderValue(read)) throw new Error(`${value.file} does not hold a header value`)
  return read
}
