import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { TestGateway } from '../fixtures/gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await TestGateway.open()
})
afterAll(() => gateway[Symbol.asyncDispose]())

const mask = '********'
const address = 'http://127.0.0.1:9/mcp'

async function call(method: string, path: string, body?: object, where = gateway) {
  const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json'
  const answer = await where.send(path, {
    method,
    ...(body === undefined
      ? {}
      : { headers: { 'content-type': type }, body: JSON.stringify(body) }),
  })
  return {
    status: answer.status,
    body: JSON.parse(answer.body.toString()) as Record<string, unknown>,
  }
}

let names = 0
async function stored(kind: string, more: object): Promise<Record<string, unknown>> {
  const name = `kept-${(names += 1)}`
  const tool = {
    toolDefinition: { tool: { name: `${name}_tool`, inputSchema: { type: 'object' } } },
  }
  const body = {
    name,
    replicaCount: 0,
    imageName: 'mcp-proxy',
    imageVersion: '1',
    ...(kind === 'tools' ? tool : {}),
    ...more,
  }
  const { status, body: shown } = await call('POST', `/${kind}`, body)
  if (status !== 201) throw new Error(`It was not stored: ${JSON.stringify(shown)}`)
  return { ...body, environmentVariables: shown['environmentVariables'] }
}

const environmentVariables = {
  API_TOKEN: 'hush-token',
  MARKED: { value: 'hush-marked', secret: true },
  MCP_COMMAND: 'npx',
  MCP_ARGS: '@acme/server',
  LOG_LEVEL: 'info',
  UPSTREAM: 'https://api.acme.example',
}
const credential = { header: 'X-Key', value: 'hush-credential' }
const pointers = [
  '/environmentVariables/API_TOKEN',
  '/environmentVariables/MARKED',
  '/credential/value',
]
const mistakes = (detail: string): object => ({
  status: 400,
  body: {
    code: 'validation_failed',
    errors: pointers.map((pointer) => ({
      pointer,
      code: 'masked_value',
      detail: expect.stringMatching(
        `does not give it to ${detail}.*: give the value again`,
      ) as string,
    })),
  },
})

const withoutNull = (table: object): object =>
  Object.fromEntries(Object.entries(table).filter(([, value]) => value !== null))

describe.each(['adapters', 'tools'])('a stored secret of one of /%s', (kind) => {
  const toEndpoint = { imageName: null, imageVersion: null, endpoint: address }
  const elsewhere: readonly (readonly [string, object, string])[] = [
    ['another image', { imageName: 'scripted' }, "another image than 'mcp-proxy'"],
    ['an endpoint', toEndpoint, 'another address'],
    ['another command', { environmentVariables: { MCP_COMMAND: 'sh' } }, '.*MCP_COMMAND'],
    ['other arguments', { environmentVariables: { MCP_ARGS: '-c env' } }, '.*MCP_ARGS'],
    ['no arguments', { environmentVariables: { MCP_ARGS: null } }, '.*MCP_ARGS'],
    ['a loader', { environmentVariables: { LD_PRELOAD: '/tmp/x.so' } }, '.*LD_PRELOAD'],
    ['another address to call', { environmentVariables: { UPSTREAM: 'evil' } }, '.*UPSTREAM'],
    ['an address', { environmentVariables: { REPORT: 'https://evil.example' } }, '.*REPORT'],
    ['a host', { environmentVariables: { API_HOST: 'evil.example' } }, '.*API_HOST'],
    [
      'a reference',
      { environmentVariables: { TARGET: { secretRef: { name: 'mine' } } } },
      '.*TARGET',
    ],
  ]
  beforeAll(async () => {
    await call('POST', '/secrets', { name: 'mine', value: 'https://evil.example' })
  })

  test.each(elsewhere)(
    'a mask does not keep a secret when %s would get it',
    async (_, change, detail) => {
      const body = await stored(kind, { environmentVariables, credential })
      const path = `/${kind}/${String(body['name'])}`
      const { environmentVariables: given = {} } = change as { environmentVariables?: object }
      const put = withoutNull({
        ...body,
        credential: { header: 'X-Key', value: mask },
        ...change,
        environmentVariables: withoutNull({
          ...(body['environmentVariables'] as object),
          ...given,
        }),
      })

      expect(await call('PATCH', path, change)).toMatchObject(mistakes(detail))
      expect(await call('PUT', path, put)).toMatchObject(mistakes(detail))

      const again = {
        environmentVariables: { API_TOKEN: 'again', MARKED: 'again', ...given },
        credential: { value: 'again' },
      }
      expect(await call('PATCH', path, { ...change, ...again })).toMatchObject({ status: 200 })
    },
  )

  test('a mask keeps a secret for another version or setting of the same program', async () => {
    const body = await stored(kind, { environmentVariables, credential })
    const path = `/${kind}/${String(body['name'])}`
    const changes = [
      { imageVersion: '2' },
      { description: 'x', requiredRoles: ['team'] },
      { environmentVariables: { LOG_LEVEL: 'debug', RETRIES: '3' } },
      { environmentVariables: { OTHER_TOKEN: { secretRef: { name: 'mine' } } } },
      { environmentVariables: { API_TOKEN: 'new' } },
      { environmentVariables: { MCP_ARGS: '@acme/server' } },
    ]

    for (const change of changes)
      expect(await call('PATCH', path, change)).toMatchObject({ status: 200 })
  })

  test('a mask does not keep a variable beside an endpoint for a later image', async () => {
    const body = await stored(kind, {
      imageName: undefined,
      imageVersion: undefined,
      replicaCount: undefined,
      endpoint: address,
      environmentVariables: { API_TOKEN: 'hush-token' },
    })
    const change = { endpoint: null, imageName: 'scripted', imageVersion: '1' }

    expect(await call('PATCH', `/${kind}/${String(body['name'])}`, change)).toMatchObject({
      status: 400,
      body: { errors: [{ pointer: '/environmentVariables/API_TOKEN', code: 'masked_value' }] },
    })
  })
})

