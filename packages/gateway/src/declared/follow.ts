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
  const sources = new Map<string, Source>()
  let term: AbortSignal | undefined

  for (const [name, { owner, roles, ...settings }] of Object.entries(options.sources)) {
    const principal = { name, roles, ...(owner ?? options.ownerOf(name)) }
    sources.set(
      name,
      new Source({
        settings,
        ...options.targets(name, principal),
        problemOf: (resource) => options.reconciler.problem(keyOf(name, resource)),
        report: (news) => report(options, name, news, stop.signal),
        now: options.now,
      }),
    )
  }

  const looks = new Map<string, Promise<void>>()

  /** Runs the looks of one source one after the other. */
  function look(name: string, source: Source): Promise<void> {
    const before = looks.get(name) ?? Promise.resolve()
    const next = before
      .then(() => (stop.signal.aborted ? undefined : source.look(term)))
      .catch((error: unknown) => {
        options.log.error({ source: name, err: error }, 'comparing declared resources failed')
      })

    looks.set(name, next)
    return next
  }

  const all = (): Promise<void[]> =>
    Promise.all([...sources].map(([name, source]) => look(name, source)))

  options.reconciler.alongside({
    async run(signal) {
      term = signal
      await all()
      await aborted(signal)
      term = undefined
      await Promise.all(looks.values())
    },
    problems: () => problemsOf(sources),
  })

  const polling = Object.entries(options.sources).map(async ([name, { pollSeconds }]) => {
    const source = sources.get(name)
    while (source !== undefined && !stop.signal.aborted) {
      await look(name, source)
      await sleep(pollSeconds * 1000, undefined, { signal: stop.signal }).catch(() => undefined)
    }
  })

  return {
    status: () => Object.fromEntries([...sources].map(([name, { status }]) => [name, status])),
    async [Symbol.asyncDispose]() {
      stop.abort()
      await Promise.all([...polling, ...looks.values()])
    },
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
  return news.kind === 'failed'
    ? {
        workload: name,
        type: 'Warning',
        reason: 'DeclaredFailed',
        message:
          `The ${kind} '${name}' of '${file}' (source '${source}') was not ` + `applied: ${reason}`,
      }
    : {
        workload: name,
        type: 'Normal',
        reason: 'DeclaredApplied',
        message: `The ${kind} '${name}' of '${file}' (source '${source}') was ${state}.`,
      }
}
