/** A secret of a vault, and the identity that reads the secret. */
export interface KeyVaultSettings {
  /** The origin of the vault. */
  readonly vault: string
  readonly secret: string
  /** Unset: always the current version. */
  readonly version: string | undefined
  /** Tokens may be requested for this domain only. */
  readonly domain: string
  readonly identity: IdentitySettings
  readonly refreshMs: number
}

/** The source of Microsoft Entra ID tokens, without a password. */
export type IdentitySettings =
  /** Workload identity: the token of a service account is exchanged. */
  | {
      readonly kind: 'workload'
      readonly tokenFile: string
      readonly clientId: string
      /** The token endpoint of the tenant. */
      readonly endpoint: URL
    }
  /** App Service, Container Apps, Functions. */
  | {
      readonly kind: 'platform'
      readonly endpoint: URL
      readonly header: string
      readonly clientId: string | undefined
    }
  /** The metadata service of virtual machines and nodes. */
  | { readonly kind: 'machine'; readonly endpoint: URL; readonly clientId: string | undefined }

type Environment = Readonly<Record<string, string | undefined>>

/** The domains of the public cloud, of China and of the United States government. */
const vaultDomains = ['vault.azure.net', 'vault.azure.cn', 'vault.usgovcloudapi.net']
const signInHosts = [
  'login.microsoftonline.com',
  'login.microsoftonline.us',
  'login.partner.microsoftonline.cn',
  'login.chinacloudapi.cn',
]

const secretPath = /^\/secrets\/([0-9A-Za-z-]{1,127})(?:\/([0-9A-Fa-f]{32}))?\/?$/

/**
 * Reads `MCP_PROXY_HEADERS_SECRET_URL` and Azure's variables of the identity. Mistakes repeat no
 * possible secret. Returns undefined if the variable is unset, or if there are mistakes.
 */
export function readKeyVault(
  environment: Environment,
  remote: URL | undefined,
  refreshMs: number,
  mistakes: string[],
): KeyVaultSettings | undefined {
  const text = environment['MCP_PROXY_HEADERS_SECRET_URL']?.trim()
  if (text === undefined || text === '') return undefined

  const before = mistakes.length
  const wrong = (name: string, what: string): undefined => void mistakes.push(`${name}: ${what}`)

  if (remote !== undefined && remote.protocol !== 'https:' && !isLoopback(remote.hostname))
    wrong('MCP_PROXY_URL', 'must be https://, because headers of a Key Vault secret go there')
  const own = (environment['MCP_AZURE_HOSTS'] ?? '')
    .split(',')
    .map((host) => host.trim().toLowerCase())
    .filter((host) => host !== '')
  const url = URL.canParse(text) ? new URL(text) : undefined
  const path = secretPath.exec(url?.pathname ?? '')
  const domain = url === undefined ? undefined : domainOf(url, own)

  const plain = url?.username === '' && url.password === '' && url.search + url.hash === ''
  if (url === undefined || path === null || domain === undefined || !plain)
    wrong(
      'MCP_PROXY_HEADERS_SECRET_URL',
      'must be https://VAULT.vault.azure.net/secrets/NAME, with or without a version, ' +
        'or lie at a ' +
        `host that MCP_AZURE_HOSTS names`,
    )

  const identity = readIdentity(environment, own, wrong)
  if (mistakes.length > before || url === undefined || path === null) return undefined
  if (domain === undefined || identity === undefined) return undefined

  const [, secret = '', version] = path
  return { vault: url.origin, secret, version, domain, identity, refreshMs }
}

/** The Key Vault domain of an address. */
function domainOf({ protocol, hostname, port }: URL, own: readonly string[]): string | undefined {
  if (protocol !== 'https:') return undefined
  const named = own.find((each) => hostname === each || hostname.endsWith(`.${each}`))
  if (named !== undefined || port !== '') return named

  const [label = '', ...rest] = hostname.split('.')
  return label === '' ? undefined : vaultDomains.find((each) => each === rest.join('.'))
}

function readIdentity(
  environment: Environment,
  own: readonly string[],
  wrong: (name: string, what: string) => undefined,
): IdentitySettings | undefined {
  const clientId = environment['AZURE_CLIENT_ID'] || undefined
  const tokenFile = environment['AZURE_FEDERATED_TOKEN_FILE']
  if (tokenFile) {
    const tenant = environment['AZURE_TENANT_ID'] ?? ''
    const authority = environment['AZURE_AUTHORITY_HOST'] || `https://${signInHosts[0]}/`
    if (clientId === undefined)
      wrong('AZURE_CLIENT_ID', 'must be set beside AZURE_FEDERATED_TOKEN_FILE')
    if (!/^[0-9A-Za-z.-]+$/.test(tenant))
      wrong('AZURE_TENANT_ID', 'must be the tenant, beside AZURE_FEDERATED_TOKEN_FILE')

    const base = URL.canParse(authority) ? new URL(authority) : undefined
    if (base?.protocol !== 'https:' || ![...signInHosts, ...own].includes(base.hostname))
      return wrong(
        'AZURE_AUTHORITY_HOST',
        'must be the https:// address of a cloud of Azure, or of a host that MCP_AZURE_HOSTS names',
      )

    const endpoint = new URL(`/${tenant}/oauth2/v2.0/token`, base)
    return clientId === undefined ? undefined : { kind: 'workload', tokenFile, clientId, endpoint }
  }

  const near = (name: string, fallback: string): URL | undefined => {
    const text = environment[name] || fallback
    const url = /^https?:/.test(text) && URL.canParse(text) ? new URL(text) : undefined
    if (url !== undefined && (isNear(url.hostname) || own.includes(url.hostname))) return url

    return wrong(
      name,
      'must be an address of this machine or of its metadata service (169.254.0.0/16), or of a ' +
        'host that MCP_AZURE_HOSTS names',
    )
  }

  const header = environment['IDENTITY_HEADER']
  if (environment['IDENTITY_ENDPOINT'] && header) {
    const endpoint = near('IDENTITY_ENDPOINT', '')
    return endpoint === undefined ? undefined : { kind: 'platform', endpoint, header, clientId }
  }

  const base = near('AZURE_POD_IDENTITY_AUTHORITY_HOST', 'http://169.254.169.254')
  if (base === undefined) return undefined

  return { kind: 'machine', endpoint: new URL('/metadata/identity/oauth2/token', base), clientId }
}

function isNear(host: string): boolean {
  return isLoopback(host) || /^169\.254\.\d+\.\d+$/.test(host)
}

function isLoopback(host: string): boolean {
  return /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(host)
}
