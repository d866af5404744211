const mostLines = 3
const longestLine = 300
const longest = 600

/** Matches a line that names an error. If several lines do, the last one is the cause. */
const naming = new RegExp(
  [
    /^(?:uncaught |exception in thread ".*" |caused by: |thread '.*' )?/,
    /(?:(?:[\w$]+[.:])*\w*(?:error|exception)\b.*:|panic:|panicked at |fatal\b)/,
  ]
    .map(({ source }) => source)
    .join(''),
  'i',
)
/** Matches an error line of npm. The first such lines say most, and the last one says least. */
const ofNpm = /^npm (?:ERR!|error) /
/** Matches stack frames and dumps of objects, which are indented, and other noise. */
const noise = /^\s|^[\s\])}{([^~,;|]*$|^Node\.js v\d/

/**
 * Picks those of a program's last lines that tell why it ended: the line that names an error, and
 * the last ones.
 */
export function lastWords(lines: readonly string[]): string {
  const said = lastOfEach(lines.map(messageOf).filter((line) => line.trim() !== ''))
  const telling = said.filter((line) => !noise.test(line))
  const chosen = choose(telling.length === 0 ? said : telling).map((line) => line.trim())

  return [...new Set(chosen)]
    .filter((line) => !chosen.some((other) => other !== line && other.includes(line)))
    .map((line) => line.slice(0, longestLine))
    .join(' | ')
    .slice(0, longest)
}

/** Keeps the last of equal lines: a program that tries again says the same again. */
function lastOfEach(lines: readonly string[]): readonly string[] {
  return [...new Set(lines.toReversed())].toReversed()
}

function choose(lines: readonly string[]): readonly string[] {
  const named = lines.findLastIndex((line) => naming.test(line))
  const at = named === -1 ? lines.findIndex((line) => ofNpm.test(line)) : named
  if (at === -1 || at >= lines.length - mostLines) return lines.slice(-mostLines)
  return [...lines.slice(at, at + mostLines - 1), ...lines.slice(-1)]
}

/** The words of a log line in JSON; any other line as it is. */
function messageOf(line: string): string {
  if (!line.startsWith('{')) return line
  try {
    const { stderr, reason, msg, message, err, error } = JSON.parse(line) as Record<string, unknown>
    const alone = [stderr, reason].find((each) => typeof each === 'string')
    if (alone !== undefined) return String(alone)
    const parts = [msg ?? message, textOf(err) ?? textOf(error)]
    return parts.filter((part) => typeof part === 'string' && part !== '').join(': ') || line
  } catch {
    return line
  }
}

function textOf(error: unknown): string | undefined {
  if (typeof error === 'string') return error
  const { message } = (error ?? {}) as { readonly message?: unknown }
  return typeof message === 'string' ? message : undefined
}
