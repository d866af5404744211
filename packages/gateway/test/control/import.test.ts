import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ImportEntry, ImportResult } from '@mcp-gateway/contract'
import { officialServer } from '@mcp-gateway/testkit'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestGateway, type Exchange } from '../fixtures/gateway.ts'
import { modern } from '../fixtures/mcp-requests.ts'

const everything = officialServer('everything')
let gateway: TestGateway
beforeAll(async () => {
  gateway = await TestGateway.open()
})
afterAll(() => gateway[Symbol.asyncDispose]())

const unique = (): string => `i${randomUUID().slice(0, 8)}`

function post(body: object | string | Buffer, query = '', headers = {}): Promise<Exchange> {
  const isText = typeof body === 'string' || Buffer.isBuffer(body)
  return gateway.send(`/import${query}`, {
    headers: { 'content-type': isText ? 'text/plain' : 'application/json', ...headers },
    body: isText ? body : JSON.stringify(body),
  })
}

async function run(body: object | string, query = '', headers = {}): Promise<ImportResult> {
  const { body: bytes, status } = await post(body, query, headers)
  expect(status, bytes.toString()).toBe(200)
  return JSON.parse(bytes.toString()) as ImportResult
}

/** Rehearses the import of one entry. */
async function rehearse(fields: object, more: object = {}): Promise<ImportEntry> {
  const { entries } = await run({ file: { mcpServers: { [unique()]: fields } }, ...more })
  expect(entries).toHaveLength(1)
  return entries[0] as ImportEntry
}

async function refusal(body: object | string): Promise<{ status: number; codes: unknown[] }> {
  const { body: bytes, status } = await post(body)
  const { code, errors = [] } = JSON.parse(bytes.toString()) as {
    code: string
    errors?: { code: string }[]
  }
  return { status, codes: [code, ...errors.map((each) => each.code)] }
}

const exists = async (name: string): Promise<boolean> =>
  (await gateway.send(`/adapters/${name}`, { method: 'GET' })).status === 200

