import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import {
  LimitExceeded,
  TimedWorker,
  WorkRefused,
  type TimedWorkerOptions,
} from '../../src/lib/async/timed-worker.ts'

interface Task {
  readonly run: string
  readonly prepare?: string
  readonly value?: unknown
  readonly ms?: number
  readonly cell?: Int32Array
}

const program = new URL('../fixtures/task-worker.js', import.meta.url)
const longMs = 600_000
const patient: TimedWorkerOptions = {
  program,
  limits: { prepareMs: longMs, runMs: longMs, heapMb: 64 },
  waiting: { most: 100, mostOfOne: 100 },
}
const brief: TimedWorkerOptions = { ...patient, limits: { ...patient.limits, runMs: 200 } }

const open: TimedWorker<Task, unknown>[] = []
afterEach(
  async () =>
    void (await Promise.all(open.splice(0).map((worker) => worker[Symbol.asyncDispose]()))),
)

function start(options: TimedWorkerOptions): (task: Task, party?: string) => Promise<unknown> {
  const worker = new TimedWorker<Task, unknown>(options)
  open.push(worker)
  return (task, party = 'me') => worker.run(party, () => task)
}

const echo = (value: unknown): Task => ({ run: 'echo', value })
const cell = (): Int32Array => new Int32Array(new SharedArrayBuffer(4))

describe('a task that does not end', () => {
  test.each(['spin', 'backtrack'])(
    'an endless task (%s) is ended, and the next worker does those behind it',
    async (run) => {
      const work = start(brief)
      const hostile = work({ run })
      const behind = [1, 2, 3].map((value) => work(echo(value)))
      await expect(hostile).rejects.toBeInstanceOf(LimitExceeded)
      expect(await Promise.all(behind)).toEqual([1, 2, 3])
      await expect(work({ run })).rejects.toBeInstanceOf(LimitExceeded)
      expect(await work(echo('again'))).toBe('again')
    },
  )

  test('an endless preparation ends at a limit of its own', async () => {
    const work = start({ ...patient, limits: { ...patient.limits, prepareMs: 200 } })
    await expect(work({ prepare: 'spin', run: 'echo' })).rejects.toBeInstanceOf(LimitExceeded)
    expect(await work(echo(1))).toBe(1)
  })

  test('an endless task holds up nothing else of the process', async () => {
    const work = start(patient)
    expect(await work(echo(0))).toBe(0)
    let ended = false
    const hostile = work({ run: 'backtrack' }).catch((error: unknown) => {
      ended = true
      return error
    })
    const server = createServer((_request, response) => void response.end('pong')).listen(
      0,
      '127.0.0.1',
    )
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    for (let round = 0; round < 20; round += 1)
      expect(await (await fetch(`http://127.0.0.1:${port}/`)).text()).toBe('pong')
    expect(ended).toBe(false)
    server.close()
    await open[0]?.[Symbol.asyncDispose]()
    expect(await hostile).toBeInstanceOf(WorkRefused)
  })

  test('an endless task does not keep the process alive', async () => {
    const module = new URL('../../dist/lib/async/timed-worker.js', import.meta.url).href
    const script = `
      import { TimedWorker } from ${JSON.stringify(module)}
      const program = new URL(${JSON.stringify(program.href)})
      const options = { ...${JSON.stringify(patient)}, program }
      const worker = new TimedWorker(options)
      const server = (await import('node:net')).createServer().listen(0)
      await worker.run('me', () => ({ run: 'echo' }))
      void worker.run('me', () => ({ run: 'backtrack' }))
      setImmediate(() => server.close())`
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: 'inherit',
    })
    expect(await once(child, 'exit')).toEqual([0, null])
  })
})

