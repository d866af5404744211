import { randomUUID } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { killAll, processesWith } from '@mcp-gateway/testkit'
import { pino } from 'pino'
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { WorkloadStatus, Workload } from '../../src/core/workload.ts'
import { openRuntime } from '../../src/runtime/open.ts'
import { describeRuntime } from '../contracts/runtime-contract.ts'
import type { Runtime } from '../../src/runtime/runtime.ts'
import { processRuntime } from '../fixtures/process-runtime.ts'

const contract = processRuntime(`contract-${randomUUID()}`, { sandbox: 'auto' })
afterAll(() => contract.cleanUp())
describeRuntime('process', {
  open: () => openRuntime(contract),
  images: { server: 'good', failing: 'failing', silent: 'silent' },
  timeoutMs: 30_000,
})

describe('replicas as processes', () => {
  let options: ReturnType<typeof processRuntime>
  let runtime: Runtime
  let tag = ''
  const { signal } = new AbortController()
  beforeEach(async () => {
    tag = `tag-${randomUUID()}`
    options = processRuntime(tag, {
      sandbox: 'none',
      startTimeoutSeconds: 30,
      images: {
        missing: { command: ['/no/such/program'] },
        valued: {
          command: [
            process.execPath,
            join(import.meta.dirname, '../fixtures/server.js'),
            'good',
            tag,
          ],
          environment: { OWN: 'operator' },
        },
        unmarked: {
          command: [
            '/bin/sh',
            '-c',
            'exec env -i HOST=$HOST PORT=$PORT "$0" "$@"',
            process.execPath,
            join(import.meta.dirname, '../fixtures/server.js'),
            'good',
            tag,
          ],
        },
        flooding: {
          command: [
            '/bin/sh',
            '-c',
            'seq 1 10000000000 & exec "$0" "$@"',
            process.execPath,
            join(import.meta.dirname, '../fixtures/server.js'),
            'good',
            tag,
          ],
        },
        'not-executable': { command: [join(import.meta.dirname, '../fixtures/server.js')] },
        homeless: { command: [process.execPath], workingDirectory: '/no/such/folder' },
        'bad-argument': { command: [process.execPath, 'a\0b'] },
      },
    })
    runtime = await openRuntime(options)
  })
  afterEach(async () => {
    await runtime[Symbol.asyncDispose]()
    expect(processesWith(tag)).toEqual([])
    options.cleanUp()
  })

  const workload = (image: string, changes: Partial<Workload> = {}): Workload => ({
    kind: 'adapter',
    name: 'w',
    uid: 'uid',
    generation: 1,
    image: { name: image, version: '1' },
    environment: {},
    replicas: 1,
    owner: '["development","alice"]',
    useWorkloadIdentity: false,
    ...changes,
  })
  const openAnew = async (changes: Partial<typeof options.settings>): Promise<void> => {
    await runtime[Symbol.asyncDispose]()
    runtime = await openRuntime({ ...options, settings: { ...options.settings, ...changes } })
  }
  /** The runtime waits a short time for a replica to listen. */
  const openImpatient = (): Promise<void> => openAnew({ startTimeoutSeconds: 2 })
  const untilStatus = async (
    wanted: (status: WorkloadStatus) => boolean,
  ): Promise<WorkloadStatus> => {
    for (const end = Date.now() + 30_000; ;) {
      const status = await runtime.status('w')
      if (status !== undefined && wanted(status)) return status
      if (Date.now() > end)
        throw new Error(`The status did not come to what was wanted: ${JSON.stringify(status)}`)
      await runtime.directory.changed('w', AbortSignal.timeout(100))
    }
  }
  const allReady = ({ replicas, desiredReplicas }: WorkloadStatus): boolean =>
    replicas.length === desiredReplicas && replicas.every(({ phase }) => phase === 'ready')

  test.each(['no-such-image', 'constructor'])(
    'an unknown image is refused, and the status says which images exist: %s',
    async (image) => {
      await runtime.apply(workload(image), signal)
      const { conditions } = await untilStatus((each) => each.conditions.length > 0)
      expect(conditions.find(({ type }) => type === 'Accepted')).toMatchObject({
        status: 'False',
        reason: 'ImageNotFound',
        message: expect.stringContaining('good'),
      })
    },
  )

  test('a workload goes on after those who hear of its replicas have failed', async () => {
    let heard = 0
    const stopListening = runtime.directory.onChange(() => {
      heard += 1
      if (heard > 1) throw new Error('The listener is broken.')
    })
    await runtime.apply(workload('good'), signal)
    await untilStatus(({ replicas }) => replicas.length === 1 && replicas[0]?.phase === 'ready')
    expect(processesWith(tag)).toHaveLength(1)

    stopListening()
    await runtime.apply(workload('good', { replicas: 2 }), signal)
    await untilStatus(allReady)
    expect(heard).toBeGreaterThan(3)
  })

  test('the gateway slows a server that writes without end, and the server works', async () => {
    await runtime.apply(workload('flooding'), signal)
    await untilStatus(allReady)
    await sleep(3000)
    const query = { replica: 0, tail: 1, follow: false, previous: false }
    const lines: string[] = []
    for await (const line of (await runtime.logs(workload('flooding'), query, signal)) ?? [])
      lines.push(line)

    expect(Number(lines[0])).toBeGreaterThan(10_000)
    expect(Number(lines[0])).toBeLessThan(500_000)
    await untilStatus(allReady)
  })

  test.each([
    ['missing', 'CommandNotFound', /'program' does not exist.* '\/no\/such\/program'/],
    ['not-executable', 'CommandNotExecutable', /may not be executed/],
    ['homeless', 'WorkingDirectoryNotFound', /does not exist.* '\/no\/such\/folder'/],
    ['bad-argument', 'StartFailed', /could not be started.*null bytes/],
    [
      'failing',
      'Exited',
      /exited with code 3 before it listened on its PORT.*It said last: out of luck/,
    ],
  ])('a replica of image %s fails with the reason %s', async (image, reason, message) => {
    await runtime.apply(workload(image), signal)
    const { conditions, replicas } = await untilStatus(
      (each) => each.replicas[0]?.phase === 'backoff',
    )
    const ready = conditions.find(({ type }) => type === 'Ready')
    expect(ready).toMatchObject({
      status: 'False',
      reason,
    })
    expect(`${ready?.message} ${ready?.output} ${ready?.internals}`).toMatch(message)
    // Text of the server stands apart, because it may hold secrets. Paths of the machine do too.
    expect(ready?.message).not.toMatch(/out of luck|null bytes|\/no\/such/)
    expect(ready?.output ?? '').not.toMatch(/\/no\/such/)
    expect(replicas[0]).toMatchObject({ reason, lastExit: { message: expect.any(String) } })
  })

  test('the status says that a replica does not listen in time', async () => {
    await openImpatient()
    await runtime.apply(workload('silent'), signal)
    const { replicas } = await untilStatus((each) => each.replicas[0]?.phase === 'backoff')
    expect(replicas[0]).toMatchObject({
      reason: 'StartTimeout',
      message: expect.stringMatching(/did not listen on its PORT within 2 s/),
      lastExit: { message: expect.any(String) },
    })
  })

  test('the status reports an environment that is too big, and the gateway lives', async () => {
    await runtime.apply(workload('good', { environment: { BIG: 'x'.repeat(3_000_000) } }), signal)
    const { replicas } = await untilStatus((each) => each.replicas[0]?.phase === 'backoff')
    expect(replicas[0]).toMatchObject({
      reason: 'StartFailed',
      message: expect.stringMatching(/E2BIG/),
    })
  })

  test('the reason of a failure stands until the replica is ready again', async () => {
    await openImpatient()
    await runtime.apply(workload('silent'), signal)
    const { conditions } = await untilStatus(
      ({ replicas: [replica] }) => replica?.phase === 'starting' && replica.restarts > 0,
    )
    expect(conditions.find(({ type }) => type === 'Ready')).toMatchObject({
      status: 'False',
      reason: 'StartTimeout',
    })
  })

  test('a replica whose port was taken in between gets another one at once', async () => {
    await runtime.apply(workload('taken'), signal)
    const { replicas } = await untilStatus(allReady)
    expect(replicas[0]).toMatchObject({ restarts: 1, lastExit: { code: 1 } })
  })

  test('a server that ignores SIGTERM ends with all its descendants in every case', async () => {
    await runtime.apply(workload('stubborn', { replicas: 2 }), signal)
    await untilStatus(allReady)
    await expect.poll(() => processesWith(tag).length).toBe(6)
    const before = processesWith(tag)
    await runtime.apply(
      workload('stubborn', { generation: 2, environment: { A: 'b' }, replicas: 1 }),
      signal,
    )
    await untilStatus((status) => allReady(status) && status.replicas[0]?.generation === 2)
    await expect.poll(() => processesWith(tag).length).toBe(3)
    expect(processesWith(tag).filter((pid) => before.includes(pid))).toEqual([])
    await runtime.remove({ name: 'w', uid: 'uid' }, signal)
    expect(processesWith(tag)).toEqual([])
  })

  test('a server that has cleaned its environment ends when it is removed', async () => {
    await runtime.apply(workload('unmarked'), signal)
    await untilStatus(allReady)
    expect(processesWith(tag)).toHaveLength(1)

    await runtime.remove({ name: 'w', uid: 'uid' }, signal)

    expect(processesWith(tag)).toEqual([])
  })

  test('a killed server does not leave its grandchildren behind', async () => {
    await runtime.apply(workload('stubborn'), signal)
    await untilStatus(allReady)
    await expect.poll(() => processesWith(tag).length).toBe(3)
    const before = processesWith(tag)
    process.kill(Math.min(...before), 'SIGKILL')
    const { replicas } = await untilStatus(
      (status) => allReady(status) && status.replicas[0]?.restarts === 1,
    )
    expect(replicas[0]?.lastExit).toMatchObject({ signal: 'SIGKILL' })
    expect(processesWith(tag).filter((pid) => before.includes(pid))).toEqual([])
  })

  test('a replica is out of use from the moment that it is to stop', async () => {
    await runtime.apply(workload('stubborn'), signal)
    await untilStatus(allReady)
    const removing = runtime.remove({ name: 'w', uid: 'uid' }, signal)
    expect(runtime.directory.get('w')?.replicas.map(({ phase }) => phase)).toEqual(['terminating'])
    expect(processesWith(tag).length).toBeGreaterThan(0)
    await removing
  })

  test('many replicas are told to stop at the same time', async ({ onTestFinished }) => {
    const killOurs = (): void => killAll(processesWith(tag))
    onTestFinished(killOurs)
    // No test can wait for the end of this grace.
    await openAnew({ stopGraceSeconds: 3600 })
    const told = join(options.dataDir, 'told')
    writeFileSync(told, '')
    await runtime.apply(workload('stubborn', { replicas: 5, environment: { TOLD: told } }), signal)
    await untilStatus(allReady)

    const stopping = runtime[Symbol.asyncDispose]()
    await expect
      .poll(() => readFileSync(told, 'utf8').split('\n').filter(Boolean).toSorted())
      .toEqual(['w-0', 'w-1', 'w-2', 'w-3', 'w-4'])
    expect(runtime.directory.get('w')?.replicas.map(({ phase }) => phase)).toEqual(
      Array(5).fill('terminating'),
    )
    killOurs()
    await stopping
    expect(processesWith(tag)).toEqual([])
  })

  test('a server gets of the gateway’s environment only what finds programs', async () => {
    const secret = processRuntime(tag)
    await using other = await openRuntime({
      ...secret,
      environment: {
        ...process.env,
        MCPGW_SESSION_KEYS: 'secret',
        DATABASE_URL: 'secret',
        HTTPS_PROXY: 'http://proxy',
      },
    })
    await other.apply(
      workload('good', { environment: { MCPGW_OWNER: 'nobody', MCPGW_DATA: 'none' } }),
      signal,
    )
    while (other.directory.get('w')?.replicas[0]?.phase !== 'ready')
      await other.directory.changed('w', signal)
    const { environment } = (await (
      await fetch(other.directory.get('w')?.replicas[0]?.origin ?? '')
    ).json()) as {
      environment: Record<string, string>
    }
    expect(JSON.stringify(environment)).not.toContain('secret')
    expect(environment).toMatchObject({
      PATH: process.env['PATH'],
      HTTPS_PROXY: 'http://proxy',
      HOST: '127.0.0.1',
      MCPGW_REPLICA_NAME: 'w-0',
    })
    // A workload cannot hide from the warden.
    expect(environment['MCPGW_OWNER']).toMatch(/^[0-9a-f]{32}$/)
    expect(environment['MCPGW_DATA']).toMatch(/^[0-9a-f]{32}$/)

    secret.cleanUp()
  })

  test('a stopped replica leaves the rotation, and is restarted when it stays so', async () => {
    await openAnew({
      health: { periodSeconds: 0.1, timeoutSeconds: 1, unreadyAfter: 1, restartAfter: 4 },
    })
    await runtime.apply(workload('good'), signal)
    const [before] = (await untilStatus(allReady)).replicas
    const [pid = 0] = processesWith(tag)
    process.kill(pid, 'SIGSTOP')
    const lost = await untilStatus((status) => status.replicas[0]?.phase === 'lost')
    expect(lost.replicas[0]).toMatchObject({ reason: 'NotResponding', restarts: 0 })
    expect(lost.conditions.find(({ type }) => type === 'Ready')).toMatchObject({
      status: 'False',
      reason: 'NotResponding',
    })
    const again = await untilStatus(
      (status) => status.replicas[0]?.restarts === 1 && allReady(status),
    )
    expect(again.replicas[0]?.startedAt).toBeGreaterThan(before?.startedAt ?? Infinity)
    expect(again.replicas[0]?.lastExit?.signal).toBe('SIGKILL')
    expect(processesWith(tag)).not.toContain(pid)
  })

  test('a replica that continues after a stop returns to rotation without a restart', async () => {
    await openAnew({
      health: { periodSeconds: 0.1, timeoutSeconds: 0.5, unreadyAfter: 2, restartAfter: 0 },
    })
    await runtime.apply(workload('good'), signal)
    await untilStatus(allReady)
    const [pid = 0] = processesWith(tag)
    process.kill(pid, 'SIGSTOP')
    await untilStatus((status) => status.replicas[0]?.phase === 'lost')
    process.kill(pid, 'SIGCONT')
    const { replicas } = await untilStatus(allReady)
    expect(replicas[0]?.restarts).toBe(0)
    expect(processesWith(tag)).toEqual([pid])
  })

  test('a replica with a blocked event loop leaves the rotation without a restart', async () => {
    await openAnew({
      health: { periodSeconds: 0.1, timeoutSeconds: 0.5, unreadyAfter: 1, restartAfter: 60 },
    })
    await runtime.apply(workload('good'), signal)
    const { replicas } = await untilStatus(allReady)
    const [pid = 0] = processesWith(tag)
    const calling = fetch(`${replicas[0]?.origin}/block`, { method: 'POST', body: '3000' })
    await untilStatus((status) => status.replicas[0]?.phase === 'lost')
    // The replica keeps the sessions that live on it.
    expect(runtime.directory.get('w')?.replicas[0]?.origin).toBe(replicas[0]?.origin)
    expect((await calling).status).toBe(200)
    expect((await untilStatus(allReady)).replicas[0]?.restarts).toBe(0)
    expect(processesWith(tag)).toEqual([pid])
  })

  test('the defaults neither end nor drop a server that is busy for half a minute', () => {
    const { periodSeconds, timeoutSeconds, unreadyAfter, restartAfter } = options.settings.health
    // A failed probe takes the period and the timeout.
    const eachSeconds = periodSeconds + timeoutSeconds
    expect((unreadyAfter - 1) * eachSeconds).toBeGreaterThanOrEqual(30)
    expect((restartAfter - 1) * eachSeconds).toBeGreaterThanOrEqual(300)
  })

  test('the pause before a restart is the shortest again after a long good run', async () => {
    const pauses: number[] = []
    const log = pino(
      { level: 'warn' },
      {
        write: (line: string) => void pauses.push((JSON.parse(line) as { waitMs: number }).waitMs),
      },
    )
    await runtime[Symbol.asyncDispose]()
    const backoff = { firstSeconds: 0.05, maxSeconds: 30, resetAfterSeconds: 0.2 }
    runtime = await openRuntime({ ...options, log, settings: { ...options.settings, backoff } })
    await runtime.apply(workload('good'), signal)
    for (let restarts = 0; restarts < 4; restarts += 1) {
      const { replicas } = await untilStatus(
        (status) => status.replicas[0]?.restarts === restarts && allReady(status),
      )
      await new Promise((resolve) => setTimeout(resolve, 300))
      const crash = fetch(`${replicas[0]?.origin}/crash`, { method: 'POST', body: 'x' })
      await crash.catch(() => undefined)
    }
    await untilStatus((status) => status.replicas[0]?.restarts === 4 && allReady(status))
    // Without the reset the fourth would be 200 ms or more.
    expect(pauses).toHaveLength(4)
    expect(Math.max(...pauses)).toBeLessThanOrEqual(50)
  })

  test('a replica whose port is taken starts with another one at once', async () => {
    await openAnew({
      backoff: { firstSeconds: 600, maxSeconds: 600, resetAfterSeconds: 30 },
    })
    await runtime.apply(workload('taken'), signal)
    const { replicas } = await untilStatus(allReady)
    expect(replicas[0]).toMatchObject({ restarts: 1, lastExit: { code: 1 } })
  })

  test('a data folder is free for another gateway once the first has ended', async () => {
    const lock = join(options.dataDir, 'gateway.lock')
    expect(existsSync(lock)).toBe(true)
    await runtime[Symbol.asyncDispose]()
    expect(existsSync(lock)).toBe(false)
  })

  test('the operator’s own values outrank those of a workload', async () => {
    await openAnew({})
    await runtime.apply(
      workload('valued', { environment: { OWN: 'caller', OTHER: 'caller' } }),
      signal,
    )
    const { replicas } = await untilStatus(allReady)
    const { environment } = (await (await fetch(replicas[0]?.origin ?? '')).json()) as {
      environment: Record<string, string>
    }
    expect(environment).toMatchObject({ OWN: 'operator', OTHER: 'caller' })
  })

  test('a change of mind in the middle of an update ends at the last word', async () => {
    await runtime.apply(workload('good', { replicas: 3 }), signal)
    for (let generation = 2; generation < 12; generation += 1)
      await runtime.apply(
        workload('good', {
          generation,
          environment: { N: String(generation) },
          replicas: 1 + (generation % 3),
        }),
        signal,
      )
    const last = await untilStatus(
      (status) => allReady(status) && status.replicas.every(({ generation }) => generation === 11),
    )
    expect(last.replicas).toHaveLength(3)
    for (const { origin } of last.replicas) {
      const { environment } = (await (await fetch(origin ?? '')).json()) as {
        environment: Record<string, string>
      }
      expect(environment['N']).toBe('11')
    }
  })

  test('a second gateway on one data folder is refused, and the first continues', async () => {
    await runtime.apply(workload('good'), signal)
    await untilStatus(allReady)
    writeFileSync(
      join(options.dataDir, 'gateway.lock'),
      `${process.ppid} ${startTime(process.ppid)}\n`,
    )
    await expect(openRuntime(options)).rejects.toThrow(
      /Another gateway \(process \d+\) uses the data folder/,
    )
    expect(processesWith(tag)).toHaveLength(1)
  })
})

function startTime(pid: number): string {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? ''
}
