import {
  mapCredentials,
  type Credential,
  type Owned,
  type Owner,
  type Resource,
  type SecretReference,
  type SecretText,
  type WorkloadSpec,
} from './resource.ts'

export interface SecretSpec {
  readonly description: string
  /** Roles that may give the secret to workloads, besides its owners. Trimmed, distinct. */
  readonly requiredRoles: readonly string[]
  /** Roles that may write, as the owner may. Trimmed, distinct; absent for none. */
  readonly ownerRoles?: readonly string[]
  /** Has at least one entry. */
  readonly values: Readonly<Record<string, SecretText>>
}

/** A secret that workloads refer to by its name. */
export type Secret = Owned<SecretSpec, 'secret'>

/** The key of the only value in a secret that was created without keys. */
export const onlyKey = 'value'

/**
 * The secrets that a workload or its credentials refer to, each with the pointer of its reference.
 */
export function referencesOf(
  spec: WorkloadSpec,
): (readonly [pointer: string, reference: SecretReference])[] {
  const given = Object.entries(spec.environmentVariables).map(
    ([name, value]) => [`/environmentVariables/${name}`, value] as const,
  )
  const headers: (readonly [string, Credential])[] = []
  mapCredentials(spec, (each, pointer) => {
    headers.push([pointer, each])
    return each
  })
  return [...given, ...headers].flatMap(([pointer, value]) =>
    'secretRef' in value ? [[`${pointer}/secretRef`, value.secretRef] as const] : [],
  )
}

/**
 * Adds the owners of referenced secrets to a workload's references. Keys of `owners` are the
 * pointers of `referencesOf`.
 */
export function bindReferences<Spec extends WorkloadSpec>(
  spec: Spec,
  owners: ReadonlyMap<string, Owner>,
): Spec {
  const bound = <Given extends object>(given: Given, pointer: string): Given => {
    const owner = owners.get(`${pointer}/secretRef`)
    return owner === undefined || !('secretRef' in given)
      ? given
      : { ...given, secretRef: { ...(given.secretRef as SecretReference), owner } }
  }
  const environment = Object.entries(spec.environmentVariables).map(([name, given]) => [
    name,
    bound(given, `/environmentVariables/${name}`),
  ])
  return {
    ...spec,
    environmentVariables: Object.fromEntries(environment) as WorkloadSpec['environmentVariables'],
    ...mapCredentials(spec, bound),
  }
}

/**
 * Applies `change` to each secret text of a resource, with a unique name of its place, and returns
 * the changed resource.
 */
export function mapSecrets(
  resource: Resource,
  change: (text: SecretText, place: string) => SecretText,
): Resource {
  const { environmentVariables } = resource.spec
  return {
    ...resource,
    spec: {
      ...resource.spec,
      environmentVariables: Object.fromEntries(
        Object.entries(environmentVariables).map(([name, given]) => {
          if ('secretRef' in given || !given.secret) return [name, given]
          return [name, { ...change(given, placeOf(resource, 'environment', name)), secret: true }]
        }),
      ),
      ...mapCredentials(resource.spec, (each, _pointer, place) =>
        'secretRef' in each
          ? each
          : { ...change(each, placeOf(resource, 'credential', place)), header: each.header },
      ),
    },
  }
}

/** Does the same for the values of a secret. */
export function mapValues(
  secret: Secret,
  change: (text: SecretText, place: string) => SecretText,
): Secret {
  const values = Object.entries(secret.spec.values).map(([key, text]) => [
    key,
    change(text, placeOf(secret, 'value', key)),
  ])
  return {
    ...secret,
    spec: { ...secret.spec, values: Object.fromEntries(values) as SecretSpec['values'] },
  }
}

/** Includes the uid, so that a sealed value of an earlier incarnation does not fit the new one. */
function placeOf(
  { kind, name, uid }: Pick<Owned<unknown>, 'kind' | 'name' | 'uid'>,
  ...place: readonly string[]
): string {
  return JSON.stringify([kind, name, uid, ...place])
}
