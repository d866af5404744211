import { describe, expect, test } from 'vitest'
import { ConfigError, isLoopbackHost, loadConfig } from './load.ts'

function mistakesOf(source: Parameters<typeof loadConfig>[0]): readonly string[] {
  try {
    loadConfig(source)
  } catch (error) {
    if (error instanceof ConfigError) return error.mistakes
    throw error
  }
  return []
}

describe('configuration', () => {
  test('an empty configuration gives a gateway for this machine alone', () => {
    const config = loadConfig({ environment: {} })
    expect(config).toMatchObject({
      host: '127.0.0.1',
      port: 8000,
      identity: { mode: 'development' },
      edge: { bodyLimitBytes: 4_194_304 },
    })
    expect(Object.isFrozen(config.edge)).toBe(true)
  })

  test('the environment outranks the file, and the file outranks the defaults', () => {
    const config = loadConfig({
      file: {
        name: 'mcp-gateway.yaml',
        text: 'port: 9000\nedge:\n  bodyLimitBytes: 1000\n  allowedHosts: [a.example]\n',
      },
      environment: {
        MCPGW_PORT: '9001',
        MCPGW_EDGE_ALLOWED_HOSTS: 'b.example, c.example',
        MCPGW_EDGE_ACCESS_LOG: 'false',
        HOME: '/root',
      },
    })
    expect(config).toMatchObject({
      port: 9001,
      edge: { bodyLimitBytes: 1000, allowedHosts: ['b.example', 'c.example'], accessLog: false },
    })
  })

  test('every mistake is reported at once, with the line or the variable that holds it', () => {
    const mistakes = mistakesOf({
      file: {
        name: 'gw.yaml',
        text: 'port: 70000\nedge:\n  bodyLimit: 3\nruntime:\n  images:\n    a: { command: [] }\n',
      },
      environment: { MCPGW_EDGE_DRAIN_SECONDS: 'soon', MCPGW_HSOT: 'x', MCPGW_LOG_LEVEL: 'loud' },
    })
    expect(mistakes.join('\n')).toMatch(/gw\.yaml:1: port/)
    expect(mistakes.join('\n')).toMatch(/gw\.yaml:3: edge\.bodyLimit: is not known/)
    expect(mistakes.join('\n')).toMatch(/gw\.yaml:6: runtime\.images\.a\.command/)
    expect(mistakes.join('\n')).toMatch(/MCPGW_EDGE_DRAIN_SECONDS: 'soon'/)
    expect(mistakes.join('\n')).toMatch(/MCPGW_HSOT: is not known/)
    expect(mistakes.join('\n')).toMatch(/MCPGW_LOG_LEVEL: log\.level/)
  })

  test('the message counts the mistakes and lists each on its own line', () => {
    const environment = { MCPGW_HOST: '0.0.0.0', MCPGW_EDGE_TRUSTED_PROXIES: 'everywhere' }
    expect(() => loadConfig({ environment })).toThrow(
      /^The configuration has 2 mistakes:\n  - host: .*\n  - edge\.trustedProxies\.0: .*$/,
    )
  })

  test('an unknown setting is named with its own line', () => {
    expect(
      mistakesOf({
        file: { name: 'gw.yaml', text: 'port: 1\nhost: localhost\nfoo: 1\n' },
        environment: {},
      }),
    ).toEqual(['gw.yaml:3: foo: is not known'])
  })

  test('a mistake names the setting that was meant, or the values that are allowed', () => {
    const text = 'prot: 1\nedge: { drainSecond: 1 }\nidentity: { mode: dev }\n'

    expect(
      mistakesOf({
        file: { name: 'gw.yaml', text },
        environment: { MCPGW_POTR: '1', MCPGW_X: '1' },
      }),
    ).toEqual([
      "environment variable MCPGW_POTR: is not known. Did you mean 'MCPGW_PORT'?",
      "environment variable MCPGW_X: is not known. 'mcp-gateway config schema' shows every " +
        'setting.',
      "gw.yaml:2: edge.drainSecond: is not known. Did you mean 'drainSeconds'?",
      "gw.yaml:3: identity.mode: must be one of 'development', 'oidc'",
      "gw.yaml:1: prot: is not known. Did you mean 'port'?",
    ])
  })

  test('YAML that cannot be read names its line', () => {
    expect(
      mistakesOf({ file: { name: 'gw.yaml', text: 'port: 1\nhost: [' }, environment: {} })[0],
    ).toMatch(/^gw\.yaml:2/)
  })

  test.each(['0.0.0.0', '::', '192.0.2.1', 'gateway.example'])(
    'development identity refuses to listen on %s',
    (host) => {
      expect(mistakesOf({ environment: { MCPGW_HOST: host } })[0]).toMatch(/development identity/)
    },
  )

  test.each(['https://mcp.example.com', 'http://192.0.2.1:8000', 'http://localhost.example'])(
    'development identity refuses the public address %s',
    (publicOrigin) => {
      expect(mistakesOf({ environment: { MCPGW_PUBLIC_ORIGIN: publicOrigin } })).toEqual([
        expect.stringMatching(/^publicOrigin: development identity does not verify callers/),
      ])
    },
  )

  test.each(['http://localhost:8000', 'http://127.0.0.9', 'http://[::1]:8000', 'http://LOCALHOST'])(
    'development identity accepts the public address %s of this machine',
    (publicOrigin) => {
      expect(loadConfig({ environment: { MCPGW_PUBLIC_ORIGIN: publicOrigin } }).publicOrigin).toBe(
        publicOrigin,
      )
    },
  )

  test('development identity refuses to accept every Host (DNS rebinding needs one)', () => {
    expect(mistakesOf({ environment: { MCPGW_EDGE_ALLOWED_HOSTS: 'a.example,*' } })).toEqual([
      expect.stringMatching(/^edge\.allowedHosts: .*DNS rebinding/),
    ])
    const named = loadConfig({ environment: { MCPGW_EDGE_ALLOWED_HOSTS: 'a.example' } })
    expect(named.edge.allowedHosts).toEqual(['a.example'])
  })

  test('the port for peers differs from that for clients, and a tool gateway has none', () => {
    expect(mistakesOf({ environment: { MCPGW_CLUSTER_PORT: '8000' } })).toEqual([
      'cluster.port: must be another than port',
    ])
    const toolGateway = {
      MCPGW_ROLE: 'tool-gateway',
      MCPGW_CLUSTER_NAME: 'a',
      MCPGW_TOOLS_FOLLOWED: 'http://gateway:8001',
    }
    const key = Buffer.alloc(32).toString('base64')
    expect(
      mistakesOf({
        environment: { ...toolGateway, MCPGW_SESSIONS_KEYS: key, MCPGW_CLUSTER_PORT: '8001' },
      }),
    ).toEqual(['cluster.port: is for gateways; a tool gateway serves nobody but them'])
  })

  test.each(['127.0.0.1', '127.9.9.9', 'localhost', '::1', '[::1]'])(
    '%s is a loopback address',
    (host) => {
      expect(isLoopbackHost(host)).toBe(true)
    },
  )

  test.each(['127.0.0.1.evil.example', 'localhost.evil.example', '1.127.0.0', '0.0.0.0', ''])(
    '%j is no loopback address',
    (host) => {
      expect(isLoopbackHost(host)).toBe(false)
    },
  )

  test.each([
    [{ MCPGW_STORE_URL: 'postgres://gw:s3cret@db.example/mcp' }, /sslmode=verify-full/],
    [
      { MCPGW_STORE_URL: 'postgres://gw:s3cret@localhost/mcp' },
      /secrets\.keys: must have the key that seals secrets in the database/,
    ],
    [
      { MCPGW_STORE_URL: 'postgres://gw:s3cret@localhost/mcp', MCPGW_STORE_PASSWORD_FILE: '/p' },
      /has a password already/,
    ],
    [
      { MCPGW_STORE_URL: 'postgres://:s3cret@localhost/mcp' },
      /MCPGW_STORE_URL: store\.url: must name the user/,
    ],
    [{ MCPGW_STORE_PASSWORD_FILE: '/p' }, /of no use without store\.url/],
    [
      { MCPGW_STORE_URL: 'postgres://gw@localhost/mcp', MCPGW_ROLE: 'tool-gateway' },
      /a tool gateway has no store/,
    ],
  ])('the error about the database omits its password: %j', (environment, mistake) => {
    const mistakes = mistakesOf({ environment }).join('\n')
    expect(mistakes).toMatch(mistake)
    expect(mistakes).not.toContain('s3cret')
  })

  test('a database on this machine or in a named clear network needs no TLS', () => {
    const keys = { MCPGW_SECRETS_KEYS: Buffer.alloc(32).toString('base64') }
    const databases = [
      'localhost/mcp',
      '[::1]/mcp',
      '%2Frun%2Fpostgresql/mcp',
      'db.example/mcp?sslmode=disable',
    ]
    for (const database of databases)
      expect(
        mistakesOf({ environment: { ...keys, MCPGW_STORE_URL: `postgres://gw@${database}` } }),
      ).toEqual([])
  })

  test('a session key of the wrong length is refused', () => {
    expect(mistakesOf({ environment: { MCPGW_SESSIONS_KEYS: 'c2hvcnQ=' } })[0]).toMatch(/32 bytes/)
  })

  test('the error names invalid networks of endpoints, for all and for tools', () => {
    const environment = {
      MCPGW_ENDPOINT_NETWORKS: '10.0.0.0/8,10.0.0.0/33',
      MCPGW_TOOLS_ENDPOINT_NETWORKS: 'here',
    }
    expect(mistakesOf({ environment })).toEqual([
      expect.stringMatching(/^endpointNetworks\.1: .*10\.0\.0\.0\/33/),
      expect.stringMatching(/^tools\.endpointNetworks\.0: .*here/),
    ])
  })

  test('changing peers need a cluster, a name and the key, and exclude a list', () => {
    const environment = {
      MCPGW_CLUSTER_PEERS_SERVICE: 'peers',
      MCPGW_CLUSTER_PEERS: '{"a":"http://a:8000"}',
    }
    expect(mistakesOf({ environment }).join('\n')).toMatch(
      new RegExp(
        String.raw`peersService: is instead of cluster\.peers[\s\S]*kind to kubernetes[\s\S]*` +
          String.raw`sessions\.keys: must have[\s\S]*cluster\.name: must be`,
      ),
    )
    expect(
      mistakesOf({ environment: { MCPGW_TOOLS_GATEWAYS_SERVICE: 'tools' } }).join('\n'),
    ).toMatch(/sessions\.keys: must have[\s\S]*tools\.gatewaysService: is watched on a cluster/)
  })
})

