import { monotonicNow } from '@mcp-gateway/mcp-http'
import { AzureClient, type AzureAnswer } from './ask.ts'
import { KeyVaultFailure } from './failure.ts'
import { askToken } from './identity.ts'
import type { KeyVaultSettings } from './settings.ts'

/** The current value of a secret. */
export interface VaultSecret {
  readonly value: string
  /** Milliseconds until the expiry that the vault gives. Negative afterwards. */
  readonly expiresInMs: number | undefined
}

/** The oldest version of the protocol that all clouds serve. */
const apiVersion = '7.4'

/** One secret of a vault. */
export class KeyVault implements AsyncDisposable {
  readonly #settings: KeyVaultSettings
  readonly #azure = new AzureClient()
  readonly #url: URL
  /** Replaced after half of its lifetime. */
  #token: { readonly text: string; readonly until: number } | undefined

  constructor(settings: KeyVaultSettings) {
    this.#settings = settings
    const { vault, secret, version } = settings
    this.#url = new URL(`/secrets/${secret}${version === undefined ? '' : `/${version}`}`, vault)
    this.#url.searchParams.set('api-version', apiVersion)
  }

  /** @throws KeyVaultFailure */
  async read(): Promise<VaultSecret> {
    const kept = this.#token !== undefined && monotonicNow() < this.#token.until
    let answer = await this.#get(kept ? this.#token?.text : undefined)
    if (answer.status === 401) {
      // The vault's challenge names the resource for which it accepts tokens.
      const resource = resourceOf(answer, this.#settings)
      const { text, lifetimeMs } = await askToken(this.#azure, this.#settings.identity, resource)
      this.#token = { text, until: monotonicNow() + lifetimeMs / 2 }
      answer = await this.#get(text)
    }
    if (answer.status === 401) this.#token = undefined
    return secretOf(answer)
  }

  #get(token: string | undefined): Promise<AzureAnswer> {
    return this.#azure.ask({
      url: this.#url,
      headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
      whom: 'Key Vault',
      unreachable: 'vault_unreachable',
    })
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#azure[Symbol.asyncDispose]()
  }
}

/**
 * The resource of a challenge. Only the vault and its domain are accepted, or the challenge could
 * obtain a token for, say, the management of Azure. @throws KeyVaultFailure
 */
export function resourceOf(answer: AzureAnswer, { vault, domain }: KeyVaultSettings): string {
  const challenge = answer.header('www-authenticate') ?? ''
  const named = /^bearer\b.*[\s,](?:resource|scope)="([^"]+)"/i.exec(challenge)?.[1] ?? ''
  const url = URL.canParse(named) ? new URL(named) : undefined
  const ours = url?.host === new URL(vault).host || url?.host === domain
  if (url?.protocol === 'https:' && ours) return url.origin

  throw new KeyVaultFailure(
    'vault_untrusted',
    `The vault asks for a token of another resource than ${domain}, so it gets none.`,
  )
}

/** @throws KeyVaultFailure */
export function secretOf(answer: AzureAnswer): VaultSecret {
  const { status, body } = answer
  const said = [`HTTP ${status}`, ...errorWords(body)].join(', ')

  if (status === 401)
    throw new KeyVaultFailure(
      'identity_refused',
      `Key Vault refuses the token (${said}). Is the vault of the tenant AZURE_TENANT_ID?`,
    )

  if (status === 403)
    throw new KeyVaultFailure(
      'vault_forbidden',
      `Key Vault does not give the secret to this identity (${said}). Enable the ` +
        'secret, open the ' +
        `firewall of the vault, or give the identity the role Key Vault Secrets User.`,
    )

  if (status === 404)
    throw new KeyVaultFailure('secret_not_found', `The vault has no such secret (${said}).`)

  const { value, attributes } = body
  if (status !== 200 || typeof value !== 'string')
    throw new KeyVaultFailure('vault_untrusted', `The vault does not answer as one does (${said}).`)

  const { exp } = (attributes ?? {}) as { exp?: unknown }
  const now = Date.parse(answer.header('date') ?? '')
  const known = typeof exp === 'number' && !Number.isNaN(now)

  return { value, expiresInMs: known ? exp * 1000 - now : undefined }
}

/** The code and the inner code of an error, which are words without spaces. */
function errorWords(body: AzureAnswer['body']): string[] {
  const { error } = body as { error?: { code?: unknown; innererror?: { code?: unknown } } }
  return [error?.code, error?.innererror?.code].filter(
    (word): word is string => typeof word === 'string' && /^\w+$/.test(word),
  )
}