describe('An import', () => {
  test('turns a claude_desktop_config.json into an adapter whose tools can be called', async () => {
    const name = unique()
    const entry = { command: process.execPath, args: [everything, 'stdio'] }
    const file = JSON.stringify({ mcpServers: { [name]: entry } }, null, 2)

    const rehearsed = await run(file)
    expect(rehearsed).toMatchObject({ dryRun: true, complete: true })
    expect(rehearsed.entries).toMatchObject([{ entry: name, name, outcome: 'wouldCreate' }])
    expect(await exists(name)).toBe(false)

    expect((await run(file, '?dryRun=false')).entries).toMatchObject([{ outcome: 'created' }])
    await gateway.untilReady(name, 1)
    const { message } = await modern(
      gateway,
      'tools/call',
      { name: 'echo', arguments: { message: 'imported' } },
      { path: `/adapters/${name}/mcp` },
    )
    expect(JSON.stringify(message)).toContain('imported')

    expect((await run(file, '?dryRun=false')).entries).toMatchObject([{ outcome: 'exists' }])
  }, 60_000)

  test('asks for inputs and env files of VS Code, and registers with the answers', async () => {
    const name = unique()
    const file = `{
      // as VS Code writes it
      "inputs": [
        { "type": "promptString", "id": "key", "description": "The key", "password": true, },
      ],
      "servers": {
        "${name}": {
          "type": "stdio",
          "command": "npx",
          "args": ["-y", "a-server", "--region", "\${input:region}"],
          "env": { "LICENSE": "\${input:key}", "USER_ID": "\${env:ACCOUNT}" },
          "envFile": "\${workspaceFolder}/.env", /* not read */
        },
      },
    }`
    const { complete, entries } = await run({ file })
    expect(complete).toBe(false)
    expect(entries[0]?.outcome).toBe('needs')
    expect(entries[0]?.needs?.map(({ id, of, secret }) => [id, of, secret]).toSorted()).toEqual([
      ['${workspaceFolder}/.env', 'envFiles', true],
      ['env:ACCOUNT', 'inputs', false],
      ['input:key', 'inputs', true],
      ['input:region', 'inputs', false],
    ])

    const answers = {
      inputs: { 'input:key': 'k', 'input:region': "it's here", 'env:ACCOUNT': '7' },
      envFiles: { '${workspaceFolder}/.env': '# mine\nexport A="one two"\nLICENSE=old\nB=3 # c' },
    }
    expect((await run({ file, ...answers }, '?dryRun=false')).entries).toMatchObject([
      {
        outcome: 'created',
        adapter: {
          imageName: 'mcp-proxy',
          environmentVariables: {
            MCP_COMMAND: 'npx',
            MCP_ARGS: `'-y' 'a-server' '--region' 'it'\\''s here'`,
            LICENSE: '********',
            USER_ID: '7',
            A: '********',
            B: '********',
          },
        },
      },
    ])
  })

  test('gives the answer nothing of a secret', async () => {
    const secret = 'ghp_0123456789abcdef0123456789abcdef0123'
    const file = {
      mcpServers: {
        [unique()]: {
          command: 'npx',
          args: ['a', '--token', secret],
          env: { GITHUB_TOKEN: secret },
        },
        [unique()]: { url: 'https://example.com/mcp', headers: { Authorization: secret } },
        [unique()]: { url: `https://example.com/mcp?api_key=${secret}` },
        [unique()]: { type: 'sse', url: 'https://example.com/sse', headers: { 'X-Key': secret } },
      },
    }
    const { body } = await post({ file })
    expect(body.toString()).not.toContain(secret)
    const { entries } = JSON.parse(body.toString()) as ImportResult
    expect(entries.map(({ outcome }) => outcome)).toEqual(Array(4).fill('wouldCreate'))
    expect(entries[2]?.adapter).toMatchObject({ imageName: 'mcp-proxy' })
  })

  test('makes an endpoint of a URL, with its headers as credential', async () => {
    const { adapter, warnings } = await rehearse({
      type: 'http',
      url: 'https://example.com/mcp',
      headers: { Authorization: 'Bearer abc', 'X-Tenant-Key': 'b' },
      autoApprove: ['*'],
      disabledTools: ['delete'],
    })
    expect(adapter).toMatchObject({
      endpoint: 'https://example.com/mcp',
      callerIdentity: 'none',
      credential: [{ header: 'Authorization' }, { header: 'X-Tenant-Key' }],
      toolRules: [
        { effect: 'deny', tools: ['delete'] },
        { effect: 'allow', tools: '*' },
      ],
    })
    expect(warnings).toMatchObject([{ code: 'not_imported' }])
  })

  test.each([
    ['a relative command', { command: './server' }, 'relative_path'],
    ['a relative argument', { command: 'node', args: ['../x.js'] }, 'relative_path'],
    [
      'a home in an argument',
      { command: 'node', args: ['--root=~/x'], cwd: '/srv' },
      'relative_path',
    ],
    ['a relative folder', { command: 'node', cwd: 'here' }, 'relative_path'],
    ['a command and a URL', { command: 'a', url: 'https://example.com' }, 'ambiguous'],
    ['nothing to run', {}, 'ambiguous'],
    ['arguments that are no list', { command: 'a', args: 'b' }, 'invalid_type'],
    ['a command that is no text', { command: [['a']] }, 'invalid_type'],
    ['a variable of the bridge', { command: 'a', env: { MCP_PROXY_URL: 'b' } }, 'ambiguous'],
    ['a variable that is no text', { command: 'a', env: { A: {} } }, 'invalid_type'],
    ['another transport', { type: 'ws', url: 'https://example.com' }, 'invalid_value'],
    ['a file as URL', { url: 'file:///etc/passwd' }, 'invalid_format'],
    ['a metadata address', { url: 'http://169.254.169.254/' }, 'endpoint_forbidden'],
    ['an entry that is no object', [] as object, 'invalid_type'],
  ])('refuses %s, and says why', async (_what, fields, code) => {
    const { outcome, problem } = await rehearse(fields)
    expect(outcome).toBe('refused')
    expect(problem?.code).toBe('validation_failed')
    expect(problem?.errors?.map((each) => each.code)).toContain(code)
  })

  test('an argument may be relative to a folder that the entry names', async () => {
    const { outcome } = await rehearse({ command: 'node', args: ['./x.js'], cwd: '/srv' })
    expect(outcome).toBe('wouldCreate')
  })

  test('asks for a value where a secret has only a stand-in, and takes a reference', async () => {
    const name = unique()
    const file = { mcpServers: { [name]: { command: 'a', env: { API_KEY: '<your key>' } } } }
    const { entries } = await run({ file })
    expect(entries[0]?.needs).toEqual([{ id: `${name}.env.API_KEY`, of: 'inputs', secret: true }])

    const inputs = { [`${name}.env.API_KEY`]: { secretRef: { name: 'not-there' } } }
    const answered = await run({ file, inputs })
    expect(answered.entries[0]?.problem?.errors).toMatchObject([{ code: 'secret_not_found' }])
  })

  test('asks for names where two entries would get the same, or none can be made', async () => {
    const name = unique()
    const entry = { command: 'a' }
    const file = { mcpServers: { [name]: entry, [name.toUpperCase()]: entry, 日本: entry } }
    const { entries } = await run({ file })
    expect(entries.map(({ outcome }) => outcome)).toEqual(['needs', 'needs', 'needs'])

    const names = { [name.toUpperCase()]: unique(), 日本: unique() }
    const named = await run({ file, names })
    expect(named.entries.map(({ outcome }) => outcome)).toEqual(Array(3).fill('wouldCreate'))
  })

  test('takes prototype keys for names like any other', async () => {
    const entry = '{ "command": "a", "env": { "constructor": "b" } }'
    const asking = '{ "command": "${toString}" }'
    const file = `{"mcpServers": {"__proto__": ${entry}, "constructor": ${asking}}}`
    const { entries } = await run(file)
    expect(entries).toMatchObject([
      { entry: '__proto__', name: 'proto', outcome: 'wouldCreate' },
      { entry: 'constructor', outcome: 'needs', needs: [{ id: 'toString' }] },
    ])
    expect({}).not.toHaveProperty('command')
  })

  test('registers the entries without a fault, and says of each other one why not', async () => {
    const [good, bad] = [unique(), unique()]
    const file = {
      mcpServers: { [bad]: { command: './a' }, [good]: { command: 'a', disabled: true } },
    }
    const { complete, entries } = await run({ file }, '?dryRun=false')
    expect(complete).toBe(false)
    expect(entries.map(({ outcome }) => outcome)).toEqual(['refused', 'created'])
    expect([await exists(bad), await exists(good)]).toEqual([false, true])

    const { entries: one } = await run({ file, only: [good] })
    expect(one).toMatchObject([{ entry: good, outcome: 'exists' }])
    expect(await refusal({ file, only: ['nothing'] })).toMatchObject({ status: 400 })
  })

  test('records each adapter in the audit log, as POST /adapters does', async () => {
    const name = unique()
    await run({ file: { mcpServers: { [name]: { command: 'a' } } } }, '?dryRun=false', {
      'x-dev-userid': 'ann',
    })
    const records = (): readonly string[] =>
      readFileSync(join(gateway.dataDir, 'audit.log'), 'utf8').split('\n')
    await expect
      .poll(() =>
        records()
          .filter((line) => line.includes(`"${name}"`))
          .join(),
      )
      .toMatch(/"adapter\.create".*"ann"/)
  })
})

