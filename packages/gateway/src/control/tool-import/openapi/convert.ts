import type { ToolBody } from '@mcp-gateway/contract'
import { tableOf } from '../../../lib/json/table-of.ts'
import { ArgumentsReader, isJson, typeOf, type Arguments } from './arguments.ts'
import { NoDocument, readDocument } from './document.ts'
import {
  mostOperations,
  type ImportAnswer,
  type ImportedOperation,
  type ImportTask,
  type Note,
} from './imported.ts'
import { resourceNameOf } from './names.ts'
import { Operations, type Operation } from './operations.ts'
import { References } from './references.ts'
import { SchemaWriter } from './schemas.ts'
import { Unreadable } from './unreadable.ts'

type Table = Readonly<Record<string, unknown>>
type Request = NonNullable<ToolBody['toolDefinition']['request']>

/** Characters of all definitions of one import, which an answer repeats. */
const mostCharacters = 4 * 1024 * 1024
/** Operations that an answer names without reading them. */
const mostNamed = 10_000

/** Makes tools of the operations of a document. Pure, but may take long. */
export function convert(task: ImportTask): ImportAnswer {
  try {
    return converted(task, readDocument(task.text))
  } catch (error) {
    if (!(error instanceof NoDocument)) throw error
    return { mistake: { code: 'document_invalid', detail: error.message } }
  }
}

function converted(task: ImportTask, document: Table): ImportAnswer {
  const references = new References(document)
  const operations = new Operations(document, references, task.prefix)
  const keys = operations.all.map(({ key }) => key)
  const wanted = task.operations ?? keys.slice(0, mostOperations)
  const info = tableOf(document['info'])

  let characters = 0
  const made = wanted.map((each): ImportedOperation => {
    const one = attempt(each, operations, (operation) =>
      bodyOf(task, document, references, operation),
    )
    if (!('body' in one.outcome)) return one
    characters += JSON.stringify(one.outcome.body).length
    if (characters <= mostCharacters) return one
    const detail = 'The definitions are too large together. Import fewer operations at once.'
    return { ...one, outcome: { code: 'import_too_large', detail } }
  })
  return {
    title: textOf(info['title'], 200),
    version: textOf(info['version'], 100),
    operations: made,
    remaining: task.operations === undefined ? keys.slice(mostOperations, mostNamed) : [],
  }
}

function attempt(
  wanted: string,
  operations: Operations,
  make: (operation: Operation) => Extract<ImportedOperation['outcome'], { body: unknown }>,
): ImportedOperation {
  let known: Pick<ImportedOperation, 'operation' | 'operationId'> = { operation: wanted }
  try {
    const found = operations.find(wanted)
    const { key, operationId } = found
    known = operationId === undefined ? { operation: key } : { operation: key, operationId }
    return { ...known, outcome: make(found) }
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error
    return { ...known, outcome: { code: error.code, detail: error.message } }
  }
}

function bodyOf(
  task: ImportTask,
  document: Table,
  references: References,
  operation: Operation,
): { readonly body: ToolBody; readonly notes: readonly Note[] } {
  const { item, name, operation: declared, path } = operation
  const method = methodOf(operation)
  const endpoint = endpointOf(task, [declared, item, document])
  const given = argumentsOf(operation, {
    references,
    path,
    credentialHeaders: task.credentialHeaders,
    fixedFields: new Set(new URL(endpoint).searchParams.keys()),
  })
  const accept = acceptOf(declared['responses'], references)
  const title = textOf(declared['summary'], 200)
  const description = [title, textOf(declared['description'], 4000)]
    .filter((text, index, all) => text !== '' && all.indexOf(text) === index)
    .join('\n\n')

  const body: ToolBody = {
    name: resourceNameOf(name),
    endpoint,
    description: title,
    toolDefinition: {
      tool: {
        name,
        ...(title === '' ? {} : { title }),
        description: description === '' ? `${method} ${path}` : description,
        inputSchema: given.inputSchema,
        annotations: annotationsOf(method),
      },
      request: {
        method,
        path,
        parameters: given.parameters,
        ...(given.body === undefined ? {} : { body: given.body }),
        ...(accept === undefined ? {} : { accept }),
      },
    },
  }
  const needed = credentialNote(declared['security'] ?? document['security'], document, references)
  const missing = needed !== undefined && task.credentialHeaders.length === 0
  return { body, notes: missing ? [...given.notes, needed] : given.notes }
}

