import { DuplicateMember, readUnambiguous } from '@mcp-gateway/protocol'
import type { Logger } from 'pino'
import type { HeaderPair, HeaderSecret } from '../remote-headers.ts'
import { repeatedHeader, headerMistake } from '../settings.ts'
import { KeyVaultFailure } from './failure.ts'
import { SecretHeaders } from './secret-headers.ts'
import type { KeyVaultSettings } from './settings.ts'
import { KeyVault } from './vault.ts'

/**
 * Reads the headers of a secret, and keeps them current.
 * @throws KeyVaultFailure if the headers cannot be read now
 */
export async function openSecretHeaders(
  settings: KeyVaultSettings,
  log: Logger,
): Promise<HeaderSecret & AsyncDisposable> {
  const vault = new KeyVault(settings)
  const { refreshMs } = settings

  try {
    const headers = await SecretHeaders.open({
      read: () => vault.read(),
      parse: parseSecret,
      refreshMs,
      log,
    })

    return {
      current: () => headers.current(),
      refused: () => headers.refused(),
      async [Symbol.asyncDispose]() {
        headers[Symbol.dispose]()
        await vault[Symbol.asyncDispose]()
      },
    }
  } catch (error) {
    await vault[Symbol.asyncDispose]()
    throw error
  }
}

/**
 * Reads a JSON object of names and values, by the rules of `MCP_PROXY_HEADERS`. No value names a
 * file, because the writer of the secret may not read the bridge's files.
 * @throws KeyVaultFailure
 */
export function parseSecret(text: string): readonly HeaderPair[] {
  const wrong = (what: string): never => {
    throw new KeyVaultFailure('secret_malformed', `The secret ${what}.`)
  }
  const pairs = membersOf(text)
  if (pairs === undefined)
    return wrong('must be a JSON object of header names and values, with each name once')

  for (const [index, [name, value]] of pairs.entries()) {
    const mistake = headerMistake(name, value, index + 1)
    if (mistake !== undefined) wrong(`is no table of headers: ${mistake}`)
  }
  const twice = repeatedHeader(pairs.map(([name]) => name))
  if (twice !== undefined) wrong(`is no table of headers: ${twice} stands there twice`)
  return pairs as HeaderPair[]
}

function membersOf(text: string): (readonly [string, unknown])[] | undefined {
  try {
    JSON.parse(text)
    const members = readUnambiguous(text.trim())
    return members && [...members].map(([name, raw]) => [name, JSON.parse(raw) as unknown])
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof DuplicateMember) return undefined
    throw error
  }
}