describe('A body that cannot be imported', () => {
  test.each([
    ['of ten megabytes', 'x'.repeat(10 * 1024 * 1024), 413, 'body_too_large'],
    ['of brackets without end', '['.repeat(500_000), 400, 'invalid_json'],
    ['of deep lists', `{"mcpServers":${'['.repeat(1000)}${']'.repeat(1000)}}`, 400, 'too_deep'],
    ['with a key that stands twice', '{"mcpServers":{"a":{},"a":{}}}', 400, 'duplicate_key'],
    ['of another kind', '{"name":"a"}', 400, 'invalid_type'],
    ['of two kinds', '{"mcpServers":{},"servers":{}}', 400, 'ambiguous'],
    ['that is a list', '[]', 400, 'invalid_type'],
    ['that is a script', 'rm -rf /', 400, 'invalid_json'],
  ])('a body %s is refused', async (_what, body, status, code) => {
    const told = await refusal(body)
    expect(told.status).toBe(status)
    expect(told.codes).toContain(code)
  })

  test('bytes that are no UTF-8 are refused', async () => {
    expect((await post(Buffer.from([0x7b, 0xff, 0x7d]))).status).toBe(400)
  })

  test('a file names at most 200 servers', async () => {
    const servers = Array.from({ length: 201 }, (_, index) => [`s${index}`, { command: 'a' }])
    const told = await refusal({ file: { mcpServers: Object.fromEntries(servers) } })
    expect(told.codes).toContain('too_big')
  })
})