describe('identity', () => {
  const tenant = '11111111-2222-4333-8444-555555555555'
  const client = 'aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee'
  const entra = {
    AzureAd__TenantId: tenant,
    AzureAd__ClientId: client,
    PublicOrigin: 'https://gw.example/',
  }
  const issuers = JSON.stringify([
    { preset: 'keycloak', issuer: 'https://kc.example/realms/r', audiences: ['mcp'] },
  ])
  const tenants = (tenantId: readonly string[]) => ({
    preset: 'entra',
    tenantId,
    audiences: [client],
  })

  test('the original’s variables for Entra ID work unchanged, in any .NET case', () => {
    const issuer = {
      preset: 'entra',
      tenantId: tenant,
      audiences: [client],
      requiredScopes: ['access'],
      instance: 'https://login.microsoftonline.com',
    }
    expect(loadConfig({ environment: entra })).toMatchObject({
      publicOrigin: 'https://gw.example/',
      identity: { mode: 'oidc', issuers: [issuer] },
    })
    const { identity } = loadConfig({
      environment: {
        ...entra,
        AZUREAD__INSTANCE: 'https://login.microsoftonline.us/',
        azuread__audience: 'api://own',
      },
    })
    expect(identity.issuers).toEqual([
      {
        ...issuer,
        instance: 'https://login.microsoftonline.us/',
        audiences: [client, 'api://own'],
        clockSkewSeconds: 30,
      },
    ])
  })

  test('the original’s registry becomes the registry of the cluster’s images', () => {
    const environment = {
      ContainerRegistrySettings__Endpoint: 'acme.azurecr.io',
      MCPGW_RUNTIME_KUBERNETES_POD_RUN_AS_USER: '0',
    }
    const { kind, kubernetes } = loadConfig({ environment }).runtime
    expect([kind, kubernetes.registry, kubernetes.namespace, kubernetes.pod.runAsUser]).toEqual([
      'process',
      'acme.azurecr.io',
      'adapter',
      0,
    ])
  })

  test('every variable of the original’s next major has its setting here', () => {
    const environment = {
      ...entra,
      Mcp__AllowedOrigins__10: 'http://localhost:5173',
      Mcp__AllowedOrigins__0: 'https://Portal.example/',
      mcp__allowedorigins__2: 'https://app.example:8443/chat?x=1',
      Kubernetes__Namespace: 'team-a',
      WorkloadIdentitySettings__RequiredRoles__0: 'mcp.azure',
    }
    expect(loadConfig({ environment })).toMatchObject({
      edge: {
        allowedOrigins: [
          'https://portal.example',
          'https://app.example:8443',
          'http://localhost:5173',
        ],
      },
      runtime: { kind: 'process', kubernetes: { namespace: 'team-a' } },
      access: { workloadIdentityRoles: ['mcp.azure'] },
    })
    expect(
      mistakesOf({ environment: { Kubernetes__Namespace: 'Team A', Mcp__AllowedOrigins__0: '*' } }),
    ).toEqual([
      expect.stringMatching(/^environment variable Mcp__AllowedOrigins: edge\.allowedOrigins\.0: /),
      expect.stringMatching(
        /^environment variable Kubernetes__Namespace: runtime\.kubernetes\.namespace: /,
      ),
    ])
  })

  test('an empty variable of the original sets nothing', () => {
    const environment = { PublicOrigin: '', Mcp__AllowedOrigins__0: '', Kubernetes__Namespace: '' }
    expect(loadConfig({ environment })).toEqual(loadConfig({ environment: {} }))
  })

  test('the gateway reads the original’s appsettings.json', () => {
    const text = JSON.stringify(
      {
        Logging: { LogLevel: { Default: 'Information' } },
        AllowedHosts: '*',
        AzureAd: { Instance: 'https://login.microsoftonline.com/', TenantId: tenant },
        CosmosSettings: { AccountEndpoint: 'https://a.documents.azure.com:443/' },
        ContainerRegistrySettings: { Endpoint: 'acme.azurecr.io' },
        Mcp: { AllowedOrigins: ['https://portal.example/', 'https://app.example'] },
        Kubernetes: { Namespace: 'team-a' },
        PublicOrigin: 'https://gw.example/',
      },
      undefined,
      2,
    )
    const file = { name: 'appsettings.json', text }
    expect(loadConfig({ file, environment: { AzureAd__ClientId: client } })).toMatchObject({
      publicOrigin: 'https://gw.example/',
      edge: { allowedOrigins: ['https://portal.example', 'https://app.example'] },
      identity: { mode: 'oidc', issuers: [{ tenantId: tenant, audiences: [client] }] },
      runtime: { kubernetes: { registry: 'acme.azurecr.io', namespace: 'team-a' } },
    })
    const other = { AzureAd__ClientId: client, KUBERNETES__NAMESPACE: 'team-b' }
    const { namespace } = loadConfig({ file, environment: other }).runtime.kubernetes
    expect(namespace).toBe('team-b')
  })

  test('words of the original in a file yield to the gateway’s, and mistakes have lines', () => {
    const text = 'Kubernetes:\n  Namespace: old\nruntime:\n  kubernetes:\n    namespace: new\n'
    const { runtime } = loadConfig({ file: { name: 'gw.yaml', text }, environment: {} })
    expect(runtime.kubernetes.namespace).toBe('new')

    const wrong = 'port: 1\nMcp:\n  AllowedOrigins:\n    - https://*\nKubernete:\n  Namespace: x\n'
    expect(mistakesOf({ file: { name: 'gw.yaml', text: wrong }, environment: {} })).toEqual([
      expect.stringMatching(/^gw\.yaml:3: edge\.allowedOrigins\.0: must be scheme, host and port/),
      'gw.yaml:5: Kubernete: is not known',
    ])
  })

  test.each(['https://portal.example/', 'https://portal.example/chat', '*', 'portal.example'])(
    'an origin that no page has (%s) is refused',
    (origin) => {
      expect(mistakesOf({ environment: { MCPGW_EDGE_ALLOWED_ORIGINS: origin } })[0]).toMatch(
        /edge\.allowedOrigins\.0: must be scheme, host and port alone/,
      )
    },
  )

  test('the gateway’s own variables outrank the original’s', () => {
    const { publicOrigin, identity } = loadConfig({
      environment: {
        ...entra,
        MCPGW_PUBLIC_ORIGIN: 'https://own.example',
        MCPGW_IDENTITY_ISSUERS: issuers,
      },
    })
    expect([publicOrigin, identity.issuers.map(({ preset }) => preset)]).toEqual([
      'https://own.example',
      ['keycloak'],
    ])
  })

  test.each([{ Authentication__BypassEntra: 'true' }, { ASPNETCORE_ENVIRONMENT: 'Development' }])(
    'the value %j means development identity, on this machine alone (A16)',
    (more) => {
      const environment = { ...entra, ...more, PublicOrigin: undefined }
      expect(loadConfig({ environment }).identity.mode).toBe('development')
      expect(mistakesOf({ environment: { ...environment, MCPGW_HOST: '0.0.0.0' } })[0]).toMatch(
        /development identity/,
      )
      expect(mistakesOf({ environment: { ...entra, ...more } })).toEqual([
        expect.stringMatching(/^publicOrigin: development identity/),
      ])
    },
  )

  test('a mistake in a variable of the original is named by that variable', () => {
    expect(mistakesOf({ environment: { ...entra, AzureAd__TenantId: '<tenant>' } })[0]).toMatch(
      /^environment variable AzureAd__TenantId: identity\.issuers/,
    )
  })

  test('clients off this machine must learn a true address (E2)', () => {
    const environment = {
      MCPGW_IDENTITY_MODE: 'oidc',
      MCPGW_IDENTITY_ISSUERS: issuers,
      MCPGW_HOST: '0.0.0.0',
    }
    expect(mistakesOf({ environment })[0]).toMatch(/^publicOrigin: /)
    expect(
      mistakesOf({ environment: { ...environment, MCPGW_PUBLIC_ORIGIN: 'https://gw.example' } }),
    ).toEqual([])
    const proxied = { ...environment, MCPGW_EDGE_TRUSTED_PROXIES: '10.0.0.0/8' }
    expect(mistakesOf({ environment: proxied })).toEqual([])
    const anyHost = { ...proxied, MCPGW_EDGE_ALLOWED_HOSTS: '*' }
    expect(mistakesOf({ environment: anyHost })[0]).toMatch(
      /^publicOrigin: .*what tokens are meant for/,
    )
    expect(
      mistakesOf({ environment: { ...anyHost, MCPGW_PUBLIC_ORIGIN: 'https://gw.example' } }),
    ).toEqual([])
    expect(
      mistakesOf({
        environment: { ...environment, MCPGW_PUBLIC_ORIGIN: 'https://gw.example/path' },
      })[0],
    ).toMatch(/alone/)
  })

  test.each([
    ['oidc without an issuer', { MCPGW_IDENTITY_MODE: 'oidc' }, /needs at least one issuer/],
    ['issuers that nobody asks', { MCPGW_IDENTITY_ISSUERS: issuers }, /of no use/],
    [
      'anonymous callers where everybody is somebody',
      { MCPGW_IDENTITY_ALLOW_ANONYMOUS: 'true' },
      /of no use/,
    ],
    [
      'keys over plain HTTP',
      { MCPGW_IDENTITY_MODE: 'oidc', MCPGW_IDENTITY_ISSUERS: issuers.replace('https', 'http') },
      /must be https/,
    ],
    [
      'an algorithm with a shared secret',
      { MCPGW_IDENTITY_ISSUERS: issuers.replace('}', ',"algorithms":["HS256"]}') },
      /algorithms/,
    ],
    [
      'an issuer that is there twice',
      {
        MCPGW_IDENTITY_MODE: 'oidc',
        MCPGW_IDENTITY_ISSUERS: issuers.replace(/^\[(.*)\]$/, '[$1,$1]'),
      },
      /issuers\.1: .*already/,
    ],
    [
      'a tenant that is there twice',
      {
        MCPGW_IDENTITY_MODE: 'oidc',
        MCPGW_IDENTITY_ISSUERS: JSON.stringify([tenants([tenant]), tenants([client, tenant])]),
      },
      /issuers\.1: .*already/,
    ],
    [
      'an unknown preset',
      { MCPGW_IDENTITY_ISSUERS: issuers.replace('keycloak', 'other') },
      /preset/,
    ],
    ['a network that is none', { MCPGW_EDGE_TRUSTED_PROXIES: '10.0.0.0/99' }, /trustedProxies/],
  ])('the setting %s is refused', (_name, environment, says) => {
    expect(mistakesOf({ environment }).join('\n')).toMatch(says)
  })
})