function methodOf({ method }: Operation): NonNullable<Request['method']> {
  switch (method) {
    case 'GET':
    case 'POST':
    case 'PUT':
    case 'PATCH':
    case 'DELETE':
      return method
    default:
      throw new Unreadable('method_unsupported', `A tool cannot send ${method}.`)
  }
}

/** Inlines references where the schemas stay small enough. */
function argumentsOf(
  { item, operation }: Operation,
  options: Omit<ConstructorParameters<typeof ArgumentsReader>[0], 'writer'>,
): Arguments {
  const read = (inlines: boolean): Arguments => {
    const writer = new SchemaWriter(options.references, inlines)
    return new ArgumentsReader({ ...options, writer }).read(item, operation)
  }
  try {
    return read(true)
  } catch (error) {
    const large = error instanceof Unreadable && /^schema_too_(large|deep)$/.test(error.code)
    if (!large) throw error
    return read(false)
  }
}

/** The address of the service. @throws Unreadable */
function endpointOf({ server, url }: ImportTask, places: readonly Table[]): string {
  const [first] = places.flatMap(({ servers }) => (Array.isArray(servers) ? servers : []))
  const { url: template, variables } = tableOf(first)
  const address =
    server ??
    textOf(template, 2048).replaceAll(/\{([^{}]*)\}/g, (whole, name: string) => {
      const { default: value } = tableOf(tableOf(variables)[name])
      return typeof value === 'string' ? value : whole
    })
  const base = server === undefined ? url : undefined
  if ((address !== '' || base !== undefined) && URL.canParse(address || '/', base)) {
    const found = new URL(address || '/', base)
    found.hash = ''
    if (/^https?:$/.test(found.protocol)) return found.href
  }
  throw new Unreadable(
    'no_server',
    `The document names no address of the service that can be called ('${address.slice(0, 200)}'). ` +
      "Give it as 'server'.",
  )
}

function annotationsOf(
  method: string,
): NonNullable<ToolBody['toolDefinition']['tool']['annotations']> {
  if (method === 'GET') return { readOnlyHint: true, openWorldHint: true }
  const idempotentHint = method === 'PUT' || method === 'DELETE'
  return { readOnlyHint: false, destructiveHint: true, idempotentHint, openWorldHint: true }
}

/** The types of successful answers, as header Accept. */
function acceptOf(responses: unknown, references: References): string | undefined {
  const types = Object.entries(tableOf(responses))
    .filter(([status]) => /^(2|default$)/i.test(status))
    .flatMap(([, response]) => {
      try {
        return Object.keys(tableOf(references.follow(response)['content']))
      } catch (error) {
        if (error instanceof Unreadable) return []
        throw error
      }
    })
    .map(typeOf)
    .filter((type) => /^[\w.+-]+\/[\w.+-]+$/.test(type))
  const distinct = [...new Set(types)].slice(0, 8)
  const sorted = distinct.toSorted((a, b) => Number(isJson(b)) - Number(isJson(a)))
  return sorted.length === 0 ? undefined : [...sorted, '*/*;q=0.5'].join(', ').slice(0, 1024)
}

/** Tells which header the operation asks for, if it asks for any. */
function credentialNote(
  security: unknown,
  document: Table,
  references: References,
): Note | undefined {
  const needs = (Array.isArray(security) ? security : []).map((each) => Object.keys(tableOf(each)))
  if (needs.length === 0 || needs.some((names) => names.length === 0)) return undefined

  const schemes = tableOf(tableOf(document['components'])['securitySchemes'])
  const ways = needs.map((names) =>
    names.map((name) => wayOf(name, schemes, references)).join(' and '),
  )
  return {
    code: 'credential_needed',
    detail: `The operation asks for ${ways.join(', or ').slice(0, 500)}. Give 'credential'.`,
  }
}

function wayOf(name: string, schemes: Table, references: References): string {
  try {
    const given = Object.hasOwn(schemes, name) ? schemes[name] : undefined
    const { type, in: place, name: key } = references.follow(given)
    if (type === 'apiKey') return `the key '${String(key)}' in the ${String(place)}`
    return 'the header Authorization'
  } catch (error) {
    if (error instanceof Unreadable) return `'${name}'`
    throw error
  }
}

function textOf(value: unknown, longest: number): string {
  return typeof value === 'string' ? value.trim().slice(0, longest) : ''
}
