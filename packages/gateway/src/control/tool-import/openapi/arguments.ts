import type { ToolBody } from '@mcp-gateway/contract'
import { parameterHeaderMistake } from '../../../core/fields/parameter-headers.ts'
import { canonicalName } from '../../../lib/http/header-names.ts'
import { tableOf } from '../../../lib/json/table-of.ts'
import type { Note } from './imported.ts'
import { Names } from './names.ts'
import type { References } from './references.ts'
import type { SchemaWriter } from './schemas.ts'
import { Unreadable } from './unreadable.ts'

type Table = Readonly<Record<string, unknown>>
type Request = NonNullable<ToolBody['toolDefinition']['request']>
type Parameter = NonNullable<Request['parameters']>[number]
type Styled = Pick<Parameter, 'style' | 'explode'>

/** The arguments of a tool, and the places in the request to which they go. */
export interface Arguments {
  readonly inputSchema: Record<string, unknown>
  readonly parameters: Parameter[]
  readonly body: Request['body']
  readonly notes: readonly Note[]
}

export interface ArgumentsOptions {
  readonly references: References
  readonly writer: SchemaWriter
  readonly path: string
  /** Headers that the credential gives. */
  readonly credentialHeaders: readonly string[]
  /** Fields of the query that the address of the service has. */
  readonly fixedFields: ReadonlySet<string>
}

/** Makes the arguments of one operation from its parameters and its body. */
export class ArgumentsReader {
  readonly #options: ArgumentsOptions
  readonly #names = new Names()
  readonly #properties: [string, unknown][] = []
  readonly #required: string[] = []
  readonly #parameters: Parameter[] = []
  readonly #notes: Note[] = []

  constructor(options: ArgumentsOptions) {
    this.#options = options
  }

  /** @throws Unreadable */
  read(item: Table, operation: Table): Arguments {
    for (const parameter of this.#declared(item, operation)) this.#parameter(parameter)
    const { path, writer } = this.#options
    const filled = new Set(this.#parameters.filter((each) => each.in === 'path').map(nameOf))
    const unfilled = [...path.matchAll(/\{([^{}]*)\}/g)].find(([, name = '']) => !filled.has(name))
    if (unfilled !== undefined)
      throw new Unreadable(
        'parameter_unsupported',
        `The path has ${unfilled[0]} without a parameter.`,
      )

    const body = this.#body(operation['requestBody'])
    const { defs } = writer
    const inputSchema = {
      type: 'object',
      properties: Object.fromEntries(this.#properties),
      ...(this.#required.length === 0 ? {} : { required: this.#required }),
      ...(defs === undefined ? {} : { $defs: defs }),
    }
    return { inputSchema, parameters: this.#parameters, body, notes: this.#notes }
  }

  /** The parameters of the path and of the operation, which replace those of the path. */
  #declared(item: Table, operation: Table): Table[] {
    const found = new Map<string, Table>()
    for (const list of [item['parameters'], operation['parameters']])
      for (const given of Array.isArray(list) ? list : []) {
        const parameter = this.#options.references.follow(given)
        found.set(`${String(parameter['in'])} ${String(parameter['name'])}`, parameter)
      }
    return [...found.values()]
  }

  #parameter(declared: Table): void {
    const { in: place, name, required } = declared
    if (typeof name !== 'string' || name === '' || this.#isGiven(place, name)) return

    const reason = this.#unsupported(declared)
    if (reason !== undefined) {
      if (required === true || place === 'path') throw reason
      const detail = `The parameter '${name.slice(0, 100)}' is left out. ${reason.message}`
      this.#notes.push({ code: 'parameter_left_out', detail })
      return
    }

    const content = Object.keys(tableOf(declared['content'])).find(isJson)
    const schema =
      content === undefined
        ? declared['schema']
        : tableOf(tableOf(declared['content'])[content])['schema']
    const argument = this.#argument(name, schema, declared['description'])
    if (required === true || place === 'path') this.#required.push(argument)
    const styled = content === undefined ? styleOf(declared) : ({ style: 'json' } as const)
    this.#parameters.push({
      argument,
      in: place as Parameter['in'],
      ...(argument === name ? {} : { name }),
      ...styled,
    })
  }

  /** True for what the gateway or the owner gives, and for what OpenAPI says to ignore. */
  #isGiven(place: unknown, name: string): boolean {
    const { credentialHeaders, fixedFields } = this.#options
    if (place === 'query') return fixedFields.has(name)
    if (place !== 'header') return false
    const header = canonicalName(name)
    return (
      /^(accept|content-type|authorization|user-agent|idempotency-key|x-request-id)$/.test(
        header,
      ) || credentialHeaders.some((each) => canonicalName(each) === header)
    )
  }

  #unsupported({ in: place, name, style, content }: Table): Unreadable | undefined {
    const refusal = (why: string): Unreadable => new Unreadable('parameter_unsupported', why)
    if (place !== 'path' && place !== 'query' && place !== 'header')
      return refusal(`A tool has no parameters in '${String(place).slice(0, 20)}'.`)
    if (content !== undefined && !Object.keys(tableOf(content)).some(isJson))
      return refusal('Of the parameters with a content type, a tool has only those of JSON.')
    if (typeof style === 'string' && !stylesOf[place].includes(style))
      return refusal(`A tool does not write the style '${style.slice(0, 20)}'.`)
    const header = place === 'header' ? parameterHeaderMistake(String(name)) : undefined
    return header === undefined ? undefined : refusal(`The header ${header}.`)
  }

