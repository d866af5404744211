import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { spawnSync } from 'node:child_process'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openSandbox, type SandboxOptions } from '../src/runtime/process/sandbox.ts'
import { TestGateway } from './fixtures/gateway.ts'

const hostile = fileURLToPath(new URL('fixtures/hostile-workload.js', import.meta.url))
const otherUser = 699_999
const readable =
  process.getuid?.() === 0 &&
  spawnSync(process.execPath, ['-e', 'require("fs").accessSync(process.argv[1])', hostile], {
    uid: otherUser,
    gid: otherUser,
    cwd: '/',
  }).status === 0

interface Outcome {
  readonly done?: unknown
  readonly failed?: string
}

// It needs root, and a checkout that other users can read.
describe.skipIf(!readable)('a local server in the sandbox uid', () => {
  let gateway: TestGateway
  let alice: string
  let mallory: string
  beforeAll(async () => {
    gateway = await TestGateway.open({
      runtime: {
        sandbox: 'uid',
        images: { hostile: { command: [process.execPath, hostile] } },
      },
    })
    const register = (owner: string, secret: string): Promise<string> => {
      gateway.credentials = { 'x-dev-userid': owner, 'x-dev-roles': 'mcp.engineer' }
      return gateway.register({
        imageName: 'hostile',
        environmentVariables: { TOKEN: secret },
      })
    }
    alice = await register('alice', 'token-of-alice')
    mallory = await register('mallory', 'token-of-mallory')
  })
  afterAll(() => gateway[Symbol.asyncDispose]())

  async function tries(name: string, attempt: string, details: object = {}): Promise<Outcome> {
    const answer = await gateway.send(`/adapters/${name}/mcp`, {
      headers: { 'content-type': 'application/json', 'x-dev-roles': 'mcp.admin' },
      body: JSON.stringify({ attempt, ...details }),
    })
    return JSON.parse(answer.body.toString()) as Outcome
  }

  async function identityOf(
    name: string,
  ): Promise<{ uid: number; groups: number[]; home: string }> {
    const { done } = await tries(name, 'identity')
    return done as { uid: number; groups: number[]; home: string }
  }

  test('runs as a user of its own for each owner, with no other groups', async () => {
    const [hers, his] = [await identityOf(alice), await identityOf(mallory)]

    expect(hers.uid).toBeGreaterThanOrEqual(700_000)
    expect(his.uid).toBeGreaterThanOrEqual(700_000)
    expect(his.uid).not.toBe(hers.uid)
    expect(hers.groups).toEqual([hers.uid])
  })

  test('reads neither the keys nor the store of the gateway, nor lists its data folder', async () => {
    expect(await tries(mallory, 'list', { path: gateway.dataDir })).toEqual({ failed: 'EACCES' })
    for (const file of readdirSync(gateway.dataDir))
      expect(await tries(mallory, 'read', { path: join(gateway.dataDir, file) })).toEqual({
        failed: 'EACCES',
      })
  })

  test('sees no environment of the gateway or of a server of another owner', async () => {
    for (const text of ['token-of-alice', 'PATH='])
      expect(await tries(mallory, 'environments', { text })).toEqual({ done: [] })
  })

  test('reaches its own home, and not that of another owner', async () => {
    const [hers, his] = [await identityOf(alice), await identityOf(mallory)]

    expect(await tries(mallory, 'write', { path: join(his.home, 'note') })).toEqual({ done: null })
    expect(await tries(mallory, 'list', { path: hers.home })).toEqual({ failed: 'EACCES' })
    expect(statSync(his.home).mode & 0o777).toBe(0o700)
  })

  test('writes into no folder of the program that runs it, and signals no process of another user', async () => {
    expect(await tries(mallory, 'write', { path: `${hostile}.mine` })).toEqual({ failed: 'EACCES' })
    expect(await tries(mallory, 'kill', { pid: process.pid })).toEqual({ failed: 'EPERM' })
  })

  test('tells its sandbox in its status', async () => {
    const { body } = await gateway.send(`/adapters/${alice}/status`, {
      method: 'GET',
      headers: { 'x-dev-roles': 'mcp.admin' },
    })

    expect(JSON.parse(body.toString())).toMatchObject({ sandbox: 'uid' })
  })

  test('calls the control plane as nobody, whatever its headers say', async () => {
    for (const headers of [{}, { 'x-dev-userid': 'alice', 'x-dev-roles': 'mcp.admin' }]) {
      const { done } = await tries(mallory, 'call', { url: `${gateway.origin}/adapters`, headers })

      expect(done).toMatchObject({
        status: 403,
        body: expect.stringContaining('caller_is_workload'),
      })
    }
    expect(await tries(mallory, 'curl', { url: `${gateway.origin}/adapters` })).toEqual({
      done: '403\n',
    })
    expect((await gateway.send('/adapters', { method: 'GET' })).status).toBe(200)
  })
})

describe('opening the sandbox', () => {
  const folder = mkdtempSync(join(tmpdir(), 'mcpgw-sandbox-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  const options: SandboxOptions = {
    sandbox: 'auto',
    homes: join(folder, 'homes'),
    users: { first: 700_000, count: 2 },
    dataDir: folder,
    program: process.execPath,
    path: '/usr/bin:/bin',
    log: pino({ level: 'silent' }),
  }

  test.skipIf(process.getuid?.() !== 0)('takes uid where the gateway is root', () => {
    expect(openSandbox(options).kind).toBe('uid')
  })

  test('takes none, and says why, where another user cannot read the program', () => {
    const lines: object[] = []
    const log = pino({}, { write: (line: string) => void lines.push(JSON.parse(line) as object) })
    const program = join(folder, 'unreadable')
    writeFileSync(program, '', { mode: 0o600 })

    expect(openSandbox({ ...options, program, log }).kind).toBe('none')
    expect(lines).toMatchObject([{ level: 40, sandbox: 'none', reason: expect.any(String) }])
  })

  test('fails where the configured sandbox cannot be had', () => {
    const program = join(folder, 'not-there')

    expect(() => openSandbox({ ...options, sandbox: 'uid', program })).toThrow(
      /^runtime\.sandbox 'uid' cannot be used: /,
    )
  })

  test.skipIf(process.getuid?.() !== 0)(
    'gives an owner the same user again after a restart',
    () => {
      const first = openSandbox(options).launch('one', 'x', []).user
      const second = openSandbox(options).launch('two', 'x', []).user

      expect(openSandbox(options).launch('one', 'x', []).user).toEqual(first)
      expect(second).not.toEqual(first)
      expect(() => openSandbox(options).launch('three', 'x', [])).toThrow(/sandboxUsers\.count/)
    },
  )
})
