import { maskedValue, type AdapterInput } from '@mcp-gateway/contract'
import type { Mistake } from '../../core/errors.ts'
import { looksSecret } from '../../core/fields/looks-secret.ts'
import {
  credentialsOf,
  type EnvironmentValue,
  type Resource,
  type WorkloadSpec,
} from '../../core/resource.ts'
import { isCommandVariable, isLoaderVariable } from '../../core/fields/variables.ts'
import { tableOf } from '../../lib/json/table-of.ts'

type Given = Pick<AdapterInput, 'imageName' | 'endpoint' | 'environmentVariables' | 'credential'>
type GivenVariable = AdapterInput['environmentVariables'][string]

/**
 * Finds masks that would keep stored secrets for another program. A caller who may write need not
 * know these secrets, and the other program could reveal them.
 */
export function keptSecretMistakes(input: Given, stored: Resource | undefined): Mistake[] {
  const change = stored && changeOfProgram(input, stored.spec)
  if (change === undefined) return []

  const { environmentVariables } = stored?.spec ?? {}
  const variables = Object.entries(input.environmentVariables)
    .filter(
      ([name, given]) => textOf(given) === maskedValue && isSecret(environmentVariables, name),
    )
    .map(([name]) => `/environmentVariables/${name}`)
  const headers = credentialsOf(stored?.spec ?? {}).some((each) => 'value' in each)
    ? maskedHeaders(input.credential)
    : []
  const pointers = [...variables, ...headers]

  return pointers.map((pointer) => ({
    pointer,
    code: 'masked_value',
    detail:
      `'${maskedValue}' keeps a stored secret, and the gateway does not give it to ${change}: ` +
      'give the value again',
  }))
}

/** Pointers of the masks in a credential. */
function maskedHeaders(given: Given['credential']): string[] {
  if (!Array.isArray(given)) return given?.value === maskedValue ? ['/credential/value'] : []
  return given.flatMap(({ value }, index) =>
    value === maskedValue ? [`/credential/${index}/value`] : [],
  )
}

/** The change that would give the secrets to another program; undefined if there is none. */
function changeOfProgram(input: Given, before: WorkloadSpec): string | undefined {
  if (originOf(input.endpoint) !== originOf(before.endpoint)) return 'another address'
  if (before.endpoint !== undefined) return undefined
  if (input.imageName !== before.imageName) return `another image than '${before.imageName}'`

  const names = new Set([
    ...Object.keys(before.environmentVariables),
    ...Object.keys(input.environmentVariables),
  ])
  const changed = [...names].find((name) =>
    leadsElsewhere(
      name,
      ownOf(before.environmentVariables, name),
      ownOf(input.environmentVariables, name),
    ),
  )
  return changed === undefined ? undefined : `a workload with another ${changed}`
}

/** True if a changed variable decides what runs, or which address a program contacts. */
function leadsElsewhere(
  name: string,
  before: EnvironmentValue | undefined,
  after: GivenVariable | undefined,
): boolean {
  if (isSame(before, after)) return false
  if (isLoaderVariable(name) || isCommandVariable(name) || namesAddress(name)) return true
  // A new secret may hold any text, and the text of a reference is unknown here.
  const isSecretName = looksSecret(name, 'unknown')
  if (refers(after) && !isSecretName) return true

  const texts = [before && textOf(before), after && textOf(after)]
  return texts.some(
    (text) => text !== undefined && (isSecretName ? text.includes('://') : !isPlain.test(text)),
  )
}

/**
 * Words, numbers, and lists of them. Any other text could be or contain an address or a file. No
 * list of names covers the variables of all programs.
 */
const isPlain = /^(?:[\w\s,+%-]*(?:\.\d[\w-]*)?|\w[\w+-]*(?:\/[\w+-]+)+)$/

const addressEnd =
  /(?:URL|URI|HOST|HOSTNAME|ENDPOINT|SERVER|ADDR|ADDRESS|DOMAIN|ORIGIN|INSTANCE|SITE)S?$/i
const addressWord = new RegExp(
  `(?:^|[-_.])(?:${[
    'URL|URI|HOST|HOSTNAME|ENDPOINT|SERVER|ADDR|ADDRESS|DOMAIN|ORIGIN|INSTANCE|SITE|BASE|REMOTE',
    'ACCOUNT|WORKSPACE|SHOP|STORE|CLUSTER|NODE|BROKER|BOOTSTRAP|PEER|TARGET|UPSTREAM|GATEWAY|RELAY',
    'REGISTRY|WEBHOOK|CALLBACK|REDIRECT|DSN|CONN|CONNECTION|CONNECTION_?STRING',
  ].join('|')})S?\\d*(?=[-_.]|$)`,
  'i',
)

function namesAddress(name: string): boolean {
  return addressEnd.test(name) || addressWord.test(name)
}

function isSame(before: EnvironmentValue | undefined, after: GivenVariable | undefined): boolean {
  if (before === undefined || after === undefined) return before === after
  if (!refers(before) && !refers(after))
    return textOf(after) === maskedValue || textOf(after) === textOf(before)
  if (!refers(before) || !refers(after)) return false
  const [one, other] = [before.secretRef, after.secretRef]
  return (
    one.name === other.name && one.key === other.key && one.source === (other.source ?? 'store')
  )
}

function refers<T extends EnvironmentValue | GivenVariable>(
  value: T | undefined,
): value is Extract<T, { secretRef: unknown }> {
  return typeof value === 'object' && 'secretRef' in value
}

function textOf(value: EnvironmentValue | GivenVariable): string | undefined {
  if (typeof value === 'string') return value
  return refers(value) ? undefined : value.value
}

function isSecret(variables: WorkloadSpec['environmentVariables'] | undefined, name: string) {
  const stored = variables && ownOf(variables, name)
  return stored !== undefined && !refers(stored) && stored.secret
}

/** Ignores inherited members such as `constructor`. */
function ownOf<T>(table: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(table, name) ? table[name] : undefined
}

function originOf(endpoint: string | undefined): string | undefined {
  return endpoint === undefined ? undefined : new URL(endpoint).origin
}

/**
 * Refuses a mask that has no stored value to keep, and a mask that would make a secret value
 * public.
 */
export function maskMistakes(body: unknown, before: Resource | undefined): Mistake[] {
  const stored = new Map(Object.entries(before?.spec.environmentVariables ?? {}))
  return Object.entries(tableOf(tableOf(body)['environmentVariables'])).flatMap(([key, given]) => {
    const { value = given, secret } = tableOf(given)
    if (value !== maskedValue) return []
    const kept = stored.get(key)
    const mistake = (detail: string): Mistake[] => [
      { pointer: `/environmentVariables/${key}`, code: 'masked_value', detail },
    ]
    if (kept === undefined || 'secretRef' in kept)
      return mistake(`'${maskedValue}' keeps a stored secret, and none is stored by this name`)
    return kept.secret && secret === false
      ? mistake('a stored secret cannot be shown: give the value again')
      : []
  })
}
