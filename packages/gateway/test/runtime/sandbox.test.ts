import { spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { GatewayProcess, killAll, processesWith, skipNote } from '@mcp-gateway/testkit'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Workload } from '../../src/core/workload.ts'
import { openRuntime } from '../../src/runtime/open.ts'
import type { Sandbox, SandboxOptions } from '../../src/runtime/process/launch.ts'
import { openSandbox } from '../../src/runtime/process/sandbox/sandbox.ts'
import { processRuntime } from '../fixtures/process-runtime.ts'

const hostile = fileURLToPath(new URL('../fixtures/hostile-workload.js', import.meta.url))
const isRoot = process.getuid?.() === 0
const otherUser = 699_999
const works = (command: string, ...args: string[]): boolean =>
  spawnSync(command, args, {
    ...(isRoot ? { uid: otherUser, gid: otherUser } : {}),
    cwd: '/',
  }).status === 0
const readable = works(
  process.execPath,
  '-e',
  `require("fs").accessSync(${JSON.stringify(hostile)})`,
)
/** Where control groups exist, root can make and use them. */
const hasControlGroups =
  existsSync('/sys/fs/cgroup/cgroup.procs') || existsSync('/sys/fs/cgroup/unified')
const bwrap = works('bwrap', '--ro-bind', '/', '/', '--proc', '/proc', '--unshare-pid', 'true')

interface Outcome {
  readonly done?: unknown
  readonly failed?: string
}

interface Identity {
  readonly uid: number
  readonly groups: number[]
  readonly home: string
  readonly cwd: string
  readonly capabilities: string
}

const needs = 'needs root, a checkout that every user can read, or a bwrap that works'
/** Each sandbox, for a gateway that is root and one that is not. */
const places = [
  { sandbox: 'uid', root: true, possible: isRoot && readable },
  { sandbox: 'bwrap', root: true, possible: isRoot && readable && bwrap },
  { sandbox: 'bwrap', root: false, possible: readable && bwrap },
].map((place) => ({
  ...place,
  of: place.root ? 'root' : 'another user',
  note: skipNote(place.possible ? undefined : needs),
}))

/**
 * Makes files of the gateway in a folder that no sandbox hides by default. Only root can do this.
 */
function makeSecrets(folder: string, user: number): void {
  for (const each of ['', 'shared', 'keys']) mkdirSync(join(folder, each))
  const kubeconfig = 'users: [{ name: a, user: { client-key: keys/client.key } }]'
  const texts = { kubeconfig, 'keys/client.key': '', 'keys/linked': '', 'shared/token': '' }
  for (const [name, text] of Object.entries(texts)) {
    writeFileSync(join(folder, name), text, { mode: 0o600 })
    chownSync(join(folder, name), user, 0)
  }
  writeFileSync(join(folder, 'shared/notes'), 'for servers')
  symlinkSync(join(folder, 'keys/linked'), join(folder, 'shared/link'))
}

/** Gives `secrets.files` of these files. */
function secretsIn(folder: string): Readonly<Record<string, { readonly path: string }>> {
  return {
    shared: { path: join(folder, 'shared', 'token') },
    linked: { path: join(folder, 'shared', 'link') },
  }
}

