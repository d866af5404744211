import { randomUUID } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { DirectoryEntry } from '../../src/core/directories/directory.ts'
import type { Condition, Workload, WorkloadStatus } from '../../src/core/workload.ts'
import type { LogQuery, Runtime } from '../../src/runtime/runtime.ts'

/** Images that a backend offers to the suite. */
export interface ContractImages {
  /**
   * Serves HTTP: `GET /` answers `{replica, environment}` as JSON, `POST /say` writes the body as a
   * line of output, `POST /crash` writes the body to
   * standard error and exits with code 3.
   */
  readonly server: string
  /** Writes `out of luck` to standard error and exits with code 3 before it listens. */
  readonly failing: string
  /** Runs, and never listens. */
  readonly silent: string
}

export interface RuntimeBackend {
  open(): Promise<Runtime>
  readonly images: ContractImages
  /** The limit of every wait of the suite. */
  readonly timeoutMs: number
}

/** The duties of every runtime, shown on real workloads. */
export function describeRuntime(name: string, backend: RuntimeBackend): void {
  const { images, timeoutMs } = backend

  describe(`the runtime ${name}`, { timeout: timeoutMs * 3 }, () => {
    let runtime: Runtime
    let workload: Workload
    const { signal } = new AbortController()
    beforeEach(async () => {
      runtime = await backend.open()
      workload = {
        kind: 'adapter',
        name: `w-${randomUUID().slice(0, 8)}`,
        uid: randomUUID(),
        generation: 1,
        image: { name: images.server, version: '1.0.0' },
        environment: { GREETING: 'hello' },
        replicas: 1,
        owner: '["development","alice"]',
        useWorkloadIdentity: false,
      }
    })
    afterEach(async () => {
      for (const ref of await runtime.list(signal)) await runtime.remove(ref, signal)
      await runtime[Symbol.asyncDispose]()
    })

    const apply = async (changes: Partial<Workload> = {}): Promise<void> => {
      workload = { ...workload, ...changes }
      await runtime.apply(workload, signal)
    }
    const entry = (): DirectoryEntry | undefined => runtime.directory.get(workload.name)
    const condition = (
      status: WorkloadStatus | undefined,
      type: Condition['type'],
    ): Condition | undefined => status?.conditions.find((each) => each.type === type)
    const until = async (wanted: (status: WorkloadStatus) => boolean): Promise<WorkloadStatus> => {
      const end = performance.now() + timeoutMs
      for (;;) {
        const status = await runtime.status(workload.name)
        if (status !== undefined && wanted(status)) return status
        if (performance.now() > end)
          throw new Error(`The status did not come to what was wanted: ${JSON.stringify(status)}`)
        await runtime.directory.changed(workload.name, AbortSignal.timeout(50))
      }
    }
    const untilReady = (): Promise<WorkloadStatus> =>
      until(
        (status) =>
          status.observedGeneration === workload.generation &&
          condition(status, 'Ready')?.status === 'True',
      )
    const call = async (index: number, path = '/', body?: string): Promise<unknown> => {
      const origin = entry()?.replicas.find((replica) => replica.index === index)?.origin
      const response = await fetch(
        `${origin}${path}`,
        body === undefined ? {} : { method: 'POST', body },
      )
      return path === '/' ? response.json() : response.text()
    }
    const crash = (index: number): Promise<unknown> =>
      call(index, '/crash', 'out of luck').catch(() => undefined)
    const instances = (): Record<string, number | undefined> =>
      Object.fromEntries(
        entry()?.replicas.map((replica) => [replica.name, replica.startedAt]) ?? [],
      )
    /** Gives the smallest number of ready replicas during the work. */
    const fewestReadyWhile = async (work: () => Promise<void>): Promise<number> => {
      let fewest = Number.POSITIVE_INFINITY
      const watching = new AbortController()
      const watcher = (async () => {
        while (!watching.signal.aborted) {
          fewest = Math.min(
            fewest,
            entry()?.replicas.filter(({ phase }) => phase === 'ready').length ?? 0,
          )
          await runtime.directory.changed(workload.name, watching.signal)
        }
      })()
      await work().finally(() => watching.abort())
      await watcher
      return fewest
    }
    const lines = async (
      query: Partial<LogQuery> = {},
      uid = workload.uid,
    ): Promise<string[] | undefined> => {
      const found = await runtime.logs(
        { name: workload.name, uid },
        { replica: 0, tail: 100, follow: false, previous: false, ...query },
        AbortSignal.timeout(timeoutMs),
      )
      if (found === undefined) return undefined
      const result: string[] = []
      for await (const line of found) result.push(line)
      return result
    }

    test('a writer is given a term, which ends when it is told to stop', async () => {
      const stop = new AbortController()
      const terms: AbortSignal[] = []
      for await (const term of runtime.terms(
        stop.signal,
        () => undefined,
        () => new Map(),
      )) {
        expect(term.aborted).toBe(false)
        terms.push(term)
        stop.abort()
      }
      expect(terms.map(({ aborted }) => aborted)).toEqual([true])
    })

    test('a workload gets ready under its own name, with its environment and logs', async () => {
      await apply({ replicas: 2 })
      const status = await untilReady()
      expect(status).toMatchObject({
        uid: workload.uid,
        observedGeneration: 1,
        desiredReplicas: 2,
        image: `${images.server}:1.0.0`,
      })
      expect(
        status.replicas.map((replica) => [replica.name, replica.phase, replica.generation]),
      ).toEqual([
        [`${workload.name}-0`, 'ready', 1],
        [`${workload.name}-1`, 'ready', 1],
      ])
      expect(condition(status, 'Accepted')?.status).toBe('True')
      expect(condition(status, 'Progressing')?.status).toBe('False')
      expect(entry()).toMatchObject({ uid: workload.uid, desiredReplicas: 2 })
      for (const index of [0, 1]) {
        expect(await call(index)).toMatchObject({
          replica: `${workload.name}-${index}`,
          environment: { GREETING: 'hello' },
        })
        await call(index, '/say', `from ${index}`)
      }
      for (const replica of [0, 1])
        await expect.poll(() => lines({ replica, tail: 1 })).toEqual([`from ${replica}`])
    })

    test('applying a workload that runs unchanged restarts nothing', async () => {
      await apply({ replicas: 2 })
      await untilReady()
      const before = instances()
      await apply()
      await apply({ generation: 2, environment: { ...workload.environment } })
      expect((await untilReady()).replicas.map(({ generation }) => generation)).toEqual([2, 2])
      expect(instances()).toEqual(before)
    })

    test('scaling touches only the replicas that come and go', async () => {
      await apply()
      await untilReady()
      const [first] = Object.entries(instances())
      await apply({ generation: 2, replicas: 3 })
      await untilReady()
      expect(Object.keys(instances())).toHaveLength(3)
      const middle = Object.entries(instances())[1]
      await apply({ generation: 3, replicas: 2 })
      await until((status) => status.replicas.length === 2 && status.observedGeneration === 3)
      expect(Object.entries(instances())).toEqual([first, middle])
    })

    test('a workload with no replicas is stopped, and the status says so', async () => {
      await apply()
      await untilReady()
      await apply({ generation: 2, replicas: 0 })
      const status = await until(({ replicas }) => replicas.length === 0)
      expect(condition(status, 'Ready')).toMatchObject({ status: 'False', reason: 'Stopped' })
      expect(entry()).toMatchObject({ desiredReplicas: 0, replicas: [] })
      await apply({ generation: 3, replicas: 1 })
      await untilReady()
    })

    test('a withheld workload does not run, says why, and runs once it is released', async () => {
      await apply()
      await untilReady()
      const whole = workload
      const withheld = { reason: 'SecretMissing', message: 'There is no secret.' }
      await apply({ environment: {}, withheld })
      const status = await until(({ replicas }) => replicas.length === 0)
      for (const type of ['Accepted', 'Ready'] as const)
        expect(condition(status, type)).toMatchObject({ status: 'False', ...withheld })
      expect(entry()).toMatchObject({ refused: 'SecretMissing', replicas: [] })
      workload = whole
      await apply()
      await untilReady()
    })

    test('a changed environment within a generation is rolled out and reported', async () => {
      await apply({ replicas: 2 })
      await untilReady()
      await apply({ replicas: 2, environment: { GREETING: 'another' } })
      expect(condition(await until(() => true), 'Ready')).toMatchObject({ status: 'False' })
      await untilReady()
      for (const index of [0, 1])
        expect(
          ((await call(index)) as { environment: Record<string, string> }).environment,
        ).toMatchObject({ GREETING: 'another' })
    })

    test('B1: a new environment replaces the old one, with nothing of it left', async () => {
      await apply()
      await untilReady()
      await apply({ generation: 2, environment: { OTHER: 'new' } })
      await untilReady()
      const { environment } = (await call(0)) as { environment: Record<string, string> }
      expect(environment).toMatchObject({ OTHER: 'new' })
      expect(environment).not.toHaveProperty('GREETING')
    })

    test('an update replaces one replica at a time: never is more than one not ready', async () => {
      await apply({ replicas: 3 })
      await untilReady()
      const before = Object.values(instances())
      const fewest = await fewestReadyWhile(async () => {
        await apply({ generation: 2, environment: { GREETING: 'changed' } })
        await untilReady()
      })
      expect(fewest).toBe(2)
      expect(Object.values(instances()).filter((startedAt) => before.includes(startedAt))).toEqual(
        [],
      )
    })

    test('a restart replaces each replica once, one by one, and nothing else', async () => {
      await apply({ replicas: 2 })
      await untilReady()
      const before = instances()
      const fewest = await fewestReadyWhile(async () => {
        await apply({ generation: 2, restartedAt: '2026-01-02T03:04:05.678Z' })
        await untilReady()
      })
      expect(fewest).toBe(1)
      const after = instances()
      expect(Object.keys(after)).toEqual(Object.keys(before))
      expect(
        Object.values(after).filter((startedAt) => Object.values(before).includes(startedAt)),
      ).toEqual([])
      await apply()
      await apply({ generation: 3 })
      await untilReady()
      expect(instances()).toEqual(after)
    })

    test('a broken update stops at its first replica, and going back heals it', async () => {
      await apply({ replicas: 3 })
      await untilReady()
      await apply({ generation: 2, image: { name: images.failing, version: '1.0.0' } })
      const status = await until(({ replicas }) =>
        replicas.some(({ phase, generation }) => phase === 'backoff' && generation === 2),
      )
      expect(condition(status, 'Ready')).toMatchObject({
        status: 'False',
        output: expect.stringMatching(/out of luck/),
      })
      expect(condition(status, 'Progressing')?.status).toBe('True')
      expect(
        status.replicas.filter(({ phase, generation }) => phase === 'ready' && generation === 1),
      ).toHaveLength(2)
      await apply({ generation: 3, image: { name: images.server, version: '1.0.0' } })
      await untilReady()
    })

    test('the status names an image that does not exist, and another image heals it', async () => {
      await apply({ image: { name: 'no-such-image', version: '1.0.0' } })
      const status = await until((each) => {
        const { message = '', output = '' } = condition(each, 'Ready') ?? {}
        return `${message} ${output}`.includes('no-such-image')
      })
      expect(condition(status, 'Ready')).toMatchObject({
        status: 'False',
        reason: expect.stringMatching(/Image/),
      })
      await apply({ generation: 2, image: { name: images.server, version: '1.0.0' } })
      expect(condition(await untilReady(), 'Accepted')?.status).toBe('True')
    })

    test('a replica that crashes comes back, and the status says how it ended', async () => {
      await apply()
      await untilReady()
      const before = instances()
      await crash(0)
      const status = await until(
        ({ replicas }) => replicas[0]?.phase === 'ready' && replicas[0].restarts === 1,
      )
      expect(status.replicas[0]?.lastExit).toMatchObject({
        code: 3,
        output: expect.stringContaining('out of luck'),
      })
      expect(instances()).not.toEqual(before)
      expect(await call(0)).toMatchObject({ replica: `${workload.name}-0` })
    })

    test('C17: a replica that does not listen is neither ready nor offered', async () => {
      await apply({ image: { name: images.silent, version: '1.0.0' } })
      const status = await until(({ replicas }) => replicas[0]?.phase === 'starting')
      expect(condition(status, 'Ready')?.status).toBe('False')
      expect(entry()?.replicas.filter(({ phase }) => phase === 'ready')).toEqual([])
    })

    test('another incarnation of a name inherits nothing of the one before', async () => {
      await apply()
      await untilReady()
      await call(0, '/say', 'a secret of the first')
      await apply({ uid: randomUUID(), environment: {} })
      const status = await untilReady()
      expect(status.uid).toBe(workload.uid)
      expect(entry()?.uid).toBe(workload.uid)
      expect(await runtime.list(signal)).toEqual([{ name: workload.name, uid: workload.uid }])
      expect(await lines()).not.toContain('a secret of the first')
      expect(await lines({ previous: true })).toBeUndefined()
      expect(await lines({ container: 'no-such-part' })).toBeUndefined()
    })

    test('a removal ends its own incarnation alone, and tolerates a missing one', async () => {
      await apply()
      await untilReady()
      const origin = entry()?.replicas[0]?.origin
      await runtime.remove({ name: workload.name, uid: randomUUID() }, signal)
      await runtime.remove({ name: 'never-there', uid: randomUUID() }, signal)
      expect(await runtime.list(signal)).toEqual([{ name: workload.name, uid: workload.uid }])
      await runtime.remove(workload, signal)
      await runtime.remove(workload, signal)
      expect(await runtime.list(signal)).toEqual([])
      expect(await runtime.status(workload.name)).toBeUndefined()
      expect(entry()).toBeUndefined()
      await expect(fetch(String(origin))).rejects.toThrow()
    })

    test('logs give the last lines, or those since a time, of each instance', async () => {
      await apply()
      await untilReady()
      for (const line of ['one', 'two', 'three']) await call(0, '/say', line)
      await expect.poll(() => lines({ tail: 2 })).toEqual(['two', 'three'])
      expect(await lines({ since: new Date(Date.now() + 60_000) })).toEqual([])
      expect(await lines({ previous: true })).toBeUndefined()
      expect(await lines({ replica: 7 })).toBeUndefined()
      await crash(0)
      await until(({ replicas }) => replicas[0]?.phase === 'ready' && replicas[0].restarts === 1)
      expect(await lines({ previous: true, tail: 2 })).toEqual(['three', 'out of luck'])
      expect(await lines()).not.toContain('three')
    })

    test('the output of a workload is not shown to another that takes its name', async () => {
      await apply()
      await untilReady()
      await call(0, '/say', 'a secret')
      await expect.poll(() => lines({ tail: 1 })).toEqual(['a secret'])

      expect(await lines({}, randomUUID())).toBeUndefined()
      expect(await lines({ follow: true }, randomUUID())).toBeUndefined()
    })

    test('a followed log ends for its follower when the workload is removed', async () => {
      await apply()
      await untilReady()
      const following = lines({ follow: true })
      await call(0, '/say', 'while followed')
      await expect.poll(() => lines({ tail: 1 })).toEqual(['while followed'])
      await runtime.remove(workload, signal)
      expect(await following).toContain('while followed')
    })
  })
}
