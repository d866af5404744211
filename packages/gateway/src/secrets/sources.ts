import type { Mistake } from '../core/errors.ts'
import type { Principal } from '../core/principal.ts'
import type { Owner, SecretReference, WorkloadSpec } from '../core/resource.ts'
import { bindReferences, referencesOf } from '../core/secret.ts'

/** Why a reference has no value, in the form of a condition. */
export interface Withheld {
  readonly reason: 'SecretMissing' | 'SecretUnreadable'
  readonly message: string
}

export type Found = { readonly value: string } | Withheld

/** A place that holds secrets. */
export interface SecretSource {
  /**
   * Tells whether a principal may give the secret to workloads. Nobody may give a missing secret.
   */
  admits(principal: Principal, reference: SecretReference): Promise<boolean>
  /**
   * Returns the owner of the secret that a reference means now. Absent where secrets have no
   * owners.
   */
  ownerOf?(reference: SecretReference): Promise<Owner | undefined>
  /** @throws GatewayError for passing failures: workloads run on, and the gateway tries again */
  read(reference: SecretReference): Promise<Found>
}

export type SecretSources = Readonly<Record<SecretReference['source'], SecretSource>>

/** Binds each reference that was `given` now to the present owner of its secret. */
export async function boundToOwners<Spec extends WorkloadSpec>(
  sources: SecretSources,
  spec: Spec,
  given: (pointer: string) => boolean,
): Promise<Spec> {
  const owners = new Map<string, Owner>()
  for (const [pointer, reference] of referencesOf(spec)) {
    const owner = given(pointer) ? await sources[reference.source].ownerOf?.(reference) : undefined
    if (owner !== undefined) owners.set(pointer, owner)
  }
  return bindReferences(spec, owners)
}

/**
 * Finds mistakes in the references of a workload that `principal` creates or changes. A secret that
 * the principal may not use counts as missing.
 */
export async function referenceMistakes(
  sources: SecretSources,
  principal: Principal,
  spec: WorkloadSpec,
): Promise<Mistake[]> {
  const mistakes: Mistake[] = []
  for (const [pointer, reference] of referencesOf(spec)) {
    if (!(await sources[reference.source].admits(principal, reference))) {
      const detail =
        `names '${reference.name}' (${reference.source}), ` +
        'and there is no such secret that you may give to workloads'
      mistakes.push({ pointer, code: 'secret_not_found', detail })
      continue
    }
    const found = await sources[reference.source].read(reference)
    if ('reason' in found && found.reason === 'SecretMissing')
      mistakes.push({ pointer, code: 'secret_key_not_found', detail: found.message })
  }
  return mistakes
}