describe.each(places)('a local server in $sandbox, of a gateway of $of,$note', (place) => {
  const { sandbox, root, possible } = place
  const ownUser = isRoot ? otherUser : (process.getuid?.() ?? 0)
  const folder = mkdtempSync(join(tmpdir(), 'mcpgw-hostile-'))
  // No sandbox hides this folder by default. Only root can make it.
  const auditFolder = isRoot ? `/var/lib/mcpgw-audit-${randomUUID()}` : undefined
  const secretFolder = isRoot ? `/var/lib/mcpgw-secrets-${randomUUID()}` : undefined
  const escaped = `escaped-${randomUUID()}`
  const lent = `lent-${randomUUID()}`
  let gateway: GatewayProcess
  beforeAll(async () => {
    if (!possible) return
    const descriptor = openSync(join(folder, lent), 'w')
    if (auditFolder !== undefined) {
      mkdirSync(auditFolder)
      chownSync(auditFolder, root ? 0 : otherUser, 0)
    }
    if (secretFolder !== undefined) makeSecrets(secretFolder, root ? 0 : otherUser)
    const path = auditFolder && join(auditFolder, 'audit.log')
    gateway = await GatewayProcess.start({
      inherits: [descriptor],
      ...(root || !isRoot ? {} : { user: otherUser }),
      environment: {
        HOME: folder,
        ONLY_FOR_THE_GATEWAY: 'of-the-gateway',
        MCPGW_RUNTIME_SANDBOX: sandbox,
      },
      config: {
        ...(path === undefined
          ? {}
          : { audit: { sinks: [{ type: 'file', path, maxBytes: 65_536 }] } }),
        ...(secretFolder === undefined ? {} : { secrets: { files: secretsIn(secretFolder) } }),
        runtime: {
          ...(secretFolder === undefined
            ? {}
            : {
                kubernetes: { kubeconfig: join(secretFolder, 'kubeconfig') },
                mounts: [{ path: join(secretFolder, 'shared') }],
              }),
          stopGraceSeconds: 1,
          health: { periodSeconds: 0.5, unreadyAfter: 100, restartAfter: 0 },
          ownerProcesses: 300,
          images: {
            hostile: { command: [process.execPath, hostile] },
            slow: { command: [process.execPath, hostile, 'slow'] },
          },
        },
      },
    })
  })
  afterAll(async () => {
    await gateway?.[Symbol.asyncDispose]()
    killAll(processesWith(escaped))
    if (gateway !== undefined) rmSync(`${gateway.dataDir}-homes`, { recursive: true, force: true })
    rmSync(folder, { recursive: true, force: true })
    for (const each of [auditFolder, secretFolder])
      if (each !== undefined) rmSync(each, { recursive: true, force: true })
  })
  const promise = test.skipIf(!possible)

  async function register(name: string, secret: string, variables: object = {}): Promise<string> {
    const { status } = await gateway.api(
      'POST',
      '/adapters',
      {
        name,
        imageName: 'hostile',
        imageVersion: '1',
        environmentVariables: { TOKEN: secret, ...variables },
      },
      { 'x-dev-userid': name.split('-')[0] ?? '', 'x-dev-roles': 'mcp.engineer' },
    )
    if (status !== 201) throw new Error(`The adapter was not registered: ${status}`)
    await untilReady(name)
    return name
  }

  async function untilReady(name: string): Promise<void> {
    for (const end = Date.now() + 20_000; ; await sleep(20)) {
      const status = await statusOf(name)
      if (status['readyReplicas'] === 1) return
      if (Date.now() > end) throw new Error(`It did not start: ${JSON.stringify(status)}`)
    }
  }

  async function statusOf(name: string): Promise<Record<string, unknown>> {
    const headers = { 'x-dev-roles': 'mcp.admin' }
    const { body } = await gateway.api('GET', `/adapters/${name}/status`, undefined, headers)
    return body as Record<string, unknown>
  }

  let alice: string
  let mallory: string
  beforeAll(async () => {
    if (!possible) return
    alice = await register('alice-notes', 'token-of-alice')
    mallory = await register('mallory-notes', 'token-of-mallory')
  })

  async function tries(name: string, attempt: string, details: object = {}): Promise<Outcome> {
    const { body } = await gateway.api(
      'POST',
      `/adapters/${name}/mcp`,
      { attempt, ...details },
      { 'x-dev-roles': 'mcp.admin' },
    )
    return (typeof body === 'string' ? JSON.parse(body) : body) as Outcome
  }

  async function identityOf(name: string): Promise<Identity> {
    return (await tries(name, 'identity')).done as Identity
  }

  promise('has a user of its own for each owner where the gateway is root', async () => {
    const [hers, his] = [await identityOf(alice), await identityOf(mallory)]

    expect(hers.groups).toEqual([hers.uid])
    if (root) {
      expect(hers.uid).toBeGreaterThanOrEqual(700_000)
      expect(his.uid).toBeGreaterThanOrEqual(700_000)
      expect(his.uid).not.toBe(hers.uid)
    } else expect(hers.uid).toBe(ownUser)
  })

  promise('has no capability, and a set-user-id program gives it none', async () => {
    const { capabilities, cwd, home } = await identityOf(mallory)

    expect(capabilities).toMatch(/^CapPrm:\t0+\nCapEff:\t0+\n.*NoNewPrivs:\t1$/s)
    expect(cwd).toBe(home)
  })

  promise('has no more processes than an owner may have', async () => {
    const forking = await register('forker-notes', 'token-of-forker')
    const { done } = await tries(forking, 'fork', { count: 400 })

    expect(done).toBeGreaterThan(0)
    expect(done).toBeLessThan(300)
  })

  promise('is ended before the gateway when memory runs out', async () => {
    expect(await tries(mallory, 'read', { path: '/proc/self/oom_score_adj' })).toEqual({
      done: '500\n',
    })
  })

  promise('fills its own temporary folders up to a bound', async () => {
    const { done } = await tries(mallory, 'room', { path: '/tmp' })
    if (sandbox === 'bwrap') expect(done).toBe(512 * 1024 * 1024)
    const own = await tries(mallory, 'write', { path: '/tmp/own' })
    expect(own.failed).toBeUndefined()
  })

  promise('reads neither the keys nor the store of the gateway, nor lists its folder', async () => {
    const outcome = await tries(mallory, 'list', { path: gateway.dataDir })
    expect([{ failed: 'EACCES' }, { failed: 'ENOENT' }, { done: [] }]).toContainEqual(outcome)

    const files = readdirSync(gateway.dataDir)
    expect(files).toContain('gateway.lock')
    for (const file of files) {
      const { failed } = await tries(mallory, 'read', { path: join(gateway.dataDir, file) })
      expect(failed).toMatch(/^(EACCES|ENOENT)$/)
    }
  })

  test.skipIf(!possible || secretFolder === undefined)(
    'a server reads no key that a kubeconfig names, and no secret in its folders',
    async () => {
      const files = ['kubeconfig', 'keys/client.key', 'keys/linked', 'shared/token', 'shared/link']
      for (const file of files) {
        const outcome = await tries(mallory, 'read', { path: join(secretFolder ?? '', file) })
        expect([{ failed: 'EACCES' }, { failed: 'ENOENT' }]).toContainEqual(outcome)
      }

      const notes = await tries(mallory, 'read', { path: join(secretFolder ?? '', 'shared/notes') })
      expect(notes).toEqual({ done: 'for servers' })
    },
  )

  test.skipIf(!possible || auditFolder === undefined)(
    'a server reads no audit log elsewhere, also when the full log is renamed',
    async () => {
      const path = auditFolder ?? ''
      const logs = () => readdirSync(path)
      // Each refusal makes a record.
      for (let calls = 0; calls < 400 && logs().length < 2; calls += 1)
        await gateway.api('DELETE', `/adapters/${alice}`, undefined, {
          'x-dev-userid': `nobody-${'x'.repeat(200)}-${calls}`,
          'x-dev-roles': 'none',
        })
      await expect.poll(() => logs().length).toBeGreaterThan(1)

      for (const file of logs())
        expect((await tries(mallory, 'read', { path: join(path, file) })).failed).toMatch(
          /^(EACCES|ENOENT)$/,
        )
    },
  )

  promise('uncovers nothing of the gateway by namespaces of its own', async () => {
    const { done } = await tries(mallory, 'uncover', { path: gateway.dataDir })

    expect(done).not.toContain('gateway.lock')
  })

  promise('sees no environment of the gateway or of a server of another owner', async () => {
    for (const text of ['token-of-alice', 'of-the-gateway'])
      expect(await tries(mallory, 'environments', { text })).toEqual({ done: [] })
  })

  promise('reaches its own home, and not that of another owner', async () => {
    const [hers, his] = [await identityOf(alice), await identityOf(mallory)]

    expect(his.home).not.toBe(hers.home)
    expect(await tries(mallory, 'write', { path: join(his.home, 'note') })).toEqual({ done: null })
    expect(await tries(mallory, 'read', { path: join(his.home, 'note') })).toEqual({ done: 'mine' })
    expect((await tries(mallory, 'list', { path: hers.home })).failed).toMatch(/^(EACCES|ENOENT)$/)
  })

  promise('writes into no folder of the program that runs it', async () => {
    expect((await tries(mallory, 'write', { path: `${hostile}.mine` })).failed).toMatch(
      /^(EACCES|EROFS)$/,
    )
  })

  promise('signals and traces no process of the gateway', async () => {
    const pids = [gateway.pid, process.pid]
    for (const pid of pids)
      expect((await tries(mallory, 'kill', { pid })).failed).toMatch(/^(EPERM|ESRCH)$/)
    for (const pid of pids)
      expect((await tries(mallory, 'memory', { pid })).failed).toMatch(/^(EACCES|ENOENT|EPERM)$/)
  })

  promise('is the first program that reads the loader variables of its adapter', async () => {
    const output = join(gateway.dataDir, 'loader')
    const variables = { LD_DEBUG: 'libs', LD_DEBUG_OUTPUT: output, BASH_ENV: '/none', ENV: 'mine' }
    const name = await register('mallory-loader', 'x', variables)

    expect(readdirSync(gateway.dataDir).filter((file) => file.startsWith('loader'))).toEqual([])
    for (const [variable, value] of Object.entries(variables))
      expect(await tries(name, 'environment', { name: variable })).toEqual({ done: value })
  })

  promise('gets no folder of the gateway by a link in its home', async () => {
    const name = await register('trudy-link', 'x')
    const { home } = await identityOf(name)
    const { uid, mode } = statSync(gateway.dataDir)
    await tries(name, 'link', { path: join(home, 'tmp'), target: gateway.dataDir })
    await register('trudy-again', 'x')

    expect(statSync(gateway.dataDir)).toMatchObject({ uid, mode })
  })

  promise('answers for no server of another owner whose port it takes', async () => {
    const headers = { 'x-dev-userid': 'alice', 'x-dev-roles': 'mcp.admin' }
    const slow = { name: 'alice-slow', imageName: 'slow', imageVersion: '1' }
    await gateway.api('POST', '/adapters', slow, headers)
    let port = ''
    await expect
      .poll(async () => {
        const logs = await gateway.api('GET', '/adapters/alice-slow/logs', undefined, headers)
        return (port = /port (\d+)/.exec(String(logs.body))?.[1] ?? '')
      })
      .not.toBe('')
    expect(await tries(mallory, 'take', { port })).toEqual({ done: null })

    await untilReady('alice-slow')
    expect((await identityOf('alice-slow')).home).toBe((await identityOf(alice)).home)
  })

  promise('answers for no server of another owner that has left its port', async () => {
    const name = await register('alice-left', 'x')
    const port = (await tries(name, 'environment', { name: 'PORT' })).done
    await tries(name, 'leave')
    await expect.poll(() => tries(mallory, 'take', { port })).toEqual({ done: null })
    // By then no connection to the server itself is left.
    await sleep(200)

    await expect
      .poll(() => tries(name, 'identity').catch(() => undefined), { timeout: 10_000 })
      .toMatchObject({ done: { home: (await identityOf(alice)).home } })
  })

  promise('has no descriptor of the one who started the gateway', async () => {
    const { done } = await tries(mallory, 'descriptors')

    expect(done).toContain('/dev/null')
    expect(String(done)).not.toContain(lent)
  })

  promise('tells its sandbox in its status, and the log says which one it is', async () => {
    expect(await statusOf(alice)).toMatchObject({ sandbox })
    expect(gateway.output).toContain('local servers run in a sandbox')
  })

  promise('calls the control plane as nobody, whatever its headers say', async () => {
    const url = `${gateway.origin}/adapters`
    for (const headers of [{}, { 'x-dev-userid': 'alice', 'x-dev-roles': 'mcp.admin' }]) {
      const { done } = await tries(mallory, 'call', { url, headers })
      expect(done).toMatchObject({
        status: 403,
        body: expect.stringContaining('caller_is_workload'),
      })
    }
    expect(await tries(mallory, 'curl', { url })).toEqual({ done: '403\n' })

    expect((await gateway.api('GET', '/adapters')).status).toBe(200)
  })

  promise('reads its own environment and the files of the machine', async () => {
    expect(await tries(alice, 'environment', { name: 'TOKEN' })).toEqual({
      done: 'token-of-alice',
    })
    expect(await tries(alice, 'read', { path: '/etc/hostname' })).toHaveProperty('done')
    expect(await tries(alice, 'write', { path: '/tmp/note-of-alice' })).toEqual({ done: null })
  })

  const withoutGroups = sandbox === 'uid' && !hasControlGroups
  const escaping = test.skipIf(!possible || withoutGroups)
  const escapeNote = skipNote(withoutGroups ? 'needs control groups' : undefined)

  escaping.each(['DELETE', 'SIGKILL'])(
    `leaves nothing behind at %s of its adapter or gateway, however it escapes${escapeNote}`,
    async (end) => {
      const name = await register(`eve-${end.toLowerCase()}`, 'x')
      const tag = `${escaped}-${end}`
      await tries(name, 'escape', { tag })
      await expect.poll(() => processesWith(tag).length).toBeGreaterThan(0)

      if (end === 'DELETE') {
        const headers = { 'x-dev-roles': 'mcp.admin' }
        await gateway.api('DELETE', `/adapters/${name}`, undefined, headers)
      } else await gateway.end('SIGKILL')

      await expect.poll(() => processesWith(tag), { timeout: 10_000 }).toEqual([])
      if (end === 'SIGKILL') await gateway.startAgain()
    },
  )
})

