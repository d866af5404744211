import { spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FixtureProcess, GatewayProcess, PostgresServer, programs } from '@mcp-gateway/testkit'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const { missing } = PostgresServer

let server: PostgresServer
let environment: Record<string, string> = {}

const initialize = {
  jsonrpc: '2.0',
  id: 0,
  method: 'initialize',
  params: {
    protocolVersion: '2025-11-25',
    capabilities: {},
    clientInfo: { name: 'e2e', version: '1' },
  },
}

/** A busy machine needs these limits. */
const patiently = { timeout: 30_000, interval: 10 }

const start = (): Promise<GatewayProcess> => GatewayProcess.start({ environment })
const register = (gateway: GatewayProcess, name: string) =>
  gateway.api('POST', '/adapters', { name, imageName: 'mcp-example', imageVersion: '1.0.0' })
const call = (gateway: GatewayProcess, name: string) =>
  gateway.api('POST', `/adapters/${name}/mcp`, initialize, {
    accept: 'application/json, text/event-stream',
  })
const command = (...words: string[]) =>
  spawnSync(process.execPath, [programs.gateway, ...words], {
    encoding: 'utf8',
    env: { ...process.env, ...environment, MCPGW_DATA_DIR: folder },
  })

let folder = ''

describe.skipIf(missing !== undefined)(
  `Gateways on one PostgreSQL${missing === undefined ? '' : ` (skipped: ${missing})`}`,
  () => {
    beforeAll(async () => {
      folder = mkdtempSync(join(tmpdir(), 'mcpgw-e2e-'))
      server = await PostgresServer.start()
      const url = new URL(server.createDatabase('gateways'))
      // Operators who keep the password apart from the address do the same.
      environment = {
        PGPASSWORD: decodeURIComponent(url.password),
        MCPGW_SECRETS_KEYS: randomBytes(32).toString('base64'),
      }
      environment = {
        ...environment,
        MCPGW_STORE_URL: url.href.replace(/:[^:@]*@/, '@'),
        MCPGW_STORE_START_TIMEOUT_SECONDS: '1',
      }
    })
    afterAll(async () => {
      await server[Symbol.asyncDispose]()
      rmSync(folder, { recursive: true, force: true })
    })

    test('each gateway serves adapters of the others, and forgets deleted ones', async () => {
      await using one = await start()
      await using two = await start()
      expect(one.output + two.output).toContain('"store":"postgres"')
      expect(await register(one, 'shared')).toMatchObject({ status: 201 })
      await expect
        .poll(async () => (await two.api('GET', '/adapters/shared')).status, patiently)
        .toBe(200)
      // The name is known by now, though its replica may still be starting.
      const served = await call(two, 'shared')
      expect([served.status, JSON.stringify(served.body)]).toEqual([
        200,
        expect.stringContaining('serverInfo'),
      ])
      expect((await two.api('DELETE', '/adapters/shared')).status).toBe(204)
      await expect.poll(async () => (await call(one, 'shared')).status, patiently).toBe(404)
    })

    test('each gateway continues sessions of others, until an adapter moves', async () => {
      await using elsewhere = await FixtureProcess.conformance('legacy')
      const keys = { MCPGW_SESSIONS_KEYS: randomBytes(32).toString('base64') }
      await using one = await GatewayProcess.start({ environment: { ...environment, ...keys } })
      await using two = await GatewayProcess.start({ environment: { ...environment, ...keys } })
      expect(
        (await one.api('POST', '/adapters', { name: 'elsewhere', endpoint: elsewhere.url })).status,
      ).toBe(201)
      await expect
        .poll(async () => (await two.api('GET', '/adapters/elsewhere')).status, patiently)
        .toBe(200)

      const opened = await call(one, 'elsewhere')
      const headers = {
        accept: 'application/json, text/event-stream',
        'mcp-session-id': opened.headers.get('mcp-session-id') ?? '',
        'mcp-protocol-version': '2025-11-25',
      }
      const list = () =>
        two.api(
          'POST',
          '/adapters/elsewhere/mcp',
          { jsonrpc: '2.0', id: 1, method: 'tools/list' },
          headers,
        )
      const listed = await list()
      expect([listed.status, JSON.stringify(listed.body)]).toEqual([
        200,
        expect.stringContaining('test_simple_text'),
      ])
      expect(
        (await one.api('PATCH', '/adapters/elsewhere', { endpoint: `${elsewhere.url}?moved` }))
          .status,
      ).toBe(200)
      await expect.poll(async () => (await list()).status, patiently).toBe(404)
      expect((await one.api('DELETE', '/adapters/elsewhere')).status).toBe(204)
    })

    test('one of several gateways gets a name that they ask for at once', async () => {
      await using one = await start()
      await using two = await start()
      for (let round = 0; round < 10; round += 1) {
        const answers = await Promise.all([
          register(one, `raced-${round}`),
          register(two, `raced-${round}`),
        ])
        expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([201, 409])
      }
      const versions = await Promise.all(
        [one, two].map(async (gateway) =>
          (await gateway.api('GET', '/adapters/raced-0')).headers.get('etag'),
        ),
      )
      expect(versions[0]).toBe(versions[1])

      const change = (gateway: GatewayProcess) =>
        gateway.api(
          'PATCH',
          '/adapters/raced-0',
          { description: gateway.origin },
          { 'if-match': versions[0] ?? '' },
        )
      expect(
        (await Promise.all([change(one), change(two)]))
          .map(({ status }) => status)
          .toSorted((a, b) => a - b),
      ).toEqual([200, 412])

      for (let round = 0; round < 10; round += 1)
        await one.api('DELETE', `/adapters/raced-${round}`)
    })

    test('gateways serve without the server, refuse changes with 503, and recover', async () => {
      await using one = await start()
      await using two = await start()
      await register(one, 'known')
      await one.untilStatus('known', ({ readyReplicas }) => readyReplicas === 1)
      await expect.poll(async () => (await call(two, 'known')).status, patiently).toBe(200)

      await server.end('SIGKILL')
      const refused = await register(one, 'refused')
      expect([refused.status, refused.headers.get('retry-after'), refused.body]).toMatchObject([
        503,
        '1',
        { code: 'store_unavailable', retryable: true },
      ])
      for (const path of [
        '/adapters',
        '/adapters/known',
        '/adapters/known/status',
        '/tools',
        '/api-keys',
        '/secrets',
      ])
        expect([path, (await two.api('GET', path)).body]).toMatchObject([
          path,
          { code: 'store_unavailable' },
        ])
      await expect
        .poll(async () => (await one.api('GET', '/readyz')).body, patiently)
        .toEqual({ status: 'ready', store: 'unavailable' })
      expect((await one.api('GET', '/readyz')).status).toBe(200)
      for (const gateway of [one, two, one, two])
        expect((await call(gateway, 'known')).status).toBe(200)

      await server.startAgain()
      await expect
        .poll(async () => (await one.api('GET', '/readyz')).body, patiently)
        .toEqual({ status: 'ready' })
      expect((await register(one, 'after')).status).toBe(201)
      await expect.poll(async () => (await call(two, 'after')).status, patiently).toBe(200)
      expect((await two.api('GET', '/adapters/refused')).status).toBe(404)
      expect(one.output.match(/the database does not answer/g)).toHaveLength(1)
      expect(one.output.match(/the database answers again/g)).toHaveLength(1)

      for (const name of ['known', 'after']) await one.api('DELETE', `/adapters/${name}`)
    })

    test('a command moves a SQLite store with owners, versions and secrets', async () => {
      server.sql('CREATE DATABASE moved OWNER gateways')
      const database = {
        ...environment,
        MCPGW_STORE_URL: environment['MCPGW_STORE_URL']?.replace(/gateways$/, 'moved') ?? '',
      }
      await using gateway = await GatewayProcess.start()
      const { dataDir } = gateway
      const run = (...words: string[]) =>
        spawnSync(process.execPath, [programs.gateway, 'store', 'copy', ...words], {
          encoding: 'utf8',
          env: { ...process.env, ...database, MCPGW_DATA_DIR: dataDir },
        })
      await gateway.api('POST', '/secrets', { name: 'key', value: 'of-old' })
      const environmentVariables = {
        KEY: { secretRef: { name: 'key' } },
        OWN: { value: 'own', secret: true },
      }
      await gateway.api('POST', '/adapters', {
        name: 'old',
        imageName: 'mcp-example',
        imageVersion: '1.0.0',
        environmentVariables,
      })
      await gateway.api('PATCH', '/adapters/old', { description: 'changed' })
      const before = await gateway.api('GET', '/adapters/old')
      const { key } = (await gateway.api('POST', '/api-keys', { name: 'k' })).body as {
        key: string
      }
      await gateway.end('SIGTERM')
      const file = join(dataDir, 'gateway.db')

      expect(run('--from', file)).toMatchObject({
        status: 0,
        stdout: '3 records were copied, 0 were there already.\n',
      })
      expect(run('--from', file)).toMatchObject({
        status: 0,
        stdout: '0 records were copied, 3 were there already.\n',
      })
      expect(run('--from', `${file}.none`)).toMatchObject({
        status: 1,
        stderr: `There is no store ${file}.none.\n`,
      })
      expect(run('--from', file, '--to', file).status).toBe(2)

      {
        await using moved = await GatewayProcess.start({ dataDir, environment: database })
        const after = await moved.api('GET', '/adapters/old', undefined, {
          authorization: `Bearer ${key}`,
        })
        expect([after.status, after.body]).toEqual([200, before.body])
        await moved.untilStatus('old', ({ readyReplicas }) => readyReplicas === 1)
        expect(moved.output).toContain('stored secrets were sealed with the first key')
        expect(moved.output).not.toContain('cannot be decrypted')
      }
      expect(run('--to', join(dataDir, 'copy.db'))).toMatchObject({
        status: 0,
        stdout: '3 records were copied, 0 were there already.\n',
      })
      // The start has sealed the secrets again, so they differ from those of the old file.
      expect(run('--from', file)).toMatchObject({
        status: 1,
        stderr: expect.stringContaining('left out: secret ') as string,
      })
    })

    test('a gateway without the server ends with code 1 and the reason', async () => {
      await server.end('SIGINT')
      const { status, stderr, stdout } = command()
      await server.startAgain()
      expect([status, stderr]).toEqual([
        1,
        expect.stringMatching(
          /postgres:\/\/gateways@127\.0\.0\.1:\d+\/gateways cannot be used: .*ECONNREFUSED/,
        ),
      ])
      expect(stdout + stderr).not.toContain(environment['PGPASSWORD'])
    })

    test('gateways that wait for the server end at once when they are told to', async () => {
      await server.end('SIGINT')
      const waiting = spawn(process.execPath, [programs.gateway], {
        env: {
          ...process.env,
          ...environment,
          MCPGW_DATA_DIR: folder,
          MCPGW_STORE_START_TIMEOUT_SECONDS: '600',
        },
        stdio: ['ignore', 'ignore', 'pipe'],
      })
      let output = ''
      waiting.stderr.setEncoding('utf8').on('data', (text: string) => (output += text))
      await expect.poll(() => output, patiently).toContain('the database does not answer')
      waiting.kill('SIGTERM')
      expect(await once(waiting, 'exit')).toEqual([0, null])
      await server.startAgain()
    })

    test('a command updates the schema, and the settings are shown without the password', () => {
      expect(command('store', 'migrate')).toMatchObject({
        status: 0,
        stdout: 'The schema of the store is up to date.\n',
      })
      environment = { ...environment, MCPGW_STORE_URL: 'postgres://gw:s3cret@localhost/db' }
      const printed = command('config', 'print')
      expect(printed.stdout).toContain('postgres://gw:[secret]@localhost/db')
      expect(printed.stdout + printed.stderr).not.toContain('s3cret')
    })
  },
)
