import { ToolRequest } from '@mcp-gateway/contract'
import type { Mistake } from '../../core/errors.ts'
import { parameterHeaderMistake } from '../../core/fields/parameter-headers.ts'
import type { MistakeCode } from '../../core/mistakes.ts'
import { canonicalName } from '../../lib/http/header-names.ts'
import { tableOf } from '../../lib/json/table-of.ts'

type Parameter = ToolRequest['parameters'][number]

const place = '/toolDefinition/request'

/** Checks the way in which a call becomes an HTTP request. `body` may be anything. */
export function requestMistakes(body: unknown): Mistake[] {
  const { toolDefinition, endpoint, credential } = tableOf(body)
  const { request: given, tool } = tableOf(toolDefinition)
  const { data: request } = ToolRequest.safeParse(given)
  if (request === undefined) return []

  const fixed = typeof endpoint === 'string' && URL.canParse(endpoint) ? new URL(endpoint) : null
  const secret = [credential].flat().flatMap((each) => {
    const { header } = tableOf(each)
    return typeof header === 'string' ? [header] : []
  })
  const known = Object.keys(tableOf(tableOf(tableOf(tool)['inputSchema'])['properties']))

  return [
    ...pathMistakes(request),
    ...argumentMistakes(request, new Set(known)),
    ...request.parameters.flatMap((parameter, index) => [
      ...styleMistakes(parameter, index),
      ...nameMistakes(parameter, index, request.parameters.slice(0, index)),
      ...fixedMistakes(parameter, index, { secret, search: fixed?.searchParams }),
    ]),
  ]
}

function mistake(pointer: string, code: MistakeCode, detail: string): Mistake {
  return { pointer: `${place}${pointer}`, code, detail }
}

const nameOf = ({ name, argument }: Parameter): string => name ?? argument

/** Each parameter of the path stands in the template, and each name of the template is one. */
function pathMistakes({ path = '', parameters }: ToolRequest): Mistake[] {
  const inPath = new Set([...path.matchAll(/\{([^{}]*)\}/g)].map(([, name = '']) => name))
  const declared = new Set(parameters.filter((each) => each.in === 'path').map(nameOf))
  const unknown = [...inPath].find((name) => !declared.has(name))
  const unused = [...declared].find((name) => !inPath.has(name))
  const leaves = path
    .replaceAll(/%2e/gi, '.')
    .split(/[/\\]|%2f|%5c/i)
    .some((step) => step === '.' || step === '..')

  return [
    ...(unknown === undefined
      ? []
      : [mistake('/path', 'path_parameter', `has '{${unknown}}', which no parameter fills`)]),
    ...(unused === undefined
      ? []
      : [mistake('/path', 'path_parameter', `has no place '{${unused}}' for this parameter`)]),
    ...(leaves ? [mistake('/path', 'invalid_format', "must not hold '.' or '..' as a step")] : []),
  ]
}

function argumentMistakes({ parameters, body }: ToolRequest, known: Set<string>): Mistake[] {
  const used = [
    ...parameters.map(({ argument }, index) => [argument, `/parameters/${index}/argument`]),
    ...(body?.argument === undefined ? [] : [[body.argument, '/body/argument']]),
  ] as const
  return used
    .filter(([argument = '']) => !known.has(argument))
    .map(([argument = '', pointer = '']) =>
      mistake(
        pointer,
        'unknown_argument',
        `must be a property of the inputSchema, which has no '${argument.slice(0, 100)}'`,
      ),
    )
}

const stylesOf = {
  path: ['simple'],
  header: ['simple', 'json'],
  query: ['form', 'spaceDelimited', 'pipeDelimited', 'deepObject', 'json'],
} as const satisfies Record<Parameter['in'], readonly Parameter['style'][]>

function styleMistakes(parameter: Parameter, index: number): Mistake[] {
  const allowed: readonly Parameter['style'][] = stylesOf[parameter.in]
  if (parameter.style === undefined || allowed.includes(parameter.style)) return []
  return [
    mistake(
      `/parameters/${index}/style`,
      'invalid_value',
      `must be ${allowed.join(', ')} in the place '${parameter.in}'`,
    ),
  ]
}

function nameMistakes(
  parameter: Parameter,
  index: number,
  before: readonly Parameter[],
): Mistake[] {
  const pointer = `/parameters/${index}`
  const name = nameOf(parameter)
  const isHeader = parameter.in === 'header'
  const same = (other: Parameter): boolean =>
    other.in === parameter.in &&
    (isHeader ? canonicalName(nameOf(other)) === canonicalName(name) : nameOf(other) === name)
  const forbidden = isHeader ? parameterHeaderMistake(name) : undefined
  return [
    ...(before.some(same)
      ? [mistake(pointer, 'duplicate_parameter', `must not be '${name}' a second time`)]
      : []),
    ...(forbidden === undefined ? [] : [mistake(pointer, 'header_forbidden', forbidden)]),
  ]
}

/** A parameter replaces neither the credential nor the query of the endpoint. */
function fixedMistakes(
  parameter: Parameter,
  index: number,
  fixed: { readonly secret: readonly string[]; readonly search: URLSearchParams | undefined },
): Mistake[] {
  const name = nameOf(parameter)
  const isSecret = fixed.secret.some((header) => canonicalName(header) === canonicalName(name))
  const taken =
    (parameter.in === 'header' && isSecret) ||
    (parameter.in === 'query' && fixed.search?.has(name) === true)
  return taken
    ? [
        mistake(
          `/parameters/${index}`,
          'fixed_parameter',
          `must not be '${name}', which the credential or the endpoint gives`,
        ),
      ]
    : []
}
