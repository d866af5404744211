/** One event as bytes for an event stream. `data` is one line of JSON. (WHATWG HTML, section 9.2) */
export function encodeEvent(id: string | undefined, data: string): string {
  return `${id === undefined ? '' : `id: ${id}\n`}data: ${data}\n\n`
}

/** A comment that keeps intermediaries from closing a silent stream. */
export const keepAliveComment = ': keep-alive\n\n'
