import { setTimeout as sleep } from 'node:timers/promises'
import type { Lease } from 'kubernetes-types/coordination/v1.js'
import type { ObjectMeta } from 'kubernetes-types/meta/v1.js'
import type { Log } from '../../telemetry/log.ts'
import type { Problems } from '../runtime.ts'
import { KubernetesError, type ApiRequest, type KubernetesApi } from './api.ts'
import { collection } from './kinds.ts'
import { annotation } from './labels.ts'

export interface LeaseOptions {
  readonly api: Pick<KubernetesApi, 'find' | 'json'>
  readonly namespace: string
  readonly name: string
  /** Who we are; nobody else's. */
  readonly holder: string
  /** After so long without a renewal, somebody else may take it. */
  readonly durationSeconds: number
  /** What the holder has met. It stands in the Lease, which the others look at anyway. */
  readonly problems: () => Problems
  readonly log: Log
}

/**
 * The terms in which we hold a Lease, as client-go's leader election has them: one holds it and renews it, the others take it once it has not changed for its
 * duration, by their own clocks. A term ends well before that when it cannot be renewed, so that no two write at a time.
 * `report` is told why there is no term, and that there is one, or what the holder has met.
 */
export async function* leaseTerms(
  options: LeaseOptions,
  signal: AbortSignal,
  report: (problem: string | undefined, ofWriter: Problems) => void,
): AsyncGenerator<AbortSignal> {
  const retryMs = (options.durationSeconds * 1000) / 4
  const others = new Observed()
  while (!signal.aborted) {
    let held: Lease | undefined
    try {
      held = await acquire(options, others, signal)
      report(undefined, held === undefined ? others.problems : new Map())
    } catch (error) {
      if (signal.aborted) return
      report(error instanceof Error ? error.message : String(error), new Map())
    }
    if (held === undefined) {
      await sleep(retryMs * (0.75 + Math.random() / 2), undefined, { signal }).catch(
        () => undefined,
      )
      continue
    }
    options.log.info({ lease: options.name }, 'leading: this gateway writes to the cluster')
    const term = new AbortController()
    const renewing = renew(options, held, retryMs, term, signal)
    try {
      yield AbortSignal.any([term.signal, signal])
    } finally {
      const lost = term.signal.aborted
      term.abort()
      await renewing
      if (lost) options.log.warn({ lease: options.name }, 'no longer leading')
      else await release(options).catch(() => undefined)
    }
  }
}

/** What a Lease of somebody else says, and when it was last seen to change. */
class Observed {
  problems: Problems = new Map()
  #version: string | undefined
  #at = 0

  /** How long it has not changed. */
  ageMs(lease: Lease): number {
    const version = lease.metadata?.resourceVersion
    if (version !== this.#version) {
      this.#version = version
      this.#at = performance.now()
      this.problems = problemsIn(lease)
    }
    return performance.now() - this.#at
  }
}

/** The Lease as it is held from now on; undefined while somebody else holds it. */
async function acquire(
  options: LeaseOptions,
  others: Observed,
  signal: AbortSignal,
): Promise<Lease | undefined> {
  const { api, namespace, name, holder } = options
  const path = collection('Lease', namespace)
  const found = await api.find<Lease>(`${path}/${name}`, signal, patience(options))
  try {
    if (found === undefined) {
      const lease: Lease = {
        apiVersion: 'coordination.k8s.io/v1',
        kind: 'Lease',
        metadata: { name, namespace },
        spec: spec(options, 0),
      }
      return await api.json<Lease>('POST', path, signal, { body: lease, ...patience(options) })
    }
    const { holderIdentity = '', leaseDurationSeconds = 0, leaseTransitions = 0 } = found.spec ?? {}
    const free =
      holderIdentity === '' ||
      holderIdentity === holder ||
      others.ageMs(found) > leaseDurationSeconds * 1000
    return free
      ? await write(options, { ...found, spec: spec(options, leaseTransitions + 1) }, signal)
      : undefined
  } catch (error) {
    // Somebody was faster.
    if (isConflict(error)) return undefined
    throw error
  }
}