describe('The import of a server.json', () => {
  const name = 'io.github.example/weather-json'
  const npm = {
    registryType: 'npm',
    identifier: '@example/weather',
    version: '1.2.3',
    transport: { type: 'stdio' },
  }
  const of = async (document: object, more: object = {}): Promise<ImportEntry> => {
    const file = { name, description: 'Weather', version: '1.0.0', ...document }
    return (await run({ file, ...more })).entries[0] as ImportEntry
  }
  const argsOf = ({ adapter }: ImportEntry): unknown => adapter?.environmentVariables['MCP_ARGS']

  test('runs an npm package of an exact version with its arguments and variables', async () => {
    const more = {
      packageArguments: [
        { type: 'positional', value: 'serve' },
        { type: 'named', name: '--units', default: 'metric' },
        { type: 'named', name: '--area', isRequired: true },
        { type: 'named', name: '--verbose' },
        { type: 'named', name: '--proxy', description: 'optional', format: 'string' },
      ],
      environmentVariables: [
        { name: 'WEATHER_API_KEY', isRequired: true, isSecret: true, description: 'The key' },
      ],
    }
    const asked = await of({ packages: [{ ...npm, ...more }] })
    expect(asked.needs).toMatchObject([
      { id: 'env:WEATHER_API_KEY', secret: true, description: 'The key' },
      { id: 'arg:area', secret: false },
    ])

    const inputs = { 'env:WEATHER_API_KEY': 'k', 'arg:area': 'EU' }
    const answered = await of({ packages: [{ ...npm, ...more }] }, { inputs })
    expect(answered).toMatchObject({ name: 'weather-json', outcome: 'wouldCreate' })
    expect(answered.adapter?.environmentVariables).toMatchObject({
      MCP_COMMAND: 'npx',
      WEATHER_API_KEY: '********',
    })
    expect(argsOf(answered)).toBe(
      "'-y' '@example/weather@1.2.3' 'serve' '--units' 'metric' '--area' 'EU' '--verbose'",
    )
  })

  test.each([
    ['pypi', { identifier: 'mcp-weather' }, "'mcp-weather@1.2.3'"],
    ['nuget', { identifier: 'Weather.Mcp' }, "'Weather.Mcp@1.2.3' '--yes'"],
    [
      'oci',
      {
        identifier: 'ghcr.io/example/weather',
        environmentVariables: [{ name: 'A', value: '1' }],
      },
      "'run' '-i' '--rm' '-e' 'A' 'ghcr.io/example/weather:1.2.3'",
    ],
  ])('runs a package of %s', async (registryType, more, args) => {
    expect(argsOf(await of({ packages: [{ ...npm, registryType, ...more }] }))).toBe(args)
  })

  test.each([
    ['an unknown registry', { registryType: 'mcpb' }, 'unsupported_package'],
    ['a prototype key as registry', { registryType: 'constructor' }, 'unsupported_package'],
    ['another npm registry', { registryBaseUrl: 'https://evil.example' }, 'unsupported_package'],
    ['another runtime', { runtimeHint: 'sh' }, 'unsupported_package'],
    ['a package that listens itself', { transport: { type: 'sse' } }, 'unsupported_package'],
    ['an option as package', { identifier: '--registry=https://evil' }, 'invalid_format'],
    ['a repository as package', { identifier: 'git+https://evil.example/x' }, 'invalid_format'],
    ['a range of versions', { version: '^1.2.3' }, 'invalid_format'],
    ['the newest version', { version: 'latest' }, 'invalid_format'],
  ])('refuses %s', async (_what, more, code) => {
    const { problem } = await of({ packages: [{ ...npm, ...more }] })
    expect(problem?.errors?.map((each) => each.code)).toContain(code)
  })

  test('asks which of several packages and remotes to take', async () => {
    const document = {
      packages: [npm],
      remotes: [
        {
          type: 'streamable-http',
          url: 'https://{tenant}.example.com/mcp',
          variables: { tenant: { description: 'Yours' } },
          headers: [{ name: 'X-Key', isRequired: true, isSecret: true }],
        },
      ],
    }
    const { needs } = await of(document)
    expect(needs).toMatchObject([
      { id: 'use', choices: [expect.any(String), 'npm @example/weather'] },
    ])

    const use = needs?.[0]?.choices?.[0] ?? ''
    const asked = await of(document, { inputs: { use } })
    expect(asked.needs?.map(({ id }) => id)).toEqual(['var:tenant', 'header:X-Key'])
    const inputs = { use, 'var:tenant': 'acme', 'header:X-Key': 'k' }
    expect((await of(document, { inputs })).adapter).toMatchObject({
      endpoint: 'https://acme.example.com/mcp',
      description: 'Weather',
      credential: { header: 'X-Key' },
    })
  })

  test('takes the answer of a registry, this one included', async () => {
    const server = unique()
    await gateway.send(`/servers/${server}`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: '{}',
    })
    const path = `/v0.1/servers/127.0.0.1%2Fservers.${server}/versions/latest`
    const { body } = await gateway.send(path, { method: 'GET' })
    const { entries } = await run(body.toString())
    expect(entries).toMatchObject([{ name: `servers-${server}`, outcome: 'wouldCreate' }])
  })
})
