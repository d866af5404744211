import { randomBytes } from 'node:crypto'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { AdapterStatus, Problem, SecretResource } from '@mcp-gateway/contract'
import Database from 'libsql'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createVault } from '../../src/crypto/vault.ts'
import { sealStore } from '../../src/store/sealed.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { sampleResource, sampleSecret } from '../contracts/samples.ts'
import { TestGateway } from '../fixtures/gateway.ts'

const folder = mkdtempSync(join(tmpdir(), 'mcpgw-secrets-'))
const files = join(folder, 'files')
mkdirSync(join(files, 'mounted'), { recursive: true })
writeFileSync(join(files, 'plain'), 'from a file\n')
writeFileSync(join(files, 'mounted', 'user'), 'mounted-user')
writeFileSync(join(folder, 'outside'), 'not to be had')
symlinkSync(join(files, 'mounted', 'user'), join(files, 'mounted', 'linked'))

/** A server that answers with its environment. */
const teller = {
  command: [
    process.execPath,
    '-e',
    "require('node:http').createServer((_, response) => response.setHeader('content-type'," +
      " 'application/json').end(JSON.stringify(process.env))).listen(process.env.PORT," +
      ' process.env.HOST)',
  ],
}
const settings = {
  runtime: { images: { teller } },
  secrets: {
    files: {
      plain: { path: join(files, 'plain'), requiredRoles: ['mcp.dev'] },
      mounted: { path: join(files, 'mounted'), requiredRoles: ['mcp.dev'] },
      admins: { path: join(files, 'plain') },
      nowhere: { path: join(files, 'nowhere'), requiredRoles: ['mcp.dev'] },
      constructor: { path: join(files, 'plain'), requiredRoles: ['mcp.dev'] },
    },
  },
}

let gateway: TestGateway
beforeAll(async () => {
  gateway = await TestGateway.open(settings)
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
})

type Headers = Readonly<Record<string, string>>
const dev: Headers = {}
const alice: Headers = { 'x-dev-userid': 'alice', 'x-dev-roles': '' }
const bob: Headers = { 'x-dev-userid': 'bob', 'x-dev-roles': 'user' }
const admin: Headers = { 'x-dev-userid': 'root', 'x-dev-roles': 'mcp.admin' }
let names = 0
const newName = (): string => `s${(names += 1)}`
/** The value is long and unique, so that a test can search for it. */
const newValue = (): string => `hush-${randomBytes(12).toString('hex')}`
const answers: string[] = []

