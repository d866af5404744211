/** A member as the instructions of an aggregate present it. */
export interface PresentedMember {
  readonly alias: string
  readonly title: string
  /** Why the member cannot serve now; undefined if it can. */
  readonly trouble: string | undefined
  readonly instructions: string | undefined
}

/** Bytes of a member's own instructions, and of all members' together. */
const mostOfMember = 2 * 1024
const mostOfAll = 8 * 1024

/**
 * The instructions of an aggregate (MCP, server/discover): the operator's text, a line for each
 * member, and the members' own texts, each under its name, because their authors are not trusted.
 */
export function composeInstructions(
  own: string | undefined,
  members: readonly PresentedMember[],
  mode: 'none' | 'attributed',
): string | undefined {
  if (mode === 'none' || members.length === 0) return own

  const lines = members.map(({ alias, title, trouble }) => {
    const state = trouble === undefined ? '' : ` (not available now: ${oneLine(trouble, 200)})`
    return `- ${alias}_…: ${oneLine(title, 100)}${state}`
  })
  const parts = [
    ...(own === undefined ? [] : [own]),
    `The names of tools and prompts begin with the alias of their server:\n${lines.join('\n')}`,
  ]

  let left = mostOfAll
  for (const { alias, title, instructions } of members) {
    const text = cut(instructions?.trim() ?? '', Math.min(mostOfMember, left))
    if (text === '') continue
    left -= Buffer.byteLength(text)
    const quoted = text.split('\n').map((line) => `> ${line}`.trimEnd())
    parts.push(`The server '${oneLine(title, 100)}' (${alias}) says:\n${quoted.join('\n')}`)
  }
  return parts.join('\n\n')
}

function oneLine(text: string, most: number): string {
  return text.replaceAll(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ').slice(0, most)
}

/** The beginning of a text, in at most so many bytes, without half characters. */
function cut(text: string, bytes: number): string {
  if (Buffer.byteLength(text) <= bytes) return text
  if (bytes < 4) return ''
  const kept = Buffer.from(text)
    .subarray(0, bytes - 3)
    .toString('utf8')
    .replace(/\ufffd+$/, '')
  return `${kept}…`
}
