import { GatewayError } from '../core/errors.ts'
import { credentialsOf, type SecretReference } from '../core/resource.ts'
import type { Secret } from '../core/secret.ts'
import { Listeners } from '../lib/async/listeners.ts'
import { Parts } from '../lib/async/parts.ts'
import { follow } from '../store/follow.ts'
import type { Change, Store } from '../store/store.ts'
import type { ClusterSource } from './cluster-source.ts'
import type { Found, SecretSource } from './sources.ts'
import { valueIn } from './store-source.ts'

export interface HeldSecretsOptions {
  readonly store: Pick<Store, 'list' | 'watch' | 'secrets'>
  readonly files: SecretSource
  readonly cluster: Pick<ClusterSource, 'find' | 'onChange'>
  /** Milliseconds between two reads of a file. */
  readonly refreshMs: number
  /** Learns why the copies of the store cannot be kept current. They stay as they are. */
  readonly followFailed?: (error: unknown) => void
}

/**
 * Secrets for requests, which wait for neither store nor file: copies of the store's and a
 * cluster's secrets, and files as of some seconds ago.
 */
export class HeldSecrets implements AsyncDisposable {
  readonly #options: HeldSecretsOptions
  readonly #parts = new Parts()
  readonly #secrets = new Map<string, Secret>()
  /** Files by the key of their reference. */
  readonly #files = new Map<string, { readonly reference: SecretReference; found: Found }>()
  readonly #listeners = new Listeners()

  private constructor(options: HeldSecretsOptions) {
    this.#options = options
  }

  /** Reads the secrets that credentials refer to, and follows the store. */
  static async open(options: HeldSecretsOptions): Promise<HeldSecrets> {
    const held = new HeldSecrets(options)
    const { store, cluster, refreshMs, followFailed } = options
    const unchanged = cluster.onChange(() => held.#tell())
    held.#parts.defer(async () => unchanged())
    const reading = new Set<Promise<void>>()
    held.#parts.use(await follow(store.secrets, {}, (change) => held.#take(change), followFailed))
    held.#parts.use(
      await follow(
        store,
        {},
        (change) => {
          for (const read of held.#readFiles(change))
            reading.add(read.finally(() => reading.delete(read)))
        },
        followFailed,
      ),
    )
    await Promise.all(reading)
    const timer = setInterval(() => {
      for (const { reference } of held.#files.values()) void held.#read(reference)
    }, refreshMs).unref()
    held.#parts.defer(async () => clearInterval(timer))
    return held
  }

  #take({ name, resource }: Change<Secret>): void {
    if (resource === undefined) this.#secrets.delete(name)
    else this.#secrets.set(name, resource)
    this.#tell()
  }

  /** Reads the files that a resource's credentials refer to. */
  #readFiles({ resource }: Change): Promise<void>[] {
    if (resource === undefined) return []
    return credentialsOf(resource.spec).flatMap((each) =>
      'secretRef' in each && each.secretRef.source === 'file' ? [this.#read(each.secretRef)] : [],
    )
  }

  /** Returns the present value of a credential's reference. */
  find(reference: SecretReference): Found {
    if (reference.source === 'store') return valueIn(this.#secrets.get(reference.name), reference)
    if (reference.source === 'kubernetes') return this.#options.cluster.find(reference)
    return (
      this.#files.get(keyOf(reference))?.found ?? {
        reason: 'SecretMissing',
        message: 'The file has not been read yet.',
      }
    )
  }

  /**
   * Calls back when values of references may have changed, until the returned function is called.
   */
  onChange(listener: () => void): () => void {
    return this.#listeners.add(listener)
  }

  /** Keeps the previous value if a file cannot be read for a passing reason. */
  async #read(reference: SecretReference): Promise<void> {
    const before = this.#files.get(keyOf(reference))
    const found = await this.#options.files.read(reference).catch((error: unknown): Found => {
      const message = error instanceof GatewayError ? error.message : 'The file cannot be read.'
      return before?.found ?? { reason: 'SecretUnreadable', message }
    })
    this.#files.set(keyOf(reference), { reference, found })
    if (JSON.stringify(before?.found) !== JSON.stringify(found)) this.#tell()
  }

  #tell(): void {
    this.#listeners.tell()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#parts[Symbol.asyncDispose]()
  }
}

function keyOf({ source, name, key }: SecretReference): string {
  return JSON.stringify([source, name, key])
}
