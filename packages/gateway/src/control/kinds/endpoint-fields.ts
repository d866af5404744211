import type { AdapterInput } from '@mcp-gateway/contract'
import type { Mistake } from '../../core/errors.ts'
import type { MistakeCode } from '../../core/mistakes.ts'
import { looksSecret } from '../../core/fields/looks-secret.ts'
import type { WorkloadSpec } from '../../core/resource.ts'
import { literalAddress, type AddressPolicy } from '../../lib/net/address-policy.ts'
import { tableOf } from '../../lib/json/table-of.ts'
import type { Warning } from '../validation.ts'

type Given = Pick<AdapterInput, 'imageName' | 'imageVersion' | 'endpoint' | 'replicaCount'>

/** Addresses that endpoints may have. Each connection resolves and checks names again. */
export interface EndpointRules {
  readonly policy: AddressPolicy
  /** The name of the setting that configures the policy. */
  readonly setting: string
}

/** Checks that a body has either an image or an endpoint, and that the endpoint is allowed. */
export function originMistakes(body: unknown, { policy, setting }: EndpointRules): Mistake[] {
  const { imageName, imageVersion, endpoint } = tableOf(body)

  const missing = (pointer: string, detail: string): Mistake => ({
    pointer,
    code: 'invalid_type',
    detail,
  })
  if (endpoint === undefined || endpoint === null)
    return [
      ...(imageName === undefined
        ? [missing('/imageName', 'is required, unless there is an endpoint')]
        : []),
      ...(imageVersion === undefined
        ? [missing('/imageVersion', 'is required, unless there is an endpoint')]
        : []),
    ]

  const ambiguous = Object.entries({ imageName, imageVersion })
    .filter(([, value]) => value !== undefined)
    .map(([key]): Mistake => ({
      pointer: `/${key}`,
      code: 'ambiguous',
      detail: 'cannot stand beside an endpoint: remove one of them',
    }))
  return [...ambiguous, ...addressMistakes(endpoint, policy, setting)]
}

function addressMistakes(endpoint: unknown, policy: AddressPolicy, setting: string): Mistake[] {
  if (typeof endpoint !== 'string' || !URL.canParse(endpoint)) return []
  const { username, password, hash, hostname } = new URL(endpoint)
  const mistake = (code: MistakeCode, detail: string): Mistake => ({
    pointer: '/endpoint',
    code,
    detail,
  })

  if (username !== '' || password !== '')
    return [mistake('endpoint_credentials', 'must not hold a user name or a password')]
  if (hash !== '') return [mistake('invalid_format', 'must not hold a fragment')]

  const address =
    literalAddress(hostname) ?? (/(^|\.)localhost\.?$/i.test(hostname) ? '127.0.0.1' : undefined)
  const refusal = address === undefined ? undefined : policy.refusal(address)
  return refusal === undefined
    ? []
    : [
        mistake(
          'endpoint_forbidden',
          `is ${refusal}, which the configuration does not allow (${setting})`,
        ),
      ]
}

/** Warns about fields that have no effect beside an endpoint, and about secrets in its URL. */
export function endpointWarnings({
  endpoint,
  environmentVariables,
  replicaCount,
  useWorkloadIdentity,
}: Pick<
  AdapterInput,
  'endpoint' | 'environmentVariables' | 'replicaCount' | 'useWorkloadIdentity'
>): Warning[] {
  if (endpoint === undefined) return []

  const vain = {
    environmentVariables: Object.keys(environmentVariables).length > 0,
    replicaCount: replicaCount > 1,
    useWorkloadIdentity,
  }
  const secrets = [...new URL(endpoint).searchParams].filter(([name, value]) =>
    looksSecret(name, value),
  )

  return [
    ...Object.entries(vain)
      .filter(([, given]) => given)
      .map(([field]): Warning => ({
        pointer: `/${field}`,
        code: 'no_effect',
        detail: 'had no effect, because the resource has an endpoint and no image.',
      })),
    ...secrets.map(([name]): Warning => ({
      pointer: '/endpoint',
      code: 'secret_in_endpoint',
      detail:
        `'${name.slice(0, 100)}' looks like a secret, and every reader of this resource sees it. ` +
        'If the server takes it as a header, give it as credential.',
    })),
  ]
}

/**
 * The stored form. With an endpoint, nothing runs here, so `replicaCount` is 0 whatever the
 * default.
 */
export function storedOrigin({
  imageName = '',
  imageVersion = '',
  endpoint,
  replicaCount,
}: Given): Pick<WorkloadSpec, 'imageName' | 'imageVersion' | 'endpoint' | 'replicaCount'> {
  return endpoint === undefined
    ? { imageName, imageVersion, replicaCount }
    : { imageName: '', imageVersion: '', endpoint, replicaCount: 0 }
}

/** The form in bodies and answers. */
export function shownOrigin({
  imageName,
  imageVersion,
  endpoint,
}: WorkloadSpec):
  | { readonly imageName: string; readonly imageVersion: string }
  | { readonly endpoint: string } {
  return endpoint === undefined ? { imageName, imageVersion } : { endpoint }
}
