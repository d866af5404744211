import { readFileSync } from 'node:fs'
import { KeyVaultFailure } from './key-vault/failure.ts'
import { isHeaderValue, type UpstreamHeader } from './settings.ts'

/** Name and value. */
export type HeaderPair = readonly [name: string, value: string]

/** The current headers of a secret that is stored elsewhere. */
export interface HeaderSecret {
  /** @throws KeyVaultFailure */
  current(): readonly HeaderPair[]
  /** Called when the remote server refuses the headers. */
  refused(): void
}

/** The headers that the bridge adds for the remote server. */
export interface OwnHeaders {
  readonly headers: readonly UpstreamHeader[]
  /** The headers of the secret outrank the others. */
  readonly secret?: HeaderSecret | undefined
}

/** The error for a client whose request cannot get its credentials. */
export interface MissingCredentials {
  readonly code: string
  readonly message: string
}

/** The headers for one request. @throws Error, which `missingCredentials` explains */
export function ownHeaders({ headers, secret }: OwnHeaders): readonly HeaderPair[] {
  const kept = secret?.current() ?? []
  const outranked = new Set(kept.map(([name]) => name.toLowerCase()))
  const given = headers.flatMap(({ name, value }): HeaderPair[] =>
    outranked.has(name.toLowerCase()) ? [] : [[name, headerValue(value)]],
  )
  return [...given, ...kept]
}

/** The reason for missing headers, in words that any client may read. The log has the details. */
export function missingCredentials(error: unknown): MissingCredentials {
  const message = 'The credentials for the remote server cannot be read.'
  if (!(error instanceof KeyVaultFailure)) return { code: 'credentials_unreadable', message }
  return {
    code: error.code,
    message:
      'The credentials for the remote server cannot be read from Azure Key Vault ' +
      `(${error.code}). The owner finds the reason in the log of the adapter.`,
  }
}

/**
 * A value in a file is read for each request, so that a rotated secret takes effect at once.
 * @throws Error
 */
function headerValue(value: UpstreamHeader['value']): string {
  if ('text' in value) return value.text
  const read = readFileSync(value.file, 'utf8').trim()
  if (!isHeaderValue(read)) throw new Error(`${value.file} does not hold a header value`)
  return read
}
