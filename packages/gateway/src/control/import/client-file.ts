import { GatewayError } from '../../core/errors.ts'
import { tableOf } from '../../lib/json/table-of.ts'
import { readServerJson } from './server-json.ts'
import { pointerTo, type Answers, type Asked, type Source } from './source.ts'

/** Members that hold entries, in the files of clients: Claude and others, VS Code, Zed. */
const containers = ['mcpServers', 'servers', 'context_servers'] as const

/** Most entries of a file. */
const mostEntries = 200

/**
 * The servers that a file names, whichever client or registry wrote it.
 * @throws GatewayError `validation_failed` for a file of another kind
 */
export function sourcesOf(file: unknown, answers: Answers): Source[] {
  const { mcp, server, ...whole } = tableOf(file)
  // An answer of a registry wraps the document, and settings of VS Code wrap the configuration.
  const document = [server, mcp].find((each) => isObject(each)) ?? whole
  const { name, packages, remotes } = document
  if (typeof name === 'string' && (Array.isArray(packages) || Array.isArray(remotes)))
    return [readServerJson(document, answers)]

  const found = containers.filter((each) => isObject(document[each]))
  const [container] = found
  if (container === undefined || found.length > 1) throw unknownFile(found)
  const entries = Object.entries(tableOf(document[container]))
  if (entries.length > mostEntries)
    throw mistaken('too_big', `must not name more than ${mostEntries} servers`)

  const asked = inputsOf(document['inputs'])
  return entries.map(([entry, fields]) => {
    const pointer = pointerTo(container, entry)
    if (isObject(fields)) return { entry, pointer, fields, asked }
    const mistake = { pointer, code: 'invalid_type', detail: 'must be an object' } as const
    return { entry, pointer, fields: {}, asked, mistakes: [mistake] }
  })
}

/** The inputs of VS Code, by the ids of their placeholders. */
function inputsOf(inputs: unknown): Map<string, Asked> {
  const asked = new Map<string, Asked>()
  for (const input of Array.isArray(inputs) ? inputs : []) {
    const { id, description, default: proposed, options, password } = tableOf(input)
    if (typeof id !== 'string') continue
    const choices = Array.isArray(options) ? options.flatMap((each) => choiceOf(each)) : undefined
    asked.set(`input:${id}`, {
      secret: password === true,
      ...(typeof description === 'string' ? { description } : {}),
      ...(typeof proposed === 'string' ? { default: proposed } : {}),
      ...(choices === undefined ? {} : { choices }),
    })
  }
  return asked
}

function choiceOf(option: unknown): string[] {
  const value = isObject(option) ? option['value'] : option
  return typeof value === 'string' ? [value] : []
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function unknownFile(found: readonly string[]): GatewayError {
  return found.length > 1
    ? mistaken('ambiguous', `must hold one of ${found.join(' and ')}`)
    : mistaken(
        'invalid_type',
        `must hold ${containers.join(', ')}, or be a server.json with packages or remotes`,
      )
}

function mistaken(code: 'too_big' | 'ambiguous' | 'invalid_type', detail: string): GatewayError {
  return new GatewayError('validation_failed', { mistakes: [{ pointer: '/file', code, detail }] })
}
