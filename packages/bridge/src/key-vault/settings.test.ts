import { describe, expect, test } from 'vitest'
import { readKeyVault, type KeyVaultSettings } from './settings.ts'

const secret = 'https://acme.vault.azure.net/secrets/mcp-headers'

function read(
  environment: Readonly<Record<string, string>>,
  remote = 'https://mcp.example.com/mcp',
): { readonly settings: KeyVaultSettings | undefined; readonly mistakes: string } {
  const mistakes: string[] = []
  const settings = readKeyVault(environment, new URL(remote), 300_000, mistakes)
  return { settings, mistakes: mistakes.join('\n') }
}
const at = (url: string, more: Readonly<Record<string, string>> = {}) =>
  read({ MCP_PROXY_HEADERS_SECRET_URL: url, ...more })

describe('The address of a Key Vault secret', () => {
  test.each([
    [secret, 'vault.azure.net'],
    [`${secret}/`, 'vault.azure.net'],
    ['https://acme.vault.azure.cn/secrets/a', 'vault.azure.cn'],
    ['https://ACME.vault.usgovcloudapi.net/secrets/a', 'vault.usgovcloudapi.net'],
    [`${secret}/${'0a'.repeat(16)}`, 'vault.azure.net'],
  ])('the address %s is accepted', (url, domain) => {
    expect(at(url)).toMatchObject({ mistakes: '', settings: { domain } })
  })

  test.each([
    'http://acme.vault.azure.net/secrets/a',
    'https://vault.azure.net/secrets/a',
    'https://a.b.vault.azure.net/secrets/a',
    'https://acme.vault.azure.net.attacker.example/secrets/a',
    'https://attacker.example/secrets/a',
    'https://attacker/secrets/a',
    'https://acmevault.azure.net/secrets/a',
    'https://acme.vault.azure.net:8443/secrets/a',
    'https://user:hunter2@acme.vault.azure.net/secrets/a',
    'https://acme.vault.azure.net/keys/a',
    'https://acme.vault.azure.net//secrets/a',
    'https://acme.vault.azure.net/secrets//a',
    'https://acme.vault.azure.net/secrets/a/not-a-version',
    'https://acme.vault.azure.net/secrets/a?hunter2',
    'https://169.254.169.254/secrets/a',
    'hunter2',
  ])('the address %s is refused, and not repeated', (url) => {
    const { settings, mistakes } = at(url)
    expect(settings).toBeUndefined()
    expect(mistakes).toMatch(/^MCP_PROXY_HEADERS_SECRET_URL: must be https:/)
    expect(mistakes).not.toContain('hunter2')
  })

  test('an address may lie at a host that the operator names, with a port', () => {
    const own = { MCP_AZURE_HOSTS: 'vault.example, other.example' }
    expect(at('https://team.vault.example:8443/secrets/a', own).settings).toMatchObject({
      vault: 'https://team.vault.example:8443',
      domain: 'vault.example',
    })
    expect(at('https://teamvault.example/secrets/a', own).settings).toBeUndefined()
  })

  test('an address needs a remote server over https, or on this machine', () => {
    const environment = { MCP_PROXY_HEADERS_SECRET_URL: secret }
    expect(read(environment, 'http://mcp.example.com/mcp').mistakes).toMatch(
      /^MCP_PROXY_URL: must be https:\/\//,
    )
    expect(read(environment, 'http://127.0.0.1:3000/mcp').mistakes).toBe('')
    expect(read({}, 'http://mcp.example.com/mcp').mistakes).toBe('')
  })
})

describe('The identity that reads a Key Vault secret', () => {
  const federated = {
    AZURE_FEDERATED_TOKEN_FILE: '/var/run/secrets/azure/tokens/azure-identity-token',
    AZURE_CLIENT_ID: 'client',
    AZURE_TENANT_ID: 'tenant',
  }
  const platform = { IDENTITY_ENDPOINT: 'http://169.254.129.2:8081/msi/token' }

  test('the identity is that of the workload, else of the platform, else of the machine', () => {
    const header = { IDENTITY_HEADER: 'h' }
    expect(at(secret, { ...federated, ...platform, ...header }).settings?.identity).toMatchObject({
      kind: 'workload',
      endpoint: new URL('https://login.microsoftonline.com/tenant/oauth2/v2.0/token'),
    })
    expect(at(secret, { ...platform, ...header }).settings?.identity).toMatchObject({
      kind: 'platform',
      clientId: undefined,
    })
    expect(at(secret, { AZURE_CLIENT_ID: 'client' }).settings?.identity).toEqual({
      kind: 'machine',
      endpoint: new URL('http://169.254.169.254/metadata/identity/oauth2/token'),
      clientId: 'client',
    })
  })

  test.each([
    [{ ...federated, AZURE_CLIENT_ID: '' }, 'AZURE_CLIENT_ID'],
    [{ ...federated, AZURE_TENANT_ID: 'a/b' }, 'AZURE_TENANT_ID'],
    [{ ...federated, AZURE_AUTHORITY_HOST: 'https://attacker.example/' }, 'AZURE_AUTHORITY_HOST'],
    [
      { ...federated, AZURE_AUTHORITY_HOST: 'http://login.microsoftonline.com/' },
      'AZURE_AUTHORITY_HOST',
    ],
    [
      { IDENTITY_ENDPOINT: 'http://attacker.example/token', IDENTITY_HEADER: 'h' },
      'IDENTITY_ENDPOINT',
    ],
    [
      { AZURE_POD_IDENTITY_AUTHORITY_HOST: 'http://attacker.example' },
      'AZURE_POD_IDENTITY_AUTHORITY_HOST',
    ],
  ])('the settings %j name no identity', (environment, variable) => {
    const { settings, mistakes } = at(secret, environment)
    expect([settings, mistakes]).toEqual([
      undefined,
      expect.stringMatching(`^${variable}: must be`),
    ])
  })

  test('the identity may be that of a sovereign cloud', () => {
    const china = { ...federated, AZURE_AUTHORITY_HOST: 'https://login.chinacloudapi.cn' }
    expect(at('https://acme.vault.azure.cn/secrets/a', china).mistakes).toBe('')
  })
})