test.skipIf(!isRoot || !readable)(
  'a server restarts as the user of its new owner when it changes hands',
  async () => {
    const tag = `owned-${randomUUID()}`
    const options = processRuntime(tag, { sandbox: 'uid' })
    const runtime = await openRuntime(options)
    const { signal } = new AbortController()
    const owned = (owner: string): Workload => ({
      kind: 'adapter',
      name: 'given',
      uid: 'u1',
      generation: 1,
      owner,
      image: { name: 'good', version: '1' },
      environment: {},
      replicas: 1,
      useWorkloadIdentity: false,
    })
    const readyAs = async (): Promise<number | undefined> => {
      const status = await runtime.status('given')
      if (status?.replicas[0]?.phase !== 'ready') return undefined
      const [pid] = processesWith(tag)
      return pid === undefined ? undefined : statSync(`/proc/${pid}`).uid
    }
    try {
      await runtime.apply(owned('["development","alice"]'), signal)
      await expect.poll(readyAs).toBeGreaterThan(0)
      const first = await readyAs()
      await runtime.apply(owned('["development","bob"]'), signal)
      await expect.poll(async () => (await readyAs()) ?? first).not.toBe(first)
      expect(await readyAs()).toBeGreaterThan(0)
    } finally {
      await runtime[Symbol.asyncDispose]()
      options.cleanUp()
    }
  },
)

