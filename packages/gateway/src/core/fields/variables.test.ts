import { describe, expect, test } from 'vitest'
import { accessRules, type AccessSettings } from '../access.ts'
import { isLoaderVariable, type VariableSettings } from './variables.ts'

const quotas = {
  adapters: 2,
  tools: 1,
  replicas: 5,
  servers: 1,
  bytes: 1000,
  totalBytes: 2000,
  exemptRoles: [],
}

/** The name of the refused variable, or undefined. */
function refused(
  images: AccessSettings['images'],
  {
    roles = [] as readonly string[],
    image = 'mcp-example:1.0',
    variables,
    imageVariables,
  }: {
    readonly roles?: readonly string[]
    readonly image?: string
    readonly variables: Readonly<Record<string, string | undefined>>
    readonly imageVariables?: NonNullable<VariableSettings['imageVariables']>
  },
): string | undefined {
  const rules = accessRules(
    { create: {}, images, logs: 'write', quotas },
    {
      development: false,
      anonymous: false,
      ...(imageVariables === undefined ? {} : { imageVariables }),
    },
  )
  const [name = '', version = ''] = image.split(':')
  const given = Object.fromEntries(
    Object.entries(variables).map(([key, value]) => [key, value === undefined ? {} : { value }]),
  )
  const refusal = rules.checkVariables({ roles }, 'adapter', { name, version }, given)
  if (refusal !== undefined) expect(refusal.detail).toContain(refusal.variable)
  return refusal?.variable
}

const everybody = [{ pattern: 'mcp-example:*', roles: ['*'] }]

