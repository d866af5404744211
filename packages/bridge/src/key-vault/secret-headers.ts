import { monotonicNow } from '@mcp-gateway/mcp-http'
import type { Logger } from 'pino'
import type { HeaderPair } from '../remote-headers.ts'
import { KeyVaultFailure } from './failure.ts'
import type { VaultSecret } from './vault.ts'

export interface SecretHeadersOptions {
  /** @throws KeyVaultFailure */
  readonly read: () => Promise<VaultSecret>
  /** @throws KeyVaultFailure if the value is no table of headers */
  readonly parse: (value: string) => readonly HeaderPair[]
  /** Milliseconds for which a value is used until the vault is asked again. */
  readonly refreshMs: number
  readonly log: Logger
}

/** Milliseconds until the next read after a failure, or while a secret is past its expiry. */
const soonMs = 30_000
/** Milliseconds. Avoids constant reads if the vault's clock stands still before the expiry. */
const leastMs = 1000
/** Milliseconds between reads after refusals: a remote server may refuse as often as it likes. */
const betweenRefusalsMs = 10_000

/**
 * The current headers of a secret. The last good ones stay while Azure is unavailable or the secret
 * holds no headers. They go when the vault takes the secret back.
 */
export class SecretHeaders implements Disposable {
  readonly #options: SecretHeadersOptions
  #current: readonly HeaderPair[] | KeyVaultFailure
  /** Lets the first refusal cause a read at once. */
  #readAt = Number.NEGATIVE_INFINITY
  #timer: NodeJS.Timeout | undefined
  #reading: Promise<void> | undefined
  #over = false

  private constructor(options: SecretHeadersOptions, first: readonly HeaderPair[]) {
    this.#options = options
    this.#current = first
  }

  /** @throws KeyVaultFailure */
  static async open(options: SecretHeadersOptions): Promise<SecretHeaders> {
    const secret = await options.read()
    const headers = new SecretHeaders(options, options.parse(secret.value))
    headers.#schedule(headers.#untilNext(secret))
    return headers
  }

  /** @throws KeyVaultFailure */
  current(): readonly HeaderPair[] {
    if (this.#current instanceof KeyVaultFailure) throw this.#current
    return this.#current
  }

  /** The remote server refuses the headers, so the secret may have a new value. */
  refused(): void {
    if (monotonicNow() - this.#readAt >= betweenRefusalsMs) void this.#refresh()
  }

  [Symbol.dispose](): void {
    this.#over = true
    clearTimeout(this.#timer)
  }

  #schedule(ms: number): void {
    clearTimeout(this.#timer)
    if (!this.#over) this.#timer = setTimeout(() => void this.#refresh(), ms).unref()
  }

  #untilNext({ expiresInMs = Number.POSITIVE_INFINITY }: VaultSecret): number {
    if (expiresInMs <= 0) this.#options.log.warn('the secret of the headers has expired')
    const next = expiresInMs <= 0 ? soonMs : Math.max(expiresInMs, leastMs)
    return Math.min(this.#options.refreshMs, next)
  }

  #refresh(): Promise<void> {
    this.#readAt = monotonicNow()
    this.#reading ??= this.#again().finally(() => (this.#reading = undefined))
    return this.#reading
  }

  async #again(): Promise<void> {
    const { read, parse, refreshMs, log } = this.#options
    try {
      const secret = await read()
      this.#current = parse(secret.value)
      this.#schedule(this.#untilNext(secret))
    } catch (error) {
      if (!(error instanceof KeyVaultFailure)) throw error
      if (this.#over) return
      const { code, message, withdraws } = error
      if (withdraws) this.#current = error
      const kept = Array.isArray(this.#current)
      log[kept ? 'warn' : 'error']({ code, kept }, `${message} ${kept ? keeps : stops}`)
      this.#schedule(Math.min(refreshMs, soonMs))
    }
  }
}

const keeps = 'The headers of before are used further.'
const stops = 'The remote server gets no request until that is mended.'