  #argument(wanted: string, schema: unknown, description: unknown): string {
    const argument = this.#names.take(wanted)
    const written = this.#options.writer.write(schema)
    const described =
      typeof description === 'string' && typeof written === 'object' && written !== null
        ? { description: description.slice(0, 2000), ...written }
        : written
    this.#properties.push([argument, described ?? {}])
    return argument
  }

  #body(given: unknown): Request['body'] {
    if (given === undefined) return undefined
    const { content, required, description } = this.#options.references.follow(given)
    const types = Object.keys(tableOf(content))
    const contentType = bestType(types)
    if (contentType === undefined) {
      const detail = `Its body has the types ${types.join(', ').slice(0, 200) || '(none)'}.`
      if (required === true) throw new Unreadable('body_unsupported', detail)
      this.#notes.push({ code: 'body_left_out', detail })
      return undefined
    }

    const media = tableOf(tableOf(content)[contentType])
    const argument = this.#argument('body', media['schema'], description)
    if (required === true) this.#required.push(argument)
    const sent = contentType.includes('*') ? 'application/json' : typeOf(contentType)
    const encoding = encodingOf(media['encoding'])
    return {
      argument,
      contentType: sent,
      ...(sent.endsWith('urlencoded') && encoding !== undefined ? { encoding } : {}),
    }
  }
}

const nameOf = ({ name, argument }: Parameter): string => name ?? argument

const stylesOf: Readonly<Record<Parameter['in'], readonly string[]>> = {
  path: ['simple'],
  header: ['simple'],
  query: ['form', 'spaceDelimited', 'pipeDelimited', 'deepObject'],
}

function styleOf({ style, explode }: Table): Styled {
  return {
    ...(typeof style === 'string' ? { style: style as NonNullable<Styled['style']> } : {}),
    ...(typeof explode === 'boolean' ? { explode } : {}),
  }
}

function encodingOf(given: unknown): Record<string, Styled> | undefined {
  const styled = Object.entries(tableOf(given))
    .map(([name, each]) => [name, styleOf(tableOf(each))] as const)
    .filter(([, { style }]) => style !== undefined && stylesOf.query.includes(style))
  return styled.length === 0 ? undefined : Object.fromEntries(styled)
}

/** Type and subtype without parameters, in lower case. */
export function typeOf(contentType: string): string {
  return (contentType.split(';')[0] ?? '').trim().toLowerCase()
}

export function isJson(contentType: string): boolean {
  return /^application\/([\w.+-]+\+)?json$/.test(typeOf(contentType))
}

/** The type of a body that a tool can write; JSON is best, as arguments are JSON. */
function bestType(types: readonly string[]): string | undefined {
  const fits = [
    (type: string) => typeOf(type) === 'application/json',
    isJson,
    (type: string) => typeOf(type) === 'application/x-www-form-urlencoded',
    (type: string) => /^text\/[\w.+-]+$/.test(typeOf(type)),
    (type: string) => typeOf(type) === '*/*' || typeOf(type) === 'application/*',
  ]
  for (const fit of fits) {
    const found = types.find((type) => fit(type))
    if (found !== undefined) return found
  }
  return undefined
}
