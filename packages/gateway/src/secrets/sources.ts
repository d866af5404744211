import type { Mistake } from '../core/errors.ts'
import type { Principal } from '../core/principal.ts'
import type { Owner, SecretReference, WorkloadSpec } from '../core/resource.ts'
import { bindReferences, referencesOf } from '../core/secret.ts'

/** Why a reference gives nothing, in the manner of conditions. */
export interface Withheld {
  readonly reason: 'SecretMissing' | 'SecretUnreadable'
  readonly message: string
}

export type Found = { readonly value: string } | Withheld

/** Where secrets are kept. */
export interface SecretSource {
  /** Whether somebody may give the secret to workloads. A secret that is not there is nobody's. */
  admits(principal: Principal, reference: SecretReference): Promise<boolean>
  /** Whose secret a reference means now, where secrets have owners. */
  ownerOf?(reference: SecretReference): Promise<Owner | undefined>
  /** @throws GatewayError for what may pass: what runs goes on then, and it is tried again */
  read(reference: SecretReference): Promise<Found>
}

export type SecretSources = Readonly<Record<SecretReference['source'], SecretSource>>

/** The workload, of which each reference that was `given` now means the secret that has its name now. */
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

/** What is wrong with the references of a workload when `principal` makes or changes it. A secret that it may not use is not there for it. */
export async function referenceMistakes(
  sources: SecretSources,
  principal: Principal,
  spec: WorkloadSpec,
): Promise<Mistake[]> {
  const mistakes: Mistake[] = []
  for (const [pointer, reference] of referencesOf(spec)) {
    if (!(await sources[reference.source].admits(principal, reference))) {
      const detail = `there is no secret '${reference.name}' (${reference.source}) that you may give to workloads`
      mistakes.push({ pointer, code: 'secret_not_found', detail })
      continue
    }
    const found = await sources[reference.source].read(reference)
    if ('reason' in found && found.reason === 'SecretMissing')
      mistakes.push({ pointer, code: 'secret_key_not_found', detail: found.message })
  }
  return mistakes
}
