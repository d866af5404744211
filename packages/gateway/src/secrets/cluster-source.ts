import { longestSecret } from '@mcp-gateway/contract'
import { holdsOneOf, type Principal } from '../core/principal.ts'
import type { SecretReference } from '../core/resource.ts'
import type { Found, SecretSource } from './sources.ts'
import { decodedText } from './decoded-text.ts'

/** The opened Secrets of a cluster, kept current. */
export interface ClusterSecrets {
  /** Base64 values by key; undefined when there is no such Secret now. */
  get(name: string): Readonly<Record<string, string>> | undefined
  /** Calls back with the name of each changed Secret, until the returned function is called. */
  onChange(listener: (name: string) => void): () => void
}

/**
 * Secrets of the cluster that the configuration opens by name. References reach no other Secret.
 */
export class ClusterSource implements SecretSource {
  readonly #opened: ReadonlyMap<string, { readonly requiredRoles: readonly string[] }>
  readonly #secrets: ClusterSecrets

  constructor(
    opened: Readonly<Record<string, { readonly requiredRoles: readonly string[] }>>,
    secrets: ClusterSecrets,
  ) {
    this.#opened = new Map(Object.entries(opened))
    this.#secrets = secrets
  }

  async admits(principal: Principal, { name }: SecretReference): Promise<boolean> {
    const opened = this.#opened.get(name)
    return opened !== undefined && holdsOneOf(principal, opened.requiredRoles)
  }

  async read(reference: SecretReference): Promise<Found> {
    return this.find(reference)
  }

  /** Resolves a reference from present values, without waiting. */
  find({ name, key }: SecretReference): Found {
    const missing = (message: string): Found => ({ reason: 'SecretMissing', message })
    if (!this.#opened.has(name))
      return missing(
        `The configuration opens no Secret of the cluster as '${name}' (secrets.kubernetes).`,
      )
    const held = this.#secrets.get(name)
    if (held === undefined) return missing(`The cluster has no Secret '${name}' now.`)
    const values = new Map(Object.entries(held))
    if (key === undefined && values.size !== 1)
      return missing(
        `The Secret '${name}' of the cluster has ${values.size} values, so a reference ` +
          'to it must name a key.',
      )
    const value = key === undefined ? [...values.values()][0] : values.get(key)
    if (value === undefined)
      return missing(
        `The Secret '${name}' of the cluster has no value by the key '${String(key)}'.`,
      )
    const text = decodedText(Buffer.from(value, 'base64'))
    if (text !== undefined && Buffer.byteLength(text) <= longestSecret) return { value: text }
    const why =
      text === undefined
        ? 'is no text that a variable of an environment can hold'
        : `is longer than ${longestSecret} bytes`
    return {
      reason: 'SecretUnreadable',
      message: `What the Secret '${name}' of the cluster holds ${why}.`,
    }
  }

  onChange(listener: (name: string) => void): () => void {
    return this.#secrets.onChange(listener)
  }
}
