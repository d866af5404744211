import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Subject } from './gateways.ts'
import type { Client, LoadOptions, LoadResult } from './load.ts'
import { cpuMicros, rssMb } from './processes.ts'
import type { Figures } from './report.ts'

const legacyClient: Client = { era: 'legacy' }

/** Runs the load in a process of its own. `onStart` and `onEnd` follow its clock. */
export function load<T>(
  message: object,
  onStart: () => void = () => undefined,
  onEnd: () => void = () => undefined,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(new URL('load.ts', import.meta.url)), {
      execArgv: ['--import', 'tsx'],
    })
    child.on('message', (told: 'start' | 'end' | { result?: T; failure?: string }) => {
      if (told === 'start') return onStart()
      if (told === 'end') return onEnd()
      child.kill()
      if (told.failure === undefined) resolve(told.result as T)
      else reject(new Error(told.failure))
    })
    child.on('exit', () => reject(new Error('the load ended')))
    child.send(message)
  })
}

/**
 * By then V8 has compiled the path of a call, and processor time per call hardly falls any more.
 */
const warmCalls = 30_000

/** Brings a subject into its steady state, within `seconds`. */
export async function warm(
  { url, client = legacyClient }: Subject,
  connections: number,
  seconds: number,
): Promise<void> {
  await load({
    url,
    connections,
    seconds,
    calls: warmCalls,
    warmupSeconds: 0,
    sessionGapMs: 0,
    client,
  } satisfies LoadOptions)
}

/** One round of a warm subject. */
export async function measure(
  name: string,
  subject: Subject,
  connections: number,
  seconds: number,
): Promise<Figures> {
  const pids = [subject.pid, ...(subject.also ?? [])]
  const cpu = (): number => pids.reduce((sum, pid) => sum + cpuMicros(pid), 0)
  let before = 0
  let after = 0
  const options: LoadOptions = {
    url: subject.url,
    connections,
    seconds,
    // The load itself needs to warm up.
    warmupSeconds: 0.5,
    sessionGapMs: connections === 8 ? 300 : 30,
    client: subject.client ?? legacyClient,
  }
  const result = await load<LoadResult>(
    options,
    () => (before = cpu()),
    () => (after = cpu()),
  )
  const figures = {
    rps: result.requests / result.seconds,
    p50: result.p50,
    p99: result.p99,
    cpu: (after - before) / result.requests,
    rss: pids.reduce((sum, pid) => sum + rssMb(pid), 0),
    sessionP50: result.sessionP50,
    errors: result.errors,
  }
  const line = [
    `${name} @${connections}: ${Math.round(figures.rps)} rps`,
    `p50 ${figures.p50.toFixed(3)} ms`,
    `p99 ${figures.p99.toFixed(2)} ms`,
    `cpu ${figures.cpu.toFixed(0)} µs`,
    `rss ${figures.rss.toFixed(0)} MB`,
    `session ${figures.sessionP50.toFixed(1)} ms`,
    `errors ${figures.errors}`,
  ].join(', ')
  process.stdout.write(`${line}\n`)
  return figures
}