/** Until the term ends, which it does when the Lease is lost or cannot be renewed in time. */
async function renew(
  options: LeaseOptions,
  first: Lease,
  everyMs: number,
  term: AbortController,
  signal: AbortSignal,
): Promise<void> {
  const ended = AbortSignal.any([term.signal, signal])
  const deadlineMs = (options.durationSeconds * 1000 * 2) / 3
  let held = first
  // Whatever a request hangs on, the term ends.
  let watchdog = setTimeout(() => term.abort(), deadlineMs)
  while (!ended.aborted) {
    await sleep(everyMs, undefined, { signal: ended }).catch(() => undefined)
    const begun = performance.now()
    try {
      const metadata = annotated(held.metadata, options.problems())
      held = await write(
        options,
        { ...held, metadata, spec: spec(options, held.spec?.leaseTransitions ?? 0) },
        ended,
      )
      clearTimeout(watchdog)
      watchdog = setTimeout(() => term.abort(), deadlineMs - (performance.now() - begun))
    } catch (error) {
      if (isConflict(error) || (error instanceof KubernetesError && error.status === 404))
        term.abort()
      else if (!ended.aborted)
        options.log.warn(
          { lease: options.name, err: error },
          'the lease could not be renewed, trying again',
        )
    }
  }
  clearTimeout(watchdog)
}

/** So that the next one need not wait. It takes its time to expire if this fails. */
async function release(options: LeaseOptions): Promise<void> {
  const { api, namespace, name, holder } = options
  const signal = AbortSignal.timeout(2000)
  for (;;) {
    const held = await api.find<Lease>(`${collection('Lease', namespace)}/${name}`, signal)
    if (held?.spec?.holderIdentity !== holder) return
    try {
      await write(options, { ...held, spec: { ...held.spec, holderIdentity: '' } }, signal)
      return
    } catch (error) {
      // A renewal that was broken off may be taken all the same, before we look or after it: only the cluster knows the present version.
      if (!isConflict(error)) throw error
    }
  }
}

function isConflict(error: unknown): boolean {
  return error instanceof KubernetesError && error.status === 409
}

/** As many as fit: annotations are 256 KiB at most, all together. */
function annotated(metadata: ObjectMeta | undefined, problems: Problems): ObjectMeta {
  let left = 100_000
  const fitting = [...problems].filter(
    ([name, problem]) => (left -= 3 * (name.length + problem.length)) > 0,
  )
  return {
    ...metadata,
    annotations: {
      ...metadata?.annotations,
      [annotation.problems]: JSON.stringify(Object.fromEntries(fitting)),
    },
  }
}

/** Nothing when somebody has spoilt it. */
function problemsIn({ metadata }: Lease): Problems {
  try {
    const found = JSON.parse(metadata?.annotations?.[annotation.problems] ?? '{}') as unknown
    return new Map(
      Object.entries(found ?? {}).filter(
        (entry): entry is [string, string] => typeof entry[1] === 'string',
      ),
    )
  } catch {
    return new Map()
  }
}

function write(options: LeaseOptions, lease: Lease, signal: AbortSignal): Promise<Lease> {
  const { api, namespace, name } = options
  return api.json<Lease>('PUT', `${collection('Lease', namespace)}/${name}`, signal, {
    body: lease,
    ...patience(options),
  })
}

/** On a connection that is dead without a word, nobody is to wait for longer than Leases run: the next attempt has another one. */
function patience({ durationSeconds }: LeaseOptions): Pick<ApiRequest, 'timeoutMs'> {
  return { timeoutMs: (durationSeconds * 1000) / 2 }
}

function spec(
  { holder, durationSeconds }: LeaseOptions,
  leaseTransitions: number,
): NonNullable<Lease['spec']> {
  // Of MicroTime, the fraction has six digits.
  const renewTime = new Date().toISOString().replace('Z', '000Z')
  return {
    holderIdentity: holder,
    leaseDurationSeconds: durationSeconds,
    renewTime,
    leaseTransitions,
  }
}