describe('opening the sandbox', () => {
  const bwrapNote = skipNote(bwrap ? undefined : 'needs a bwrap that works')
  const rootNote = skipNote(isRoot ? undefined : 'needs root')
  const folder = mkdtempSync(join(tmpdir(), 'mcpgw-sandbox-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  const options: SandboxOptions = {
    sandbox: 'auto',
    homes: join(folder, 'homes'),
    users: { first: 700_000, count: 2 },
    processes: 300,
    mounts: [],
    dataDir: folder,
    privateFiles: [],
    privateFolders: [],
    readableFiles: [],
    userHome: undefined,
    program: process.execPath,
    programs: [],
    path: '/usr/bin:/bin',
    log: pino({ level: 'silent' }),
  }
  const withoutBwrap = { ...options, path: folder }

  test.skipIf(!bwrap)(`the gateway chooses bwrap where it works${bwrapNote}`, () => {
    expect(openSandbox(options).kind).toBe('bwrap')
  })

  test.skipIf(!isRoot)(`the gateway chooses uid as root without bwrap${rootNote}`, () => {
    expect(openSandbox(withoutBwrap).kind).toBe('uid')
  })

  test('the gateway chooses none, and says why, where users cannot read the program', () => {
    const lines: object[] = []
    const log = pino({}, { write: (line: string) => void lines.push(JSON.parse(line) as object) })
    const program = join(folder, 'unreadable')
    writeFileSync(program, '', { mode: 0o600 })

    expect(openSandbox({ ...withoutBwrap, program, log }).kind).toBe('none')
    expect(lines).toMatchObject([
      { level: 40, sandbox: 'none', reason: expect.stringMatching(/^bwrap: .* uid: /) },
    ])
  })

  test.each(['uid', 'bwrap'] as const)(
    'the gateway fails where the configured %s does not work',
    (sandbox) => {
      const program = join(folder, 'not-there')

      expect(() => openSandbox({ ...withoutBwrap, sandbox, program })).toThrow(
        new RegExp(`^runtime\\.sandbox '${sandbox}' cannot be used: `),
      )
    },
  )

  test.skipIf(!bwrap)(
    `the gateway fails where bwrap exists and cannot start a program${bwrapNote}`,
    () => {
      const program = join(folder, 'not-there')

      expect(() => openSandbox({ ...options, sandbox: 'bwrap', program })).toThrow(
        /^runtime\.sandbox 'bwrap' cannot be used: bwrap could not start a program that reads /,
      )
    },
  )

  test.skipIf(!bwrap)(
    `the folder of the audit log exists before a server could see it${bwrapNote}`,
    () => {
      const logs = join(folder, 'logs', 'of-the-gateway')
      openSandbox({ ...options, sandbox: 'bwrap', privateFolders: [logs] })

      expect(statSync(logs).mode & 0o777).toBe(0o700)
    },
  )

  test.skipIf(!isRoot || !bwrap || !readable)(
    `bwrap does not open where it cannot hide an audit log${rootNote}`,
    async () => {
      const audit = { sinks: [{ type: 'file', path: '/usr/audit.log' }] }
      const start = GatewayProcess.start({
        user: otherUser,
        environment: { MCPGW_RUNTIME_SANDBOX: 'bwrap' },
        config: { audit },
      })

      await expect(start).rejects.toThrow(/Keep the audit log in a folder of its own/)
    },
  )

  test.skipIf(!isRoot)(`an owner gets the same user again after a restart${rootNote}`, () => {
    const userOf = (sandbox: Sandbox, owner: string) => {
      const start = { owner, command: process.execPath, args: [], environment: {}, marks: {} }
      return sandbox
        .launch(start)
        .args.join(' ')
        .match(/--reuid ([0-9]+)/)?.[1]
    }
    const uid = () => openSandbox({ ...options, sandbox: 'uid' })
    const first = userOf(uid(), 'one')
    const second = userOf(uid(), 'two')

    expect(first).toBeDefined()
    expect(userOf(uid(), 'one')).toEqual(first)
    expect(second).not.toEqual(first)
    expect(() => userOf(uid(), 'three')).toThrow(/sandboxUsers\.count/)
  })
})
