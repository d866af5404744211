import { setTimeout as sleep } from 'node:timers/promises'
import type { DeclaredSourceStatus } from '@mcp-gateway/contract'
import type { Config } from '../config/config.ts'
import type { DeclaredTarget } from '../control/resources/declared-target.ts'
import type { Principal } from '../core/principal.ts'
import type { Owner } from '../core/resource.ts'
import { timeoutOr } from '../lib/async/timeout-signal.ts'
import { defined } from '../lib/defined.ts'
import type { Reconciler } from '../reconcile/reconciler.ts'
import type { Announcement, Runtime } from '../runtime/runtime.ts'
import type { Log } from '../telemetry/log.ts'
import { Source, type News } from './source.ts'

export interface FollowOptions {
  readonly sources: Config['declared']
  /** The owner of a source's resources, if the source names none. */
  readonly ownerOf: (source: string) => Owner
  /** The target that applies a source, and the trial that only reports its changes. */
  readonly targets: (
    source: string,
    principal: Principal,
  ) => { readonly target: DeclaredTarget; readonly trial: DeclaredTarget }
  readonly reconciler: Pick<Reconciler, 'alongside' | 'problem'>
  readonly runtime: Pick<Runtime, 'announce'>
  readonly log: Log
  readonly now: () => Date
}

export interface DeclaredSources extends AsyncDisposable {
  status(): Record<string, DeclaredSourceStatus>
}

/**
 * Follows folders of files. The gateway that writes to the shared runtime applies the files. The
 * other gateways only compare, so that each of them can report the status.
 */
export function followSources(options: FollowOptions): DeclaredSources {
  const stop = new AbortController()
  const sources = openSources(options, stop.signal)
  const looks = new Looks(options.log, stop.signal)
  let term: AbortSignal | undefined

  const look = (name: string, source: Source): Promise<void> =>
    looks.add(name, () => source.look(term))

  options.reconciler.alongside({
    async run(signal) {
      term = signal
      await Promise.all([...sources].map(([name, source]) => look(name, source)))
      await aborted(signal)
      term = undefined
      await looks.ended()
    },
    problems: () => problemsOf(sources),
  })

  const polling = [...sources].map(async ([name, source]) => {
    while (!stop.signal.aborted) {
      await look(name, source)
      await sleep(source.pollMs, undefined, { signal: stop.signal }).catch(() => undefined)
    }
  })

  return {
    status: () => Object.fromEntries([...sources].map(([name, { status }]) => [name, status])),
    async [Symbol.asyncDispose]() {
      stop.abort()
      await Promise.all(polling)
      await looks.ended()
    },
  }
}

function openSources(options: FollowOptions, signal: AbortSignal): ReadonlyMap<string, Source> {
  return new Map(
    Object.entries(options.sources).map(([name, { owner, roles, ...settings }]) => {
      const principal = { name, roles, ...(owner ?? options.ownerOf(name)) }
      const source = new Source({
        settings,
        ...options.targets(name, principal),
        problemOf: (resource) => options.reconciler.problem(keyOf(name, resource)),
        report: (news) => report(options, name, news, signal),
        now: options.now,
      })
      return [name, source]
    }),
  )
}

/** Runs the looks of each source one after the other. */
class Looks {
  readonly #log: Log
  readonly #stop: AbortSignal
  readonly #last = new Map<string, Promise<void>>()

  constructor(log: Log, stop: AbortSignal) {
    this.#log = log
    this.#stop = stop
  }

  add(name: string, look: () => Promise<void>): Promise<void> {
    const before = this.#last.get(name) ?? Promise.resolve()
    const next = before
      .then(() => (this.#stop.aborted ? undefined : look()))
      .catch((error: unknown) => {
        this.#log.error({ source: name, err: error }, 'comparing declared resources failed')
      })

    this.#last.set(name, next)
    return next
  }

  async ended(): Promise<void> {
    await Promise.all(this.#last.values())
  }
}

function problemsOf(sources: ReadonlyMap<string, Source>): Map<string, string> {
  return new Map(
    [...sources].flatMap(([name, { problems }]) =>
      [...problems].map(([resource, problem]) => [keyOf(name, resource), problem] as const),
    ),
  )
}

/** Returns a key that no workload can have as its name. */
function keyOf(source: string, resource: string): string {
  return `declared:${source}/${resource}`
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}

/** Logs and announces one piece of news. */
function report(
  { log, runtime }: FollowOptions,
  source: string,
  news: News,
  signal: AbortSignal,
): void {
  const announcement = announcementOf(source, news)
  if (news.kind === 'problem') log.error({ source, problem: news.problem }, 'a folder has mistakes')
  else {
    const { kind, name, file, state, reason } = news.outcome
    const about = defined({ source, kind, name, file, reason })
    if (news.kind === 'failed') log.error(about, 'a declared resource was not applied')
    else log.info({ ...about, state }, 'a declared resource was applied')
  }

  runtime
    .announce?.(announcement, timeoutOr(signal, 10_000))
    .catch((error: unknown) => log.warn({ err: error }, 'the cluster did not take an event'))
}

function announcementOf(source: string, news: News): Announcement {
  if (news.kind === 'problem')
    return {
      type: 'Warning',
      reason: 'DeclaredFolder',
      message: `The source '${source}' has a mistake: ${news.problem}`,
    }

  const { kind, name, file, state, reason = '' } = news.outcome
  const what = `The ${kind} '${name}' of '${file}' (source '${source}')`
  return news.kind === 'failed'
    ? {
        workload: name,
        type: 'Warning',
        reason: 'DeclaredFailed',
        message: `${what} was not applied: ${reason}`,
      }
    : {
        workload: name,
        type: 'Normal',
        reason: 'DeclaredApplied',
        message: `${what} was ${state}.`,
      }
}
