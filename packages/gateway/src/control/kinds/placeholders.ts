import type { AdapterInput } from '@mcp-gateway/contract'
import type { Warning } from '../validation.ts'

/**
 * Placeholders in clients' configuration files: `${input:token}`, `${env:TOKEN}`,
 * `${workspaceFolder}`, `$TOKEN`, `%TOKEN%`.
 */
const placeholder =
  /\$\{[^{}\s]{1,100}\}|(?<![\w$])\$[A-Z_][A-Z0-9_]{1,100}\b|%[A-Z_][A-Z0-9_]{1,100}%/

const mostTold = 50

/**
 * Warns about placeholders. Clients expand them before they start a server, but the gateway does
 * not.
 */
export function placeholderWarnings({
  endpoint,
  environmentVariables,
  credential,
}: Pick<AdapterInput, 'endpoint' | 'environmentVariables' | 'credential'>): Warning[] {
  const texts: (readonly [pointer: string, text: string | undefined])[] = [
    ['/endpoint', decoded(endpoint)],
    ...valuesOf(credential),
    ...Object.entries(environmentVariables).map(
      ([name, given]) => [`/environmentVariables/${name}`, textOf(given)] as const,
    ),
  ]
  return texts
    .flatMap(([pointer, text]) => {
      const found = text === undefined ? undefined : placeholder.exec(text)?.[0]
      return found === undefined ? [] : [warningOf(pointer, found)]
    })
    .slice(0, mostTold)
}

function valuesOf(
  credential: AdapterInput['credential'],
): (readonly [pointer: string, text: string | undefined])[] {
  if (credential === undefined) return []
  if (!Array.isArray(credential)) return [['/credential/value', credential.value]]
  return credential.map(({ value }, index) => [`/credential/${index}/value`, value])
}

function warningOf(pointer: string, found: string): Warning {
  return {
    pointer,
    code: 'placeholder',
    detail:
      `'${found}' is taken literally, because the gateway expands no placeholders. ` +
      'Give the value, or a secretRef.',
  }
}

function textOf(given: AdapterInput['environmentVariables'][string]): string | undefined {
  if (typeof given === 'string') return given
  return 'secretRef' in given ? undefined : given.value
}

/** Restores braces, which the URL standard escapes. */
function decoded(endpoint: string | undefined): string | undefined {
  return endpoint?.replaceAll(/%7b/gi, '{').replaceAll(/%7d/gi, '}')
}
