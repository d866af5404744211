import type { Mistake } from '../../core/errors.ts'
import type { MistakeCode } from '../../core/mistakes.ts'
import { tableOf } from '../../lib/json/table-of.ts'
import { listOf, type Inputs } from './inputs.ts'

type Table = Readonly<Record<string, unknown>>

interface Launcher {
  readonly command: string
  /** The only registry from which the command takes packages. */
  readonly registry: RegExp
  readonly identifier: RegExp
  readonly args: (given: {
    readonly identifier: string
    readonly version: string
    readonly runtime: readonly string[]
    readonly environment: readonly string[]
  }) => readonly string[]
}

const name = /^[A-Za-z0-9][A-Za-z0-9._-]*$/

/** The programs that run the packages of a registry, without an installation. */
const launchers: Readonly<Record<string, Launcher>> = {
  npm: {
    command: 'npx',
    registry: /^https:\/\/registry\.npmjs\.org\/?$/,
    identifier: /^(@[a-z0-9~][a-z0-9._~-]*\/)?[a-z0-9~][a-z0-9._~-]*$/i,
    args: ({ identifier, version, runtime }) => [
      ...runtime.filter((each) => each !== '-y' && each !== '--yes'),
      '-y',
      at(identifier, '@', version),
    ],
  },
  pypi: {
    command: 'uvx',
    registry: /^https:\/\/pypi\.org\/?$/,
    identifier: name,
    args: ({ identifier, version, runtime }) => [...runtime, at(identifier, '@', version)],
  },
  nuget: {
    command: 'dnx',
    registry: /^https:\/\/api\.nuget\.org(\/v3\/index\.json)?\/?$/,
    identifier: name,
    args: ({ identifier, version, runtime }) => [
      at(identifier, '@', version),
      ...runtime.filter((each) => each !== '--yes'),
      '--yes',
    ],
  },
  oci: {
    command: 'docker',
    registry: /^https:\/\/docker\.io\/?$/,
    identifier: /^[a-z0-9][a-z0-9._/-]*(:\d+\/[a-z0-9._/-]+)?(:[\w.-]+)?(@sha256:[0-9a-f]{64})?$/i,
    args: ({ identifier, version, runtime, environment }) => [
      'run',
      '-i',
      '--rm',
      ...environment.flatMap((each) => ['-e', each]),
      ...runtime,
      /[:@][^/]*$/.test(identifier) ? identifier : at(identifier, ':', version),
    ],
  },
}

/** The fields of an entry that runs a package, or the mistakes of one that cannot run. */
export function packageFields(
  each: Table,
  pointer: string,
  inputs: Inputs,
): { readonly fields: Table; readonly mistakes: Mistake[] } {
  const { identifier = '', registryType, version = '' } = each
  const launcher =
    typeof registryType === 'string' && Object.hasOwn(launchers, registryType)
      ? launchers[registryType]
      : undefined
  if (launcher === undefined)
    return unsupported(
      `${pointer}/registryType`,
      `must be one of ${Object.keys(launchers).join(', ')}: the gateway runs no other packages`,
    )
  const mistakes = mistakesOf(each, launcher, pointer)
  if (mistakes.length > 0) return { fields: {}, mistakes }

  const env = listOf(each['environmentVariables']).flatMap((variable): [string, string][] => {
    const key = String(variable['name'])
    const text = inputs.text(variable, `env:${key}`, `${pointer}/environmentVariables`)
    return text === undefined ? [] : [[key, text]]
  })
  const started = launcher.args({
    identifier: String(identifier),
    version: String(version),
    runtime: argumentsOf(each['runtimeArguments'], `${pointer}/runtimeArguments`, inputs),
    environment: env.map(([key]) => key),
  })
  const own = argumentsOf(each['packageArguments'], `${pointer}/packageArguments`, inputs)
  const fields = {
    command: launcher.command,
    args: [...started, ...own],
    env: Object.fromEntries(env),
  }
  return { fields, mistakes: [] }
}

function mistakesOf(each: Table, launcher: Launcher, pointer: string): Mistake[] {
  const { identifier, registryBaseUrl, runtimeHint, transport, version } = each
  const { type } = tableOf(transport)
  const wrong = (field: string, detail: string, code: MistakeCode = 'unsupported_package') => ({
    pointer: `${pointer}/${field}`,
    code,
    detail,
  })
  const mistakes: Mistake[] = []
  if (typeof identifier !== 'string' || !launcher.identifier.test(identifier))
    mistakes.push(wrong('identifier', 'must be the name of a package', 'invalid_format'))
  if (version !== undefined && !(typeof version === 'string' && /^\d?[\w.+-]*$/.test(version)))
    mistakes.push(wrong('version', 'must be an exact version', 'invalid_format'))
  if (typeof version === 'string' && /^(latest|-.*)$/.test(version))
    mistakes.push(wrong('version', 'must be an exact version', 'invalid_format'))
  if (typeof registryBaseUrl === 'string' && !launcher.registry.test(registryBaseUrl))
    mistakes.push(
      wrong('registryBaseUrl', `is another registry than that of '${launcher.command}'`),
    )
  if (runtimeHint !== undefined && runtimeHint !== launcher.command)
    mistakes.push(wrong('runtimeHint', `must be '${launcher.command}', which the gateway uses`))
  if (type !== 'stdio')
    mistakes.push(
      wrong('transport', "must be 'stdio': start a package that listens itself, and give its URL"),
    )
  return mistakes
}

function argumentsOf(list: unknown, pointer: string, inputs: Inputs): string[] {
  return listOf(list).flatMap((argument, index) => {
    const { name: flag, type, valueHint } = argument
    const hint = String(type === 'named' ? flag : (valueHint ?? index))
    const text = inputs.text(argument, `arg:${hint.replace(/^-+/, '')}`, `${pointer}/${index}`)
    if (type !== 'named') return text === undefined ? [] : [text]
    // A flag without a value stands for itself, if nothing describes a value.
    const describes = ['value', 'default', 'isRequired', 'valueHint', 'choices', 'format'].some(
      (member) => argument[member] !== undefined,
    )
    if (text !== undefined) return [String(flag), text]
    return describes ? [] : [String(flag)]
  })
}

function unsupported(pointer: string, detail: string) {
  return { fields: {}, mistakes: [{ pointer, code: 'unsupported_package' as const, detail }] }
}

function at(identifier: string, between: string, version: string): string {
  return version === '' ? identifier : `${identifier}${between}${version}`
}