async function call<T>(method: string, path: string, headers: Headers, body?: unknown) {
  const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json'
  const answer = await gateway.send(path, {
    method,
    headers: { ...(body === undefined ? {} : { 'content-type': type }), ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = answer.body.toString()
  answers.push(text)
  return {
    status: answer.status,
    headers: answer.headers,
    text,
    body: (text === '' ? undefined : JSON.parse(text)) as T,
  }
}

async function keep(headers: Headers, body: object = {}): Promise<string> {
  const name = newName()
  expect(
    await call('POST', '/secrets', headers, { name, value: newValue(), ...body }),
  ).toMatchObject({ status: 201 })
  return name
}

const refers = (name: string, more: object = {}): object => ({ secretRef: { name, ...more } })
const adapter = (environmentVariables: object, more: object = {}) => ({
  name: newName(),
  imageName: 'teller',
  imageVersion: '1',
  environmentVariables,
  ...more,
})

/** Registers a server of dev with an environment, and gives its name. */
async function serve(environmentVariables: object): Promise<string> {
  const body = adapter(environmentVariables)
  expect(await call('POST', '/adapters', dev, body)).toMatchObject({ status: 201 })
  return body.name
}

/** Gives the environment of a server, or the status and code of the refusal. */
async function environmentOf(name: string): Promise<Record<string, string> | string> {
  const { status, body } = await gateway.mcp(name, '', {
    headers: { 'content-type': 'application/json' },
    body: '{}',
  })
  return status === 200 ? (JSON.parse(body.toString()) as Record<string, string>) : `${status}`
}

async function statusOf(name: string): Promise<AdapterStatus> {
  return (await call<AdapterStatus>('GET', `/adapters/${name}/status`, dev)).body
}

async function reasonOf(name: string): Promise<string | undefined> {
  return (await statusOf(name)).conditions.find(({ type }) => type === 'Accepted')?.reason
}

const variable = (name: string, key: string) =>
  expect.poll(async () => ((await environmentOf(name)) as Record<string, string>)[key], {
    timeout: 30_000,
  })

describe('a secret', () => {
  test('no answer, log or file of the store shows a secret', async () => {
    const value = newValue()
    const other = newValue()
    const name = newName()
    const created = await call<SecretResource>('POST', '/secrets', dev, {
      name,
      values: { user: value, password: other },
      description: 'd',
    })
    expect(created).toMatchObject({
      status: 201,
      body: { name, keys: ['password', 'user'], description: 'd', createdBy: 'dev' },
    })
    expect(created.headers['location']).toBe(`/secrets/${name}`)

    const server = await serve({
      USER_NAME: refers(name, { key: 'user' }),
      PLAIN: { value: other, secret: true },
    })
    await variable(server, 'USER_NAME').toBe(value)
    await call('GET', `/secrets/${name}`, dev)
    await call('GET', '/secrets', dev)
    await call('GET', `/adapters/${server}`, dev)
    await call('PATCH', `/adapters/${server}`, dev, { description: 'x' })
    await call('GET', `/adapters/${server}/status`, dev)
    await call('PATCH', `/secrets/${name}`, dev, { description: 'x', values: { user: value } })
    await call('PUT', `/secrets/${name}`, dev, { name, values: { 'not a key': value } })
    await call('POST', '/secrets', dev, { name, value })
    await call('DELETE', `/secrets/${name}`, dev)
    const stored = readdirSync(gateway.dataDir).filter((file) => file.startsWith('gateway.db'))
    const kept = stored.map((file) => readFileSync(join(gateway.dataDir, file), 'latin1'))
    for (const text of [...answers, JSON.stringify(gateway.log), ...kept]) {
      expect(text).not.toContain(value)
      expect(text).not.toContain(other)
    }
  })

  test('a secret reaches workloads that refer to it, by its key or as its only value', async () => {
    const [value, first, second] = [newValue(), newValue(), newValue()]
    const only = await keep(dev, { value })
    const several = await keep(dev, { value: undefined, values: { first, second } })
    const server = await serve({
      A: refers(only),
      B: refers(only, { key: 'value' }),
      C: refers(several, { key: 'second' }),
      D: 'text',
    })
    await expect
      .poll(() => environmentOf(server))
      .toMatchObject({ A: value, B: value, C: second, D: 'text' })
    const { body } = await call<{ environmentVariables: object }>('GET', `/adapters/${server}`, dev)
    expect(body.environmentVariables).toEqual({
      A: refers(only),
      B: refers(only, { key: 'value' }),
      C: refers(several, { key: 'second' }),
      D: 'text',
    })
  })

  test('a changed secret restarts workloads that refer to it, and no others', async () => {
    const name = await keep(dev, { value: 'old' })
    const server = await serve({ A: refers(name) })
    const bystander = await serve({ A: 'old' })
    await variable(server, 'A').toBe('old')
    await variable(bystander, 'A').toBe('old')
    const before = (await statusOf(bystander)).replicas[0]?.startedAt
    await call('PATCH', `/secrets/${name}`, dev, { value: 'new' })
    await variable(server, 'A').toBe('new')
    await expect.poll(async () => (await statusOf(server)).replicaStatus).toBe('Healthy')
    expect((await statusOf(bystander)).replicas[0]?.startedAt).toBe(before)
  })

  test('a secret in use is not removed, and the answer names its visible users', async () => {
    const name = await keep(dev, { requiredRoles: ['user'] })
    const server = await serve({ A: refers(name) })
    const hidden = adapter({ A: refers(name) }, { replicaCount: 0 })
    expect((await call('POST', '/adapters', bob, hidden)).status).toBe(201)
    const refused = await call<Problem>('DELETE', `/secrets/${name}`, dev)
    expect(refused).toMatchObject({ status: 409, body: { code: 'secret_in_use' } })
    expect(refused.body.detail).toContain(`adapter '${server}', 1 that you may not see`)
    expect(refused.text).not.toContain(hidden.name)
    expect((await call('GET', `/secrets/${name}`, dev)).status).toBe(200)
  })

  test('a secret removed by force is taken from its users, which heal on its return', async () => {
    const name = await keep(dev, { value: 'before' })
    const server = await serve({ A: refers(name) })
    await variable(server, 'A').toBe('before')
    expect((await call('DELETE', `/secrets/${name}?force=true`, dev)).status).toBe(204)
    await expect.poll(() => reasonOf(server)).toBe('SecretMissing')
    await expect.poll(async () => (await statusOf(server)).replicas).toEqual([])
    const { conditions } = await statusOf(server)
    expect(conditions.find(({ type }) => type === 'Ready')).toMatchObject({
      status: 'False',
      message: `The variable A has no value. There is no secret '${name}'.`,
    })
    expect(await environmentOf(server)).toBe('503')
    await call('POST', '/secrets', dev, { name, value: 'after' })
    await variable(server, 'A').toBe('after')
  })

  test('a secret whose value alone is removed is missing too', async () => {
    const name = await keep(dev, { value: undefined, values: { a: '1', b: '2' } })
    const server = await serve({ A: refers(name, { key: 'b' }) })
    await variable(server, 'A').toBe('2')
    expect(
      (await call<SecretResource>('PATCH', `/secrets/${name}`, dev, { values: { b: null } })).body
        .keys,
    ).toEqual(['a'])
    await expect.poll(() => reasonOf(server)).toBe('SecretMissing')
    expect((await call('PATCH', `/secrets/${name}`, dev, { values: { a: null } })).status).toBe(400)
  })

  test('a mask keeps a secret, and is a mistake where nothing is stored', async () => {
    const name = await keep(dev, { value: undefined, values: { a: 'one', b: 'two' } })
    const server = await serve({ A: refers(name, { key: 'a' }) })
    await variable(server, 'A').toBe('one')
    const put = await call<SecretResource>('PUT', `/secrets/${name}`, dev, {
      name,
      values: { a: '********', c: 'three' },
    })
    expect(put).toMatchObject({ status: 200, body: { keys: ['a', 'c'] } })
    await expect.poll(() => environmentOf(server)).toMatchObject({ A: 'one' })
    for (const key of ['b', 'constructor']) {
      const refused = await call<Problem>('PATCH', `/secrets/${name}`, dev, {
        values: { [key]: '********' },
      })
      expect(refused).toMatchObject({
        status: 400,
        body: { errors: [{ pointer: `/values/${key}`, code: 'masked_value' }] },
      })
    }
  })

  test('a mask keeps a secret in an environment, and no other marking shows it', async () => {
    const body = adapter(
      { API_KEY: 'hush-variable', REFERRED: refers(await keep(dev)) },
      { replicaCount: 0 },
    )
    const path = `/adapters/${body.name}`
    expect(await call('POST', '/adapters', dev, body)).toMatchObject({ status: 201 })

    for (const [key, value] of [
      ['API_KEY', { value: '********', secret: false }],
      ['REFERRED', '********'],
      ['constructor', '********'],
    ] as const) {
      const mistake = {
        status: 400,
        body: { errors: [{ pointer: `/environmentVariables/${key}`, code: 'masked_value' }] },
      }
      const environmentVariables = { [key]: value }
      expect(await call<Problem>('PATCH', path, dev, { environmentVariables })).toMatchObject(
        mistake,
      )
      expect(
        await call<Problem>('PUT', path, dev, { ...body, environmentVariables }),
      ).toMatchObject(mistake)
    }
    const { text, body: kept } = await call<{ environmentVariables: object }>('GET', path, dev)
    expect(kept.environmentVariables).toEqual({
      API_KEY: '********',
      REFERRED: expect.anything() as object,
    })
    expect(text).not.toContain('hush-variable')

    const shown = await call('PATCH', path, dev, {
      environmentVariables: { API_KEY: { value: 'public', secret: false } },
    })
    expect(shown).toMatchObject({
      status: 200,
      body: { environmentVariables: { API_KEY: 'public' } },
    })
  })

  test('a secret has bounds: names, keys, lengths, how many values', async () => {
    const codes = async (body: object): Promise<unknown> => {
      const { status, body: problem } = await call<Problem>('POST', '/secrets', dev, {
        name: newName(),
        ...body,
      })
      return [status, problem.errors?.map(({ pointer }) => pointer)]
    }
    expect(await codes({ name: 'Not_A_Name', value: 'x' })).toEqual([400, ['/name']])
    expect(await codes({})).toEqual([400, ['/value']])
    expect(await codes({ values: {} })).toEqual([400, ['/value']])
    expect(await codes({ value: 'x', values: { a: 'x' } })).toEqual([400, ['/value']])
    expect(await codes({ values: { '../a': 'x' } })).toEqual([400, ['/values/..~1a']])
    expect(await codes({ values: { '.': 'x' } })).toEqual([400, ['/values/.']])
    expect(await codes({ value: 'é'.repeat(32 * 1024 + 1) })).toEqual([400, ['/value']])
    expect(await codes({ value: 'a\u0000b' })).toEqual([400, ['/value']])
    expect(
      await codes({
        values: Object.fromEntries(Array.from({ length: 33 }, (_, index) => [`k${index}`, ''])),
      }),
    ).toEqual([400, ['/values']])
    expect(await codes({ value: 'é'.repeat(32 * 1024) })).toEqual([201, undefined])
    const longest = 'x'.repeat(64 * 1024)
    const server = await serve({ A: refers(await keep(dev, { value: longest })) })
    await variable(server, 'A').toBe(longest)
  })

  test('ETags guard a secret, and its name is taken once', async () => {
    const name = await keep(dev)
    const etag = String((await call('GET', `/secrets/${name}`, dev)).headers['etag'])
    expect(
      (await call('PATCH', `/secrets/${name}`, { 'if-match': etag }, { value: 'x' })).status,
    ).toBe(200)
    for (const method of ['PATCH', 'DELETE'])
      expect(
        (
          await call(
            method,
            `/secrets/${name}`,
            { 'if-match': etag },
            method === 'PATCH' ? { value: 'y' } : undefined,
          )
        ).status,
      ).toBe(412)
    expect(await call('POST', '/secrets', alice, { name, value: 'x' })).toMatchObject({
      status: 409,
      body: { code: 'name_taken' },
    })
  })
})

describe('rights on a secret', () => {
  test('a secret exists for its owner and its roles alone', async () => {
    const name = await keep(alice, { requiredRoles: ['user'] })
    expect((await call('GET', `/secrets/${name}`, bob)).status).toBe(200)
    expect((await call('PATCH', `/secrets/${name}`, bob, { value: 'x' })).status).toBe(403)
    expect((await call('DELETE', `/secrets/${name}`, bob)).status).toBe(403)
    for (const method of ['GET', 'PUT', 'PATCH', 'DELETE'])
      expect(
        (
          await call(
            method,
            `/secrets/${name}`,
            dev,
            method.startsWith('P') ? { name, value: 'x' } : undefined,
          )
        ).status,
      ).toBe(404)
    expect(
      (await call<SecretResource[]>('GET', '/secrets', dev)).body.map((secret) => secret.name),
    ).not.toContain(name)
    expect(
      (await call('POST', '/adapters', bob, adapter({ A: refers(name) }, { replicaCount: 0 })))
        .status,
    ).toBe(201)

    const refused = await call<Problem>('POST', '/adapters', dev, adapter({ A: refers(name) }))
    expect(refused).toMatchObject({
      status: 400,
      body: {
        errors: [{ pointer: '/environmentVariables/A/secretRef', code: 'secret_not_found' }],
      },
    })

    const missing = await call<Problem>(
      'POST',
      '/adapters',
      dev,
      adapter({ A: refers('not-there') }),
    )
    expect(missing.body.errors?.[0]?.detail).toBe(
      refused.body.errors?.[0]?.detail.replace(name, 'not-there'),
    )
    expect(
      (await call('POST', '/adapters', admin, adapter({ A: refers(name) }, { replicaCount: 0 })))
        .status,
    ).toBe(201)
  })

  test('an owner who lost a secret may scale and remove, but run no other code', async () => {
    const name = await keep(alice, { requiredRoles: ['user'] })
    const body = adapter({ A: refers(name) }, { replicaCount: 0 })
    await call('POST', '/adapters', bob, body)
    await call('PATCH', `/secrets/${name}`, alice, { requiredRoles: [] })
    expect((await call('PATCH', `/adapters/${body.name}`, bob, { imageVersion: '2' })).status).toBe(
      400,
    )
    expect(
      (await call('PATCH', `/adapters/${body.name}`, bob, { environmentVariables: { B: 'x' } }))
        .status,
    ).toBe(400)
    expect(
      (await call('PATCH', `/adapters/${body.name}`, bob, { description: 'x', replicaCount: 0 }))
        .status,
    ).toBe(200)
    expect(
      (await call('PATCH', `/adapters/${body.name}`, bob, { environmentVariables: { A: null } }))
        .status,
    ).toBe(200)
    expect((await call('DELETE', `/adapters/${body.name}`, bob)).status).toBe(204)
  })

  test('each owner has a quota of secrets', async () => {
    await using small = await TestGateway.open({ secrets: { maxPerPrincipal: 2 } })
    const statuses = await Promise.all(
      Array.from({ length: 6 }, async () => {
        const body = JSON.stringify({ name: newName(), value: 'x' })
        return (
          await small.send('/secrets', { headers: { 'content-type': 'application/json' }, body })
        ).status
      }),
    )
    expect(statuses.filter((status) => status === 201)).toHaveLength(2)
    expect(statuses.filter((status) => status === 403)).toHaveLength(4)
  })
})

describe('the audit log', () => {
  test('the audit log names who changed a secret, and holds no digest to guess it by', async () => {
    const value = newValue()
    const name = await keep(dev, { value })
    await call('PATCH', `/secrets/${name}`, dev, { value: '1234' })
    await call('PUT', `/secrets/${name}`, bob, { name, value: '1234' })
    await call('DELETE', `/secrets/${name}`, dev)
    const records = (): Record<string, unknown>[] =>
      readFileSync(join(gateway.dataDir, 'audit.log'), 'utf8')
        .split('\n')
        .filter((line) => line.includes(`"${name}"`))
        .map((line) => JSON.parse(line) as Record<string, unknown>)
    const told = (): unknown[] =>
      records().map(({ action, outcome }) => `${String(action)} ${String(outcome)}`)
    await expect
      .poll(told)
      .toEqual([
        'secret.create allowed',
        'secret.patch allowed',
        'secret.replace denied',
        'secret.delete allowed',
      ])
    expect(records().filter((record) => 'digest' in record)).toEqual([])
    expect(readFileSync(join(gateway.dataDir, 'audit.log'), 'utf8')).not.toContain(value)
  })
})

describe('a reference', () => {
  test('PATCH replaces a text by a reference, and a reference by a text', async () => {
    const name = await keep(dev, { value: undefined, values: { a: '1', b: '2' } })
    const body = adapter({ A: 'text', B: refers(name, { key: 'a' }) }, { replicaCount: 0 })
    await call('POST', '/adapters', dev, body)
    const patch = async (environmentVariables: object): Promise<unknown> => {
      const { body: patched } = await call<{ environmentVariables?: object }>(
        'PATCH',
        `/adapters/${body.name}`,
        dev,
        {
          environmentVariables,
        },
      )
      return patched.environmentVariables ?? patched
    }
    expect(await patch({ A: refers(name, { key: 'b' }), B: { value: 'x' } })).toEqual({
      A: refers(name, { key: 'b' }),
      B: 'x',
    })
    expect(await patch({ A: refers(name, { key: 'a' }) })).toEqual({
      A: refers(name, { key: 'a' }),
      B: 'x',
    })
    expect(await patch({ A: 'again', B: null })).toEqual({ A: 'again' })
    expect(await patch({ A: refers(name, { key: 'c' }) })).toMatchObject({
      errors: [{ code: 'secret_key_not_found' }],
    })
    expect(await patch({ A: refers(name) })).toMatchObject({
      errors: [{ code: 'secret_key_not_found' }],
    })
  })

  test('a reference means the secret of its owner, and no later one of that name', async () => {
    const name = await keep(dev, { value: 'of-dev' })
    const users = { requiredRoles: ['mcp.dev'] }
    const server = await serve({ A: refers(name) })
    const withCredential = adapter({}, { credential: { header: 'x-key', ...refers(name) } })
    await call('POST', '/adapters', dev, withCredential)
    await variable(server, 'A').toBe('of-dev')
    expect((await call('DELETE', `/secrets/${name}?force=true`, dev)).status).toBe(204)
    await expect.poll(() => reasonOf(server)).toBe('SecretMissing')
    expect(
      (await call('POST', '/secrets', alice, { name, value: 'of-alice', ...users })).status,
    ).toBe(201)

    const message = async (): Promise<unknown> =>
      (await statusOf(server)).conditions.find(({ type }) => type === 'Ready')?.message
    await expect.poll(message).toContain('another owner')
    // A change of other fields keeps a reference as it was, whoever makes the change.
    for (const caller of [dev, admin])
      expect(
        (await call('PATCH', `/adapters/${server}`, caller, { description: newName() })).status,
      ).toBe(200)
    await expect.poll(message).toContain('another owner')
    expect(await environmentOf(server)).toBe('503')
    expect(await environmentOf(withCredential.name)).toBe('503')
    // References to the former secret do not keep its owner from removing the new one.
    expect((await call('DELETE', `/secrets/${name}`, alice)).status).toBe(204)
    expect(
      (await call('POST', '/secrets', alice, { name, value: 'of-alice', ...users })).status,
    ).toBe(201)
    expect(
      (
        await call('PATCH', `/adapters/${server}`, dev, {
          environmentVariables: { A: refers(name) },
        })
      ).status,
    ).toBe(200)

    await variable(server, 'A').toBe('of-alice')
    expect(
      (await call('PUT', `/adapters/${withCredential.name}`, dev, withCredential)).status,
    ).toBe(200)
    await expect
      .poll(() => environmentOf(withCredential.name))
      .toMatchObject({ PATH: expect.anything() as object })
    expect((await call<Problem>('DELETE', `/secrets/${name}`, alice)).body.code).toBe(
      'secret_in_use',
    )
  })

  test('a reference to a secret of another is not set again without the right to it', async () => {
    const name = await keep(dev)
    const body = adapter({ A: refers(name) }, { replicaCount: 0 })
    await call('POST', '/adapters', dev, body)
    await call('DELETE', `/secrets/${name}?force=true`, dev)
    await call('POST', '/secrets', alice, { name, value: 'x' })
    const refused = {
      status: 400,
      body: {
        errors: [{ pointer: '/environmentVariables/A/secretRef', code: 'secret_not_found' }],
      },
    }
    expect(await call('PUT', `/adapters/${body.name}`, dev, body)).toMatchObject(refused)
    expect(
      await call('PATCH', `/adapters/${body.name}`, dev, {
        environmentVariables: { A: refers(name) },
      }),
    ).toMatchObject(refused)
    expect(
      (await call('PATCH', `/adapters/${body.name}`, dev, { replicaCount: 0, description: 'x' }))
        .status,
    ).toBe(200)
  })

  test('a reference to a configured file gives its text without the last line break', async () => {
    const server = await serve({
      A: refers('plain', { source: 'file' }),
      B: refers('mounted', { source: 'file', key: 'user' }),
      C: refers('mounted', { source: 'file', key: 'linked' }),
    })
    await expect
      .poll(() => environmentOf(server))
      .toMatchObject({ A: 'from a file', B: 'mounted-user', C: 'mounted-user' })

    const code = async (reference: object): Promise<unknown> =>
      (
        await call<Problem>('POST', '/adapters', dev, adapter({ A: { secretRef: reference } }))
      ).body.errors?.map((mistake) => mistake.code)
    expect(await code({ name: 'other', source: 'file' })).toEqual(['secret_not_found'])
    expect(await code({ name: 'admins', source: 'file' })).toEqual(['secret_not_found'])
    expect(await code({ name: 'nowhere', source: 'file' })).toEqual(['secret_key_not_found'])
    expect(await code({ name: 'mounted', source: 'file', key: 'other' })).toEqual([
      'secret_key_not_found',
    ])
    for (const key of [
      '../../outside',
      '..',
      '.',
      '',
      'a/b',
      '/etc/passwd',
      'a\u0000',
      '..\\outside',
    ])
      expect(
        (
          await call(
            'POST',
            '/adapters',
            dev,
            adapter({ A: refers('mounted', { source: 'file', key }) }),
          )
        ).status,
      ).toBe(400)
    expect(await code({ name: 'plain', source: 'kubernetes' })).toEqual(['secret_not_found'])
    expect(await code({ name: 'plain', source: 'elsewhere' })).toHaveLength(1)
  })

  test('a reference to a missing file withholds the workload until it is back', async () => {
    const own = join(files, 'mounted', 'own')
    writeFileSync(own, 'first')
    const server = await serve({ A: refers('mounted', { source: 'file', key: 'own' }) })
    await variable(server, 'A').toBe('first')
    renameSync(own, `${own}.away`)
    const look = (): Promise<unknown> =>
      call('PATCH', `/adapters/${server}`, dev, { description: newName() })
    await look()
    await expect.poll(() => reasonOf(server)).toBe('SecretMissing')
    writeFileSync(`${own}.away`, Buffer.from([0xff, 0xfe]))
    renameSync(`${own}.away`, own)
    await look()
    await expect.poll(() => reasonOf(server)).toBe('SecretUnreadable')
    writeFileSync(own, 'second')
    await look()
    await variable(server, 'A').toBe('second')
  })
})

describe('secrets in the store', () => {
  const [one, two] = [randomBytes(32), randomBytes(32)] as const
  let file = ''
  let files = 0
  const newFile = (): string => (file = join(folder, `${(files += 1)}.db`))
  const open = (...keys: Buffer[]) =>
    sealStore(openSqliteStore({ file, pollMs: 5 }), createVault(keys))
  const secretive = (name: string) =>
    sampleResource(name, {
      spec: {
        ...sampleResource('x').spec,
        environmentVariables: {
          A: { value: 'hidden', secret: true },
          B: { value: 'open', secret: false },
          C: { secretRef: { source: 'store', name: 'x' } },
        },
        credential: [
          { header: 'authorization', value: 'Bearer hidden' },
          { header: 'x-tenant', value: 'hidden too' },
        ],
      },
    })

  test('a stored secret is read back by get, list and watch, and never in clear', async () => {
    newFile()
    await using store = open(one)
    const stop = new AbortController()
    const changes = store.watch(stop.signal)[Symbol.asyncIterator]()
    const change = changes.next()
    const resource = secretive('r')
    const secret = sampleSecret('s', {
      spec: { description: '', requiredRoles: [], values: { value: { value: 'hidden' } } },
    })
    await store.create(resource)
    await store.secrets.create(secret)
    expect((await change).value).toEqual({ kind: 'adapter', name: 'r', resource })
    expect([await store.get('r'), await store.list({}), await store.secrets.get('s')]).toEqual([
      resource,
      [resource],
      secret,
    ])
    await using plain = openSqliteStore({ file })
    const text = JSON.stringify([await plain.get('r'), await plain.secrets.get('s')])
    expect(text).not.toContain('hidden')
    expect(text).toContain('open')
    stop.abort()
  })

  test('a secret stays sealed to the gateway, and as it is unless replaced', async () => {
    newFile()
    await using store = open(one)
    const values = { a: { value: 'hidden' }, b: { value: 'old' } }
    const secret = sampleSecret('s', { spec: { description: '', requiredRoles: [], values } })
    await store.sealedSecrets.create(secret)
    const read = (await store.sealedSecrets.get('s')) as typeof secret
    expect(await store.sealedSecrets.list({})).toEqual([read])
    expect(read.spec.values['a']).toEqual({ value: '', sealed: expect.any(String) as string })
    expect(JSON.stringify(read)).not.toContain('hidden')
    const changed = {
      ...read,
      version: 2,
      spec: { ...read.spec, values: { ...read.spec.values, b: { value: 'new' } } },
    }
    await store.sealedSecrets.replace(changed, 1)
    expect((await store.secrets.get('s'))?.spec.values).toEqual({
      a: { value: 'hidden' },
      b: { value: 'new' },
    })
    expect((await store.sealedSecrets.get('s'))?.spec.values['a']).toEqual(read.spec.values['a'])
  })

  test('a secret in clear of an earlier gateway is sealed at the next start', async () => {
    newFile()
    const resource = secretive('r')
    {
      await using plain = openSqliteStore({ file })
      await plain.create(resource)
    }
    await using store = open(one)
    expect(await store.get('r')).toEqual(resource)
    expect(await store.renewSeals()).toEqual({ renewed: 1, unreadable: [] })
    expect(await store.renewSeals()).toEqual({ renewed: 0, unreadable: [] })
    expect(await store.get('r')).toEqual(resource)
    await using plain = openSqliteStore({ file })
    expect(JSON.stringify(await plain.get('r'))).not.toContain('hidden')
  })

  test('a secret under an earlier key is sealed again, so that the key can go', async () => {
    newFile()
    const resource = secretive('r')
    {
      await using store = open(one)
      await store.create(resource)
    }
    {
      await using wrong = open(two)
      expect((await wrong.renewSeals()).unreadable).toEqual(['r'])
      const read = await wrong.get('r')
      expect(read?.spec.environmentVariables['A']).toMatchObject({
        value: '',
        sealed: expect.any(String) as string,
      })
      // A change of other fields keeps a value that the gateway cannot read.
      await wrong.replace({ ...(read as typeof resource), version: 2 }, 1)
    }
    {
      await using both = open(two, one)
      expect(await both.get('r')).toEqual({ ...resource, version: 2 })
      expect(await both.renewSeals()).toEqual({ renewed: 1, unreadable: [] })
    }
    await using store = open(two)
    expect(await store.get('r')).toEqual({ ...resource, version: 2 })
  })

  test('a tampered, moved or exchanged secret is unreadable, and serves nobody', async () => {
    const secret = await keep(dev, { value: newValue() })
    const server = await serve({ A: refers(secret), B: { value: newValue(), secret: true } })
    const other = await serve({ B: { value: newValue(), secret: true } })
    await expect
      .poll(() => environmentOf(server))
      .toMatchObject({ A: expect.any(String) as string })

    const database = new Database(join(gateway.dataDir, 'gateway.db'))
    const sealedOf = (name: string): string => {
      const { body } = database.prepare('SELECT body FROM resource WHERE name = ?').get(name) as {
        body: string
      }
      return (JSON.parse(body) as { spec: { environmentVariables: { B: { sealed: string } } } })
        .spec.environmentVariables.B.sealed
    }
    const touch = (table: string, name: string, from: string, to: string): void => {
      database.exec('UPDATE counter SET change = change + 1')
      database
        .prepare(
          `UPDATE ${table} SET body = replace(body, ?, ?),` +
            ' change = (SELECT change FROM counter) WHERE name = ?',
        )
        .run(from, to, name)
    }
    // This gives one server the value that was sealed for the other.
    touch('resource', server, sealedOf(server), sealedOf(other))
    await expect.poll(() => reasonOf(server)).toBe('SecretUnreadable')
    await expect.poll(async () => (await statusOf(server)).replicas).toEqual([])
    expect(await environmentOf(server)).toBe('503')
    expect(
      (
        await call('PATCH', `/adapters/${server}`, dev, {
          environmentVariables: { B: 'given again' },
        })
      ).status,
    ).toBe(200)

    await variable(server, 'B').toBe('given again')
    const { body } = database.prepare('SELECT body FROM secret WHERE name = ?').get(secret) as {
      body: string
    }
    const { sealed } = (JSON.parse(body) as { spec: { values: { value: { sealed: string } } } })
      .spec.values.value
    touch('secret', secret, sealed, `${sealed.slice(0, -4)}AAAA`)
    database.close()
    await expect.poll(() => reasonOf(server)).toBe('SecretUnreadable')
    expect((await call('GET', `/secrets/${secret}`, dev)).status).toBe(200)

    await call('PUT', `/secrets/${secret}`, dev, { name: secret, value: 'mended' })
    await variable(server, 'A').toBe('mended')
  })
})
