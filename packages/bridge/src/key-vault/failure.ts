/** The reason why the headers of a Key Vault secret are missing. */
export type FailureCode =
  /** Azure, or the way to Azure, is unavailable. A later attempt may work. */
  | 'identity_unreachable'
  | 'vault_unreachable'
  /** Azure gives the identity no token. */
  | 'identity_refused'
  /** The vault denies the secret to this identity, or does not have the secret. */
  | 'vault_forbidden'
  | 'secret_not_found'
  /** The vault does not behave as Azure Key Vault does. */
  | 'vault_untrusted'
  | 'secret_malformed'

/** The message is for the owner, and holds no value of a secret or of a token. */
export class KeyVaultFailure extends Error {
  override readonly name = 'KeyVaultFailure'
  readonly code: FailureCode

  constructor(code: FailureCode, message: string) {
    super(message)
    this.code = code
  }

  /** True if the failure may pass by itself. */
  get passes(): boolean {
    return this.code === 'identity_unreachable' || this.code === 'vault_unreachable'
  }

  /** True if the vault has taken the secret back, so that earlier values must not be used. */
  get withdraws(): boolean {
    return this.code === 'vault_forbidden' || this.code === 'secret_not_found'
  }
}