const elsewhereByValue = {
  PEER_OF_MINE: 'evil.example',
  QUEUE: 'evil:6379',
  CACHE: '10.1.2.3',
  SINK: '[2001:db8::1]:9',
  API: '//evil.example/v1',
  SETTINGS: '{"host":"evil"}',
  PROMPT_FILE: '/proc/self/environ',
  DB_HOST_1: 'evil',
  DATABASE_DSN: 'user@tcp(evil:3306)/x',
  CONNECTION_STRING: 'Server=evil',
  AZURE_STORAGE_ACCOUNT: 'evil',
  SMTP_RELAY: 'evil',
}

test.each(Object.entries(elsewhereByValue))(
  'a mask does not keep a secret when %s becomes %s, where a program may send it',
  async (name, value) => {
    const body = await stored('adapters', {
      imageName: 'scripted',
      environmentVariables: { API_TOKEN: 'hush-token', [name]: 'before' },
    })
    const path = `/adapters/${String(body['name'])}`

    expect(await call('PATCH', path, { environmentVariables: { [name]: value } })).toMatchObject({
      status: 400,
      body: { errors: [{ pointer: '/environmentVariables/API_TOKEN', code: 'masked_value' }] },
    })
  },
)

test('a mask keeps a secret when a plain setting gets another plain value', async () => {
  const environmentVariables = { API_TOKEN: 'hush-token', MODEL: 'gpt-4', SCOPES: 'read' }
  const body = await stored('adapters', { imageName: 'scripted', environmentVariables })
  const path = `/adapters/${String(body['name'])}`

  for (const change of [
    { MODEL: 'gpt-4.1-mini', TEMPERATURE: '0.5', DRY_RUN: 'true' },
    { SCOPES: 'read,write', TZ: 'Europe/Berlin', LOG_LEVEL: '' },
    { API_TOKEN: 'a.b/c:d@e==' },
  ])
    expect(await call('PATCH', path, { environmentVariables: change })).toMatchObject({
      status: 200,
    })
})

test('a masked secret in a file does not reach another image', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'mcpgw-kept-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const declare = (image: string, token: string): void =>
    writeFileSync(
      join(folder, 'one.yaml'),
      `kind: Adapter\nname: declared\nimageName: ${image}\nimageVersion: '1'\n` +
        `replicaCount: 0\nenvironmentVariables: { API_TOKEN: '${token}' }\n`,
    )
  declare('scripted', 'hush-token')
  await using declaring = await TestGateway.open({
    declared: { team: { folder, pollSeconds: 0.02 } },
  })
  const admin = { 'x-dev-userid': 'root', 'x-dev-roles': 'mcp.admin' }
  const told = async (path: string): Promise<string> =>
    (await declaring.send(path, { method: 'GET', headers: admin })).body.toString()
  await expect.poll(() => told('/adapters/declared')).toContain('"imageName":"scripted"')

  declare('mcp-proxy', mask)
  await expect.poll(() => told('/status')).toContain('/environmentVariables/API_TOKEN')
  expect(await told('/adapters/declared')).toContain('"imageName":"scripted"')
})
