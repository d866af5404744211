/** Why there are no headers of a Key Vault secret. */
export type FailureCode =
  /** Azure, or the way to it, is away: it may work again. */
  | 'identity_unreachable'
  | 'vault_unreachable'
  /** Azure gives the identity no token. */
  | 'identity_refused'
  /** The vault says that the secret is not for this identity, or is not there. */
  | 'vault_forbidden'
  | 'secret_not_found'
  /** The vault behaves as none of Azure does. */
  | 'vault_untrusted'
  | 'secret_malformed'

/** Its message is for the owner, and holds no value of a secret or of a token. */
export class KeyVaultFailure extends Error {
  override readonly name = 'KeyVaultFailure'
  readonly code: FailureCode

  constructor(code: FailureCode, message: string) {
    super(message)
    this.code = code
  }

  /** It may pass by itself. */
  get passes(): boolean {
    return this.code === 'identity_unreachable' || this.code === 'vault_unreachable'
  }

  /** The vault has taken the secret back: values of before must not be used any more. */
  get withdraws(): boolean {
    return this.code === 'vault_forbidden' || this.code === 'secret_not_found'
  }
}
