import { readFileSync } from 'node:fs'
import { KeyVaultFailure } from './key-vault/failure.ts'
import { isHeaderValue, type UpstreamHeader } from './settings.ts'

/** Name and value. */
export type HeaderPair = readonly [name: string, value: string]

/** Headers of a secret elsewhere, as they are now. */
export interface HeaderSecret {
  /** @throws KeyVaultFailure */
  current(): readonly HeaderPair[]
  /** Hears that the remote server refuses them. */
  refused(): void
}

/** What the remote server gets of the bridge. */
export interface OwnHeaders {
  readonly headers: readonly UpstreamHeader[]
  /** Its headers outrank the others. */
  readonly secret?: HeaderSecret | undefined
}

/** What a client is told when its request cannot have its credentials. */
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

/** Why there are no headers, in words that any client may read. The log has the rest. */
export function missingCredentials(error: unknown): MissingCredentials {
  const message = 'The credentials for the remote server cannot be read.'
  if (!(error instanceof KeyVaultFailure)) return { code: 'credentials_unreadable', message }
  return {
    code: error.code,
    message: `The credentials for the remote server cannot be read from Azure Key Vault (${error.code}). The owner finds the reason in the log of the adapter.`,
  }
}

/** One in a file is read each time, so that a rotated secret is used at once. @throws Error */
function headerValue(value: UpstreamHeader['value']): string {
  if ('text' in value) return value.text
  const read = readFileSync(value.file, 'utf8').trim()
  if (!isHeaderValue(read)) throw new Error(`${value.file} does not hold a header value`)
  return read
}
