// Scans JSON in text, as json-slice.ts does in bytes. The text must hold valid JSON (RFC 8259).

/** The place after white space. */
export function skipSpace(raw: string, from: number): number {
  let at = from
  for (;;) {
    const code = raw.charCodeAt(at)
    if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return at
    at += 1
  }
}

/** The place after the string that begins at `from`. */
export function skipString(raw: string, from: number): number {
  for (let at = raw.indexOf('"', from + 1); at !== -1; at = raw.indexOf('"', at + 1)) {
    let slashes = at - 1
    while (raw.charCodeAt(slashes) === 0x5c) slashes -= 1
    if (((at - slashes) & 1) === 1) return at + 1
  }
  return raw.length
}

/** The place after the value that begins at `from`. */
export function skipValue(raw: string, from: number): number {
  const first = raw[from]
  if (first === '"') return skipString(raw, from)
  if (first !== '{' && first !== '[') {
    let at = from
    while (at < raw.length && !' \n\r\t,}]'.includes(raw[at] as string)) at += 1
    return at
  }

  let depth = 0
  for (let at = from; at < raw.length;) {
    const code = raw.charCodeAt(at)
    if (code === 0x22) at = skipString(raw, at)
    else {
      if (code === 0x7b || code === 0x5b) depth += 1
      else if (code === 0x7d || code === 0x5d) depth -= 1
      at += 1
      if (depth === 0) return at
    }
  }

  return raw.length
}