describe('variables', () => {
  test.each([
    'NODE_OPTIONS',
    'MCP_HOST',
    'MCP_PORT',
    'MCP_ALLOWED_HOSTS',
    'NIX_LD_LIBRARY_PATH',
    'TAR_OPTIONS',
    'RIPGREP_CONFIG_PATH',
    'DBUS_SESSION_BUS_ADDRESS',
    'AWS_CONFIG_FILE',
    'PUPPETEER_EXECUTABLE_PATH',
    'PLAYWRIGHT_MCP_EXECUTABLE_PATH',
    'PSModulePath',
    'GTK_MODULES',
    'GST_PLUGIN_PATH',
    'MAGICK_CODER_MODULE_PATH',
    'HGEDITOR',
    'RSYNC_RSH',
    'SPRING_CONFIG_LOCATION',
    'node_options',
    'LD_PRELOAD',
    'DYLD_INSERT_LIBRARIES',
    'PYTHONSTARTUP',
    'RUBYOPT',
    'PERL5OPT',
    'JAVA_TOOL_OPTIONS',
    '_JAVA_OPTIONS',
    'JDK_JAVA_OPTIONS',
    'GODEBUG',
    'GOFLAGS',
    'DOTNET_STARTUP_HOOKS',
    'COMPlus_EnableDiagnostics',
    'CORECLR_PROFILER_PATH',
    'MONO_PATH',
    'BASH_ENV',
    'ENV',
    'PATH',
    'HOME',
    'SHELL',
    'IFS',
    'npm_config_registry',
    'UV_INDEX_URL',
    'PIP_INDEX_URL',
    'XDG_CONFIG_HOME',
    'GIT_SSH_COMMAND',
    'SSH_ASKPASS',
    'LUA_PATH',
    'PHPRC',
    'OPENSSL_CONF',
    'SSL_CERT_FILE',
    'https_proxy',
    'NO_PROXY',
    'TMPDIR',
    'LOCPATH',
    'GCONV_PATH',
    'MALLOC_CHECK_',
    'GLIBC_TUNABLES',
    'DENO_DIR',
    'BUN_CONFIG_PRELOAD',
    'ERL_FLAGS',
    'MCPGW_REPLICA_NAME',
    'HOST',
    'PORT',
  ])('a variable that makes a program run other code is refused in any rule: %s', (name) => {
    const images = [{ pattern: 'mcp-example:*', roles: ['*'], variables: ['*', name] }]
    expect(refused(images, { variables: { [name]: 'x' } })).toBe(name)
  })

  test.each([
    'API_KEY',
    'GITHUB_TOKEN',
    'GOOGLE_API_KEY',
    'GST_NUMBER',
    'VK_TOKEN',
    'TF_TOKEN',
    'AWS_REGION',
    'AWS_SECRET_ACCESS_KEY',
    'PLAYWRIGHT_MCP_HEADLESS',
    'SPRING_URL',
    'MCP_LOG_LEVEL',
    'GOOD',
    'HOME_ASSISTANT_URL',
    'ENVIRONMENT',
    'PORTAL_URL',
    'RESOURCE',
    'LOG_LEVEL',
    'DATABASE_URL',
    'NODES',
    'TZ',
    'PYRAMID',
    'SSO_URL',
  ])('a variable that only configures a server belongs to no loader: %s', (name) => {
    expect(isLoaderVariable(name)).toBe(false)
  })

  test('callers to whom image rules close nothing may set any variable', () => {
    const variables = { NODE_OPTIONS: '--import=data:,' }
    expect(refused([], { variables })).toBeUndefined()
    expect(refused(everybody, { roles: ['mcp.engineer'], variables })).toBeUndefined()
    expect(refused(everybody, { roles: ['mcp.admin'], variables })).toBeUndefined()
    const images = [...everybody, { pattern: 'mcp-proxy:*', roles: ['platform'] }]
    expect(refused(images, { roles: ['mcp.engineer'], variables })).toBe('NODE_OPTIONS')
    expect(refused(images, { roles: ['MCP.Engineer', 'platform'], variables })).toBeUndefined()
  })

  test('variables are allowed by name where an image rule fits, and else none', () => {
    const variables = { API_KEY: 'k', REGION: 'eu' }
    expect(refused(everybody, { variables: {} })).toBeUndefined()
    expect(refused(everybody, { variables })).toBe('API_KEY')
    const named = (list: readonly string[]) => [
      { pattern: 'mcp-example:*', roles: ['*'], variables: list },
    ]
    expect(refused(named(['API_*']), { variables })).toBe('REGION')
    expect(refused(named(['API_*', 'REGION']), { variables })).toBeUndefined()
    expect(refused(named([]), { variables })).toBe('API_KEY')
    // A name is not its other case.
    expect(refused(named(['api_key', 'REGION']), { variables })).toBe('API_KEY')
  })

  test('an image may name its variables, and a rule of its own outranks that', () => {
    const imageVariables = { 'mcp-example': ['REGION'] }
    expect(refused(everybody, { variables: { REGION: 'eu' }, imageVariables })).toBeUndefined()
    expect(refused(everybody, { variables: { OTHER: 'x' }, imageVariables })).toBe('OTHER')
    const images = [{ pattern: 'mcp-example:*', roles: ['*'], variables: ['OTHER'] }]
    expect(refused(images, { variables: { REGION: 'eu' }, imageVariables })).toBe('REGION')
  })

  test('a variable may have listed values alone, which no secret can have', () => {
    const images = [
      {
        pattern: 'mcp-example:*',
        roles: ['*'],
        variables: [{ name: 'REGION', values: ['eu-*', 'local'] }],
      },
    ]
    expect(refused(images, { variables: { REGION: 'eu-west' } })).toBeUndefined()
    expect(refused(images, { variables: { REGION: 'local' } })).toBeUndefined()
    expect(refused(images, { variables: { REGION: 'us' } })).toBe('REGION')
    expect(refused(images, { variables: { REGION: undefined } })).toBe('REGION')
  })

  test('variables of an image that no rule fits are free, except those of loaders', () => {
    const options = { roles: ['mcp.engineer'], image: 'other:1' }
    const images = [{ pattern: 'mcp-proxy:*', roles: ['platform'] }]
    expect(refused(images, { ...options, variables: { API_KEY: 'k' } })).toBeUndefined()
    expect(refused(images, { ...options, variables: { LD_PRELOAD: 'x' } })).toBe('LD_PRELOAD')
    const imageVariables = { other: ['REGION'] }
    expect(refused(images, { ...options, imageVariables, variables: { API_KEY: 'k' } })).toBe(
      'API_KEY',
    )
  })

  test('variables of mcp-proxy are free, as it runs commands, until a list narrows them', () => {
    const image = 'mcp-proxy:1.0.0'
    const variables = { MCP_COMMAND: 'sh', NODE_OPTIONS: '--x' }
    const rule = { pattern: 'mcp-proxy:*', roles: ['platform'] }
    const roles = ['platform']
    expect(refused([rule], { roles, image, variables })).toBeUndefined()
    const narrow = (list: readonly unknown[]) =>
      [{ ...rule, variables: list }] as AccessSettings['images']
    expect(
      refused(narrow(['*']), { roles, image, variables: { MCP_ERAS: 'auto' } }),
    ).toBeUndefined()
    const decisive = ['MCP_COMMAND', 'MCP_ARGS', 'MCP_CWD', 'MCP_PROXY_URL', 'MCP_PROXY_HEADERS']
    // A wildcard stands neither for the command nor for the hosts that get headers and tokens.
    for (const name of [...decisive, 'MCP_AZURE_HOSTS'])
      expect(refused(narrow(['*', 'MCP_*']), { roles, image, variables: { [name]: 'x' } })).toBe(
        name,
      )
    const fixed = narrow([{ name: 'MCP_COMMAND', values: ['npx'] }])
    expect(refused(fixed, { roles, image, variables: { MCP_COMMAND: 'npx' } })).toBeUndefined()
    expect(refused(fixed, { roles, image, variables: { MCP_COMMAND: 'sh' } })).toBe('MCP_COMMAND')
    expect(
      refused(narrow(['MCP_COMMAND']), { roles, image, variables: { NODE_OPTIONS: 'x' } }),
    ).toBe('NODE_OPTIONS')
  })
})
