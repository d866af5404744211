/** A setting that comes from a variable of microsoft/mcp-gateway. */
export interface OriginalSetting {
  readonly path: readonly string[]
  readonly value: unknown
  readonly variable: string
}

/** Variables of the original, by name in lower case: `mcp__allowedorigins__0`. */
type OriginalValues = ReadonlyMap<string, string>

/**
 * Sections of the original's configuration that a file may hold unchanged. The gateway reads some
 * of their members and ignores the rest.
 */
const sections: ReadonlySet<string> = new Set([
  'AllowedHosts',
  'ApplicationInsights',
  'Authentication',
  'AzureAd',
  'BuiltinToolSettings',
  'ContainerRegistrySettings',
  'CosmosSettings',
  'FoundrySettings',
  'GatewaySettings',
  'Kubernetes',
  'Logging',
  'Mcp',
  'PublicOrigin',
  'Redis',
  'Storage',
  'WorkloadIdentitySettings',
])

/**
 * True if a top-level key of a file is the original's. The gateway's own keys begin in lower case.
 */
export function isOriginalSection(key: string): boolean {
  return sections.has(key)
}

/** Flattens a file's section into the original's variables: `AzureAd__TenantId`. */
export function variablesOf(section: string, value: unknown): Record<string, string> {
  if (typeof value === 'object' && value !== null)
    return Object.assign(
      {},
      ...Object.entries(value).map(([key, member]) => variablesOf(`${section}__${key}`, member)),
    ) as Record<string, string>

  const plain = ['string', 'number', 'boolean'].includes(typeof value)
  return plain ? { [section]: `${value as string | number | boolean}` } : {}
}

/**
 * Reads the original's environment variables (`Section__Key`, without case, as in .NET), so that
 * its deployments move over unchanged.
 */
export function originalSettings(
  environment: Readonly<Record<string, string | undefined>>,
): OriginalSetting[] {
  const values = new Map(
    Object.entries(environment).flatMap(([name, value]) =>
      value === undefined || value === '' ? [] : [[name.toLowerCase(), value] as const],
    ),
  )

  const found = (variable: string, path: readonly string[], value: unknown): OriginalSetting[] =>
    value === undefined ? [] : [{ path, value, variable }]
  const text = (variable: string, path: readonly string[]): OriginalSetting[] =>
    found(variable, path, values.get(variable.toLowerCase()))

  return [
    ...text('PublicOrigin', ['publicOrigin']),
    ...text('ContainerRegistrySettings__Endpoint', ['runtime', 'kubernetes', 'registry']),
    ...text('Kubernetes__Namespace', ['runtime', 'kubernetes', 'namespace']),
    ...found(
      'Mcp__AllowedOrigins',
      ['edge', 'allowedOrigins'],
      listOf(values, 'Mcp__AllowedOrigins')?.map(originOf),
    ),
    ...found(
      'WorkloadIdentitySettings__RequiredRoles',
      ['access', 'workloadIdentityRoles'],
      listOf(values, 'WorkloadIdentitySettings__RequiredRoles'),
    ),
    ...entraSettings(values),
  ]
}

/** Collects a list from numbered variables, in the order of their numbers. */
function listOf(values: OriginalValues, variable: string): string[] | undefined {
  const start = `${variable.toLowerCase()}__`
  const members = [...values].flatMap(([name, value]) => {
    const place = name.startsWith(start) ? name.slice(start.length) : ''
    return /^\d+$/.test(place) ? [{ place: Number(place), value }] : []
  })
  if (members.length === 0) return undefined

  return members.toSorted((a, b) => a.place - b.place).map(({ value }) => value)
}

/** The original accepts an address, but uses only its origin. */
function originOf(address: string): string {
  return /^https?:/i.test(address) && URL.canParse(address) ? new URL(address).origin : address
}

function entraSettings(values: OriginalValues): OriginalSetting[] {
  const tenantId = values.get('azuread__tenantid')
  const clientId = values.get('azuread__clientid')
  // The original then uses development identity, which is the default here and serves this machine
  // only.
  const development =
    values.get('authentication__bypassentra')?.toLowerCase() === 'true' ||
    values.get('aspnetcore_environment')?.toLowerCase() === 'development'
  if (tenantId === undefined || clientId === undefined || development) return []

  const instance = values.get('azuread__instance')
  const audience = values.get('azuread__audience')
  const issuer = {
    preset: 'entra',
    tenantId,
    audiences: [clientId, ...(audience === undefined ? [] : [audience])],
    requiredScopes: ['access'],
    ...(instance === undefined ? {} : { instance }),
  }

  return [
    { path: ['identity', 'mode'], value: 'oidc', variable: 'AzureAd__TenantId' },
    { path: ['identity', 'issuers'], value: [issuer], variable: 'AzureAd__TenantId' },
  ]
}
