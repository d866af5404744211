import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { programs, selfSigned } from '@mcp-gateway/testkit'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Azure, client, tenant } from './fixtures/azure.ts'

const closing: (() => unknown)[] = []
let folder = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'mcp-key-vault-'))
  closing.push(() => rmSync(folder, { recursive: true, force: true }))
  writeFileSync(join(folder, 'ca.pem'), selfSigned.cert)
})
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close()
})

async function cloud(conditions: Parameters<typeof Azure.open>[0] = {}): Promise<Azure> {
  const azure = await Azure.open(conditions)
  closing.push(() => azure[Symbol.asyncDispose]())
  return azure
}

/** A remote MCP server that notes the headers of each request, and refuses as told. */
async function remote(): Promise<{
  readonly url: string
  readonly headers: IncomingHttpHeaders[]
  refuses: string
}> {
  const found = { url: '', headers: [] as IncomingHttpHeaders[], refuses: 'nothing' }
  const server = createServer((request, response) => {
    found.headers.push(request.headers)
    request.resume()
    const { authorization = '' } = request.headers
    if (authorization === found.refuses) return void response.writeHead(401).end()
    response
      .writeHead(200, { 'content-type': 'application/json' })
      .end('{"jsonrpc":"2.0","id":1,"result":{}}')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closing.push(() => {
    server.closeAllConnections()
    server.close()
  })
  found.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`
  return found
}

interface Program {
  readonly child: ChildProcess
  readonly out: () => string
  readonly err: () => string
  readonly ended: Promise<number | null>
}

/** The built bridge, which reads the secret `headers` of a vault of `azure`. */
function run(azure: Azure, to: string, environment: Record<string, string> = {}): Program {
  writeFileSync(join(folder, 'federated'), `${azure.conditions.federatedToken}\n`)
  const child = spawn(process.execPath, [programs.bridge], {
    env: {
      PATH: process.env['PATH'],
      PORT: '0',
      NODE_EXTRA_CA_CERTS: join(folder, 'ca.pem'),
      MCP_LOG_LEVEL: 'trace',
      MCP_PROXY_URL: to,
      MCP_PROXY_HEADERS_SECRET_URL: `${azure.origin}/secrets/headers`,
      MCP_AZURE_HOSTS: 'localhost',
      ...environment,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let out = ''
  let err = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text))
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
  closing.push(() => child.kill('SIGKILL') && ended)
  return { child, out: () => out, err: () => err, ended }
}

async function start(
  azure: Azure,
  to: string,
  environment: Record<string, string> = {},
): Promise<Program & { readonly url: string }> {
  const program = run(azure, to, environment)
  await expect
    .poll(() => program.out() + (program.child.exitCode ?? ''), { timeout: 30_000 })
    .toMatch(/listens on|\d/)
  const url = /listens on (\S+)/.exec(program.out())?.[1]
  if (url === undefined) throw new Error(`The bridge did not start: ${program.err()}`)
  return { ...program, url }
}

const workload = (azure: Azure): Record<string, string> => ({
  AZURE_CLIENT_ID: client,
  AZURE_TENANT_ID: tenant,
  AZURE_FEDERATED_TOKEN_FILE: join(folder, 'federated'),
  AZURE_AUTHORITY_HOST: `${azure.origin}/`,
})
const machine = (azure: Azure): Record<string, string> => ({
  AZURE_POD_IDENTITY_AUTHORITY_HOST: azure.machine,
})
const headersOf = (headers: object): { headers: { value: string } } => ({
  headers: { value: JSON.stringify(headers) },
})

async function call(url: string, headers: Record<string, string> = {}) {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: '{"jsonrpc":"2.0","id":1,"method":"ping"}',
  })
  const text = await response.text()
  const { error } = JSON.parse(text) as { error?: { data?: { code?: string } } }
  return { status: response.status, text, code: error?.data?.code }
}

describe('The headers of a Key Vault secret', () => {
  const identities = {
    'workload identity': (azure: Azure) => ({
      environment: workload(azure),
      asked: ['GET vault', 'POST token', 'GET vault'],
    }),
    'the identity of an App Service': (azure: Azure) => ({
      environment: {
        IDENTITY_ENDPOINT: `${azure.machine}/msi/token`,
        IDENTITY_HEADER: 'from-the-platform',
      },
      asked: ['GET vault', 'GET platform', 'GET vault'],
    }),
    'the identity of a machine': (azure: Azure) => ({
      environment: machine(azure),
      asked: ['GET vault', 'GET metadata', 'GET vault'],
    }),
    'one of several identities of a machine': (azure: Azure) => ({
      environment: { ...machine(azure), AZURE_CLIENT_ID: client },
      asked: ['GET vault', 'GET metadata', 'GET vault'],
    }),
  }

  test.each(Object.entries(identities))(
    'the headers reach the remote server, read by %s',
    async (_name, identity) => {
      const azure = await cloud({
        secrets: headersOf({ Authorization: 'Bearer s3cret', 'X-Tenant': 'tenant 1' }),
      })
      const { environment, asked } = identity(azure)
      const server = await remote()
      const bridge = await start(azure, server.url, {
        ...environment,
        MCP_PROXY_HEADERS: 'X-Own: own\nx-tenant: outranked',
      })
      expect((await call(bridge.url, { authorization: 'Bearer of-the-client' })).status).toBe(200)
      expect(server.headers[0]).toMatchObject({
        authorization: 'Bearer s3cret',
        'x-tenant': 'tenant 1',
        'x-own': 'own',
      })
      expect(azure.seen).toEqual(asked)
      expect(bridge.err()).not.toContain('s3cret')
    },
  )

  test('the headers reach a server that speaks HTTP+SSE', async () => {
    const azure = await cloud({ secrets: headersOf({ 'X-Key': 'k' }) })
    const server = await remote()
    const bridge = await start(azure, server.url, {
      ...machine(azure),
      MCP_PROXY_TRANSPORT: 'sse',
    })
    await call(bridge.url)
    await expect.poll(() => server.headers[0]).toMatchObject({ 'x-key': 'k' })
  })

  test('the bridge reads the version in the address, also while metadata updates', async () => {
    const azure = await cloud({ secrets: headersOf({ 'X-Key': 'k' }), updating: 1 })
    const server = await remote()
    const bridge = await start(azure, server.url, {
      ...machine(azure),
      MCP_PROXY_HEADERS_SECRET_URL: `${azure.origin}/secrets/headers/${'a'.repeat(32)}`,
    })
    expect((await call(bridge.url)).status).toBe(200)
    expect(server.headers[0]).toMatchObject({ 'x-key': 'k' })
  })

  test('the headers change with the secret, and the token is requested once', async () => {
    const azure = await cloud({ secrets: headersOf({ Authorization: 'Bearer old' }) })
    const server = await remote()
    const bridge = await start(azure, server.url, {
      ...workload(azure),
      MCP_PROXY_HEADERS_REFRESH_SECONDS: '1',
    })
    azure.conditions.secrets = headersOf({ Authorization: 'Bearer new' })
    await expect
      .poll(async () => (await call(bridge.url), server.headers.at(-1)?.authorization), {
        timeout: 10_000,
      })
      .toBe('Bearer new')
    expect(azure.seen.filter((each) => each === 'POST token')).toHaveLength(1)

    azure.revoke()
    azure.conditions.secrets = headersOf({ Authorization: 'Bearer newest' })
    await expect
      .poll(async () => (await call(bridge.url), server.headers.at(-1)?.authorization), {
        timeout: 10_000,
      })
      .toBe('Bearer newest')
  })

  test('the headers are read again when the remote server refuses them, or in time', async () => {
    const azure = await cloud({ secrets: headersOf({ Authorization: 'Bearer old' }) })
    const server = await remote()
    const bridge = await start(azure, server.url, machine(azure))
    server.refuses = 'Bearer old'
    azure.conditions.secrets = headersOf({ Authorization: 'Bearer new' })
    expect((await call(bridge.url)).status).toBe(502)
    await expect.poll(async () => (await call(bridge.url)).status, { timeout: 10_000 }).toBe(200)

    const exp = Math.round(Date.now() / 1000) + 2
    const value = '{"Authorization":"Bearer short"}'
    azure.conditions.secrets = { headers: { value, exp } }
    const other = await start(azure, server.url, machine(azure))
    azure.conditions.secrets = headersOf({ Authorization: 'Bearer next' })
    // A secret that has expired when it is read, as on a slow machine, is read again after 30 s.
    await expect
      .poll(async () => (await call(other.url), server.headers.at(-1)?.authorization), {
        timeout: 45_000,
      })
      .toBe('Bearer next')
  })

  test('the headers stay while Key Vault is away, and go when it takes them back', async () => {
    const azure = await cloud({ secrets: headersOf({ Authorization: 'Bearer good' }) })
    const server = await remote()
    const bridge = await start(azure, server.url, {
      ...machine(azure),
      MCP_PROXY_HEADERS_REFRESH_SECONDS: '1',
    })
    const logged = (code: string): boolean => bridge.err().includes(`"code":"${code}","kept":true`)
    azure.conditions.vault = 'away'
    await expect.poll(() => logged('vault_unreachable'), { timeout: 15_000 }).toBe(true)
    expect((await call(bridge.url)).status).toBe(200)

    azure.conditions.vault = 'there'
    azure.conditions.secrets = { headers: { value: '{"Authorization":"Bearer s3cret\\n"' } }
    await expect.poll(() => logged('secret_malformed'), { timeout: 15_000 }).toBe(true)
    expect((await call(bridge.url)).status).toBe(200)
    expect(server.headers.at(-1)).toMatchObject({ authorization: 'Bearer good' })

    azure.conditions.secrets = { headers: { value: '{}', enabled: false } }
    await expect
      .poll(async () => await call(bridge.url), { timeout: 15_000 })
      .toMatchObject({ status: 502, code: 'vault_forbidden' })
    await expect.poll(() => bridge.err()).toContain('SecretDisabled')
    expect((await call(bridge.url)).text).not.toMatch(/localhost|s3cret|SecretDisabled/)

    azure.conditions.secrets = headersOf({ Authorization: 'Bearer again' })
    await expect.poll(async () => (await call(bridge.url)).status, { timeout: 15_000 }).toBe(200)
    expect(bridge.err()).not.toContain('s3cret')
  })
})

describe('A bridge that cannot read its Key Vault secret at the start', () => {
  const cases: readonly (readonly [
    string,
    NonNullable<Parameters<typeof Azure.open>[0]>,
    RegExp,
    string[],
  ])[] = [
    ['is not there', { secrets: {} }, /\(secret_not_found\)/, []],
    ['is forbidden', { vault: 'forbids' }, /Key Vault Secrets User.*\(vault_forbidden\)/, []],
    [
      'is disabled',
      { secrets: { headers: { value: '{}', enabled: false } } },
      /SecretDisabled/,
      [],
    ],
    ['is no JSON', { secrets: { headers: { value: 'hunter2' } } }, /\(secret_malformed\)/, []],
    [
      'holds a name twice',
      { secrets: { headers: { value: '{"A":"hunter2","A":"x"}' } } },
      /each name once\. \(secret_malformed\)/,
      [],
    ],
    [
      'holds a name in two cases',
      { secrets: { headers: { value: '{"Api-Key":"hunter2","api-key":"x"}' } } },
      /api-key stands there twice/,
      [],
    ],
    [
      'holds a header of the connection',
      { secrets: headersOf({ Host: 'hunter2' }) },
      /Host is set by the bridge/,
      [],
    ],
    [
      'holds a value with a line break',
      { secrets: headersOf({ 'X-Key': 'hunter2\nX-Other: x' }) },
      /the value of X-Key is not a header value/,
      [],
    ],
    [
      'names a file',
      { secrets: headersOf({ 'X-Key': { file: '/etc/passwd' } }) },
      /the value of X-Key is not a header value/,
      [],
    ],
    [
      'lies in a vault that wants a token for something else',
      { resource: 'https://management.azure.com' },
      /\(vault_untrusted\)/,
      ['GET metadata'],
    ],
    ['lies in a vault that redirects', { vault: 'redirects' }, /\(vault_untrusted\)/, []],
    [
      'lies in a vault that takes no token',
      { vault: 'refuses tokens' },
      /\(identity_refused\)/,
      [],
    ],
    ['lies in a vault that is away', { vault: 'away' }, /\(vault_unreachable\)/, []],
  ]
  test.each(cases)(
    'the bridge ends, and says why without the value, when the secret %s',
    async (_what, conditions, says, never) => {
      const azure = await cloud({ secrets: headersOf({}), ...conditions })
      const program = run(azure, (await remote()).url, machine(azure))
      expect(await program.ended).toBe(1)
      expect(program.err()).toMatch(/MCP_PROXY_HEADERS_SECRET_URL: /)
      expect(program.err()).toMatch(says)
      expect(program.err()).not.toContain('hunter2')
      expect(azure.seen.filter((each) => never.includes(each))).toEqual([])
    },
  )

  test.each([
    ['another federated token', { federatedToken: 'other' }, /invalid_client, AADSTS700213/],
    ['no file of a token', {}, /AZURE_FEDERATED_TOKEN_FILE cannot be read \(ENOENT\)/],
    ['no metadata service', {}, /metadata service .* cannot be reached \(ECONNREFUSED\)/],
  ])('the bridge ends, and says why, when there is %s', async (what, conditions, says) => {
    const azure = await cloud({ secrets: headersOf({}) })
    const environment =
      what === 'no metadata service'
        ? { AZURE_POD_IDENTITY_AUTHORITY_HOST: 'http://127.0.0.1:1' }
        : workload(azure)
    if (what === 'no file of a token')
      environment['AZURE_FEDERATED_TOKEN_FILE'] = join(folder, 'none')
    const program = run(azure, (await remote()).url, environment)
    Object.assign(azure.conditions, conditions)
    expect(await program.ended).toBe(1)
    expect(program.err()).toMatch(says)
    expect(program.err()).not.toContain('federated identity record')
  })
})