describe('parties', () => {
  test('parties take turns: one that floods waits for its own tasks', async () => {
    const work = start(patient)
    const order: unknown[] = []
    const note = (value: unknown, party: string): Promise<unknown> =>
      work(echo(value), party).then((each) => order.push(each))
    await Promise.all([
      ...['a1', 'a2', 'a3'].map((value) => note(value, 'a')),
      ...['b1', 'b2'].map((value) => note(value, 'b')),
      note('c1', 'c'),
    ])
    expect(order).toEqual(['a1', 'b1', 'c1', 'a2', 'b2', 'a3'])
  })

  test('a party waits no longer than for one hostile task of each other', async () => {
    const work = start(brief)
    const order: string[] = []
    const hostile = [1, 2, 3].map((each) =>
      work({ run: 'spin' }, 'hostile').catch(() => order.push(`hostile ${each}`)),
    )
    const honest = [1, 2].map((each) =>
      work(echo(each), 'honest').then(() => order.push(`honest ${each}`)),
    )
    await Promise.all([...hostile, ...honest])
    expect(order).toEqual(['hostile 1', 'honest 1', 'hostile 2', 'honest 2', 'hostile 3'])
  })

  test('a party with too many waiting tasks is refused until some of them end', async () => {
    const work = start({ ...brief, waiting: { most: 3, mostOfOne: 2 } })
    expect(await work(echo(0))).toBe(0)
    const running = work({ run: 'spin' }, 'a').catch((error: unknown) => error)
    const waiting = [work(echo(1), 'a'), work(echo(2), 'a')]
    await expect(work(echo(3), 'a')).rejects.toBeInstanceOf(WorkRefused)
    waiting.push(work(echo(4), 'b'))
    await expect(work(echo(5), 'c')).rejects.toBeInstanceOf(WorkRefused)
    expect(await running).toBeInstanceOf(LimitExceeded)
    expect(await Promise.all(waiting)).toEqual([1, 2, 4])
    expect(await work(echo(6), 'c')).toBe(6)
  })
})

describe('a worker that dies', () => {
  test('a dead worker is replaced, and the next one does its tasks', async () => {
    const work = start(patient)
    const shared = cell()
    const behind = [work({ run: 'dieOnce', cell: shared, value: 'done' }), work(echo(1))]
    expect(await Promise.all(behind)).toEqual(['done', 1])
    expect(shared[0]).toBe(2)
  })

  test('a task that kills the worker twice fails, and no other does', async () => {
    const work = start(patient)
    const [fatal, behind] = [work({ run: 'die' }), work(echo(1))]
    await expect(fatal).rejects.toThrow('the worker died')
    expect(await behind).toBe(1)
  })

  test('a worker that runs out of memory ends the task as a limit does', async () => {
    const work = start(patient)
    const [hungry, behind] = [work({ run: 'eat' }), work(echo(1))]
    await expect(hungry).rejects.toBeInstanceOf(LimitExceeded)
    expect(await behind).toBe(1)
  })

  test('a worker that dies before it begins fails its tasks instead of retrying', async () => {
    const work = start({
      ...patient,
      program: new URL('../fixtures/no-such-program.js', import.meta.url),
    })
    await expect(work(echo(1))).rejects.toThrow('the worker died')
    await expect(Promise.all([work(echo(1)), work(echo(2))])).rejects.toThrow('the worker died')
  })
})

test('a task that fails says why, and the worker continues', async () => {
  const work = start(patient)
  await expect(work({ run: 'fail' })).rejects.toThrow('as told')
  await expect(work({ prepare: 'fail', run: 'echo' })).rejects.toThrow('as told')
  expect(await work(echo(1))).toBe(1)
})

test('a delay of the process does not turn a finished task into one over its limit', async () => {
  const work = start(brief)
  expect(await work(echo(0))).toBe(0)
  const shared = cell()
  const answer = work({ run: 'signal', cell: shared, value: 'in time' })
  Atomics.wait(shared, 0, 0)
  for (const until = performance.now() + 500; performance.now() < until;);
  expect(await answer).toBe('in time')
})

test('a task without the processor has up to tenfold of its limit', async () => {
  const work = start({ ...patient, limits: { ...patient.limits, runMs: 500 } })
  expect(await work({ run: 'sleep', ms: 1000, value: 'at last' })).toBe('at last')
  await expect(work({ run: 'sleep', ms: longMs })).rejects.toBeInstanceOf(LimitExceeded)
})

test('a task that nobody wants any more is left out', async () => {
  const worker = new TimedWorker<Task, unknown>(patient)
  open.push(worker)
  expect(await worker.run('me', () => undefined)).toBeUndefined()
  expect(await worker.run('me', () => echo(1))).toBe(1)
})
