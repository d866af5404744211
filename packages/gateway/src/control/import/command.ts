import type { AdapterBody } from '@mcp-gateway/contract'
import type { Mistake } from '../../core/errors.ts'
import { looksSecret } from '../../core/fields/looks-secret.ts'
import { tableOf } from '../../lib/json/table-of.ts'
import type { Placeholders } from './placeholders.ts'
import type { Source } from './source.ts'

type Variables = NonNullable<AdapterBody['environmentVariables']>

/** The variables of the bridge that start a command. */
export function commandOf(
  { fields, pointer }: Source,
  placeholders: Placeholders,
  mistakes: Mistake[],
): Variables {
  const words = wordsOf(fields)
  if (words === undefined) {
    const detail = 'must be a text, and its args a list of texts'
    mistakes.push({ pointer: `${pointer}/command`, code: 'invalid_type', detail })
    return {}
  }
  const cwd = directoryOf(fields['cwd'], pointer, placeholders, mistakes)
  const filled = words.map((word, index) =>
    placeholders.fill(index === 0 ? `${pointer}/command` : `${pointer}/args`, word),
  )
  const [command = '', ...args] = unwrapped(filled.map(({ text }) => text))

  if (/[\\/]/.test(command) && !isAbsolute(command))
    mistakes.push(relative(`${pointer}/command`, command))
  const lost = args.find((word) => isRelative(word) && (cwd === undefined || isHome(word)))
  if (lost !== undefined) mistakes.push(relative(`${pointer}/args`, lost))

  const text = args.map((word) => quoted(word)).join(' ')
  const secret = filled.some((each) => each.secret) || looksSecret('MCP_ARGS', text)
  return {
    MCP_COMMAND: command,
    ...(args.length === 0 ? {} : { MCP_ARGS: secret ? { value: text, secret } : text }),
    ...(cwd === undefined ? {} : { MCP_CWD: cwd }),
  }
}

/** The command and its arguments. Zed has both in one object. */
function wordsOf({ args: beside, command }: Source['fields']): readonly string[] | undefined {
  const { args = beside, path = command } = tableOf(command)
  const words: unknown[] = [path, ...(Array.isArray(args) ? args : [])]
  const isList = args === undefined || Array.isArray(args)
  const texts = words.map((word) => (typeof word === 'number' ? String(word) : word))
  return isList && texts.every((word) => typeof word === 'string') && texts[0] !== ''
    ? texts
    : undefined
}

function directoryOf(
  given: unknown,
  pointer: string,
  placeholders: Placeholders,
  mistakes: Mistake[],
): string | undefined {
  if (typeof given !== 'string') return undefined
  const { text } = placeholders.fill(`${pointer}/cwd`, given)
  if (!isAbsolute(text) && placeholders.needs.size === 0)
    mistakes.push(relative(`${pointer}/cwd`, text))
  return text
}

/** Windows starts scripts by `cmd /c`, which the bridge needs nowhere. */
function unwrapped(words: readonly string[]): readonly string[] {
  const [command = '', option = ''] = words
  const isShell = /^cmd(\.exe)?$/i.test(command) && /^\/c$/i.test(option)
  return isShell && words.length > 2 ? words.slice(2) : words
}

/** Quotes a word for the bridge, which splits its arguments by the rules of a shell. */
function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`
}

function isAbsolute(path: string): boolean {
  return /^(\/|[A-Za-z]:[\\/]|\\\\)/.test(path)
}

function isHome(word: string): boolean {
  return /^(--?[\w-]+=)?~([\\/]|$)/.test(word)
}

function isRelative(word: string): boolean {
  return /^(--?[\w-]+=)?\.{1,2}([\\/]|$)/.test(word) || isHome(word)
}

function relative(pointer: string, path: string): Mistake {
  return {
    pointer,
    code: 'relative_path',
    detail: `holds the relative path '${path.slice(0, 100)}': give the whole path`,
  }
}
