import { readFile } from 'node:fs/promises'
import type { AzureAnswer, AzureClient } from './ask.ts'
import { KeyVaultFailure } from './failure.ts'
import type { IdentitySettings } from './settings.ts'

export interface AzureToken {
  readonly text: string
  readonly lifetimeMs: number
}

const assertionType = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'
/** For answers that give no lifetime. */
const shortLifetimeSeconds = 300

/**
 * A Microsoft Entra ID token for a resource such as `https://vault.azure.net`: by a federated
 * token, App Service (2019-08-01) or the metadata service (2018-02-01).
 * @throws KeyVaultFailure
 */
export async function askToken(
  azure: AzureClient,
  identity: IdentitySettings,
  resource: string,
): Promise<AzureToken> {
  const answer = await send(azure, identity, resource)
  const { access_token: text, expires_in: expiresIn } = answer.body
  if (answer.status !== 200 || typeof text !== 'string' || !/^[\x21-\x7e]+$/.test(text))
    throw new KeyVaultFailure('identity_refused', refusal(identity, answer))

  const seconds = Number(expiresIn)
  return { text, lifetimeMs: (seconds > 0 ? seconds : shortLifetimeSeconds) * 1000 }
}

async function send(
  azure: AzureClient,
  identity: IdentitySettings,
  resource: string,
): Promise<AzureAnswer> {
  const unreachable = 'identity_unreachable' as const
  if (identity.kind === 'workload') {
    const form = {
      grant_type: 'client_credentials',
      client_id: identity.clientId,
      scope: `${resource}/.default`,
      client_assertion_type: assertionType,
      // Kubernetes writes the token again before it expires.
      client_assertion: await federatedToken(identity.tokenFile),
    }

    const whom = 'Microsoft Entra ID (AZURE_AUTHORITY_HOST)'
    return azure.ask({ url: identity.endpoint, headers: {}, form, whom, unreachable })
  }

  const url = new URL(identity.endpoint)
  url.searchParams.set('resource', resource)
  if (identity.clientId !== undefined) url.searchParams.set('client_id', identity.clientId)

  if (identity.kind === 'platform') {
    url.searchParams.set('api-version', '2019-08-01')
    const headers = { 'x-identity-header': identity.header }
    const whom = 'The identity endpoint of the platform (IDENTITY_ENDPOINT)'
    return azure.ask({ url, headers, whom, unreachable })
  }

  url.searchParams.set('api-version', '2018-02-01')
  const whom = 'The metadata service of Azure (is there a managed identity?)'
  return azure.ask({ url, headers: { metadata: 'true' }, whom, unreachable, settles: true })
}

async function federatedToken(file: string): Promise<string> {
  try {
    return (await readFile(file, 'utf8')).trim()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new KeyVaultFailure(
      'identity_unreachable',
      `The file of AZURE_FEDERATED_TOKEN_FILE cannot be read (${code}).`,
    )
  }
}

/**
 * Repeats only Azure's error word, which comes from a short list, and its public numbers. Azure's
 * sentences stay out.
 */
function refusal({ kind }: IdentitySettings, { status, body }: AzureAnswer): string {
  const word = typeof body['error'] === 'string' && /^\w+$/.test(body['error']) ? body['error'] : ''
  const numbers = [body['error_codes']].flat().filter((each) => typeof each === 'number')
  const said = [`HTTP ${status}`, word, ...numbers.map((each) => `AADSTS${each}`)]
  const remedy =
    kind === 'workload'
      ? 'Check AZURE_CLIENT_ID, AZURE_TENANT_ID and the federated credential of the identity.'
      : 'Give this machine a managed identity, or name one of several by AZURE_CLIENT_ID.'
  return (
    'Azure gives the identity no token ' +
    `(${said.filter((each) => each !== '').join(', ')}). ${remedy}`
  )
}
