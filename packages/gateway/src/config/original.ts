/** A setting that a variable of microsoft/mcp-gateway stands for. */
export interface OriginalSetting {
  readonly path: readonly string[]
  readonly value: unknown
  readonly variable: string
}

/**
 * The environment variables by which the original is configured (`Section__Key`, without regard to case, as .NET reads them), so that a
 * deployment of it moves over as it is.
 */
export function originalSettings(
  environment: Readonly<Record<string, string | undefined>>,
): OriginalSetting[] {
  const values = new Map(
    Object.entries(environment).flatMap(([name, value]) =>
      value === undefined || value === '' ? [] : [[name.toLowerCase(), value] as const],
    ),
  )
  const settings: OriginalSetting[] = []
  const publicOrigin = values.get('publicorigin')
  if (publicOrigin !== undefined)
    settings.push({ path: ['publicOrigin'], value: publicOrigin, variable: 'PublicOrigin' })
  const registry = values.get('containerregistrysettings__endpoint')
  if (registry !== undefined)
    settings.push({
      path: ['runtime', 'kubernetes', 'registry'],
      value: registry,
      variable: 'ContainerRegistrySettings__Endpoint',
    })

  const tenantId = values.get('azuread__tenantid')
  const clientId = values.get('azuread__clientid')
  // It has no Entra ID then but development identity, which is the default here and serves this machine alone.
  const development =
    values.get('authentication__bypassentra')?.toLowerCase() === 'true' ||
    values.get('aspnetcore_environment')?.toLowerCase() === 'development'
  if (tenantId !== undefined && clientId !== undefined && !development) {
    const instance = values.get('azuread__instance')
    const audience = values.get('azuread__audience')
    const issuer = {
      preset: 'entra',
      tenantId,
      audiences: [clientId, ...(audience === undefined ? [] : [audience])],
      requiredScopes: ['access'],
      ...(instance === undefined ? {} : { instance }),
    }
    settings.push({ path: ['identity', 'mode'], value: 'oidc', variable: 'AzureAd__TenantId' })
    settings.push({ path: ['identity', 'issuers'], value: [issuer], variable: 'AzureAd__TenantId' })
  }
  return settings
}
