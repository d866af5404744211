import { setTimeout as sleep } from 'node:timers/promises'
import type { Lease } from 'kubernetes-types/coordination/v1.js'
import type { ObjectMeta } from 'kubernetes-types/meta/v1.js'
import type { Log } from '../../telemetry/log.ts'
import type { Problems } from '../runtime.ts'
import { KubernetesError, type ApiRequest, type KubernetesApi } from './api/api.ts'
import { collection } from './api/kinds.ts'
import { annotation } from './labels.ts'

export interface LeaseOptions {
  readonly api: Pick<KubernetesApi, 'find' | 'json'>
  readonly namespace: string
  readonly name: string
  /** This gateway's identity, which no other gateway has. */
  readonly holder: string
  /** Seconds without a renewal after which another gateway may take the Lease. */
  readonly durationSeconds: number
  /** The holder's problems, written into the Lease because the other gateways read it anyway. */
  readonly problems: () => Problems
  readonly log: Log
}

/**
 * Yields terms, as client-go's leader election: others take a Lease unchanged for its duration by
 * their clocks. `report` gets why there is no term, and the holder's problems.
 */
export async function* leaseTerms(
  options: LeaseOptions,
  signal: AbortSignal,
  report: (problem: string | undefined, ofWriter: Problems) => void,
): AsyncGenerator<AbortSignal> {
  const retryMs = periodMs(options)
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
    const renewing = renew(options, held, term, signal)

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

/** Milliseconds between two attempts to acquire or renew the Lease. */
function periodMs({ durationSeconds }: LeaseOptions): number {
  return (durationSeconds * 1000) / 4
}

/** Watches another gateway's Lease: its problems, and when it last changed. */
class Observed {
  problems: Problems = new Map()
  #version: string | undefined
  #at = 0

  /** Milliseconds since the Lease last changed. */
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

/** Returns the Lease once this gateway holds it; undefined while another gateway does. */
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
    // Another gateway was faster.
    if (isConflict(error)) return undefined
    throw error
  }
}

/**
 * Renews the Lease until the term ends: when the Lease is lost or not renewed in time, well before
 * others may take it. So no two gateways write at a time.
 */
async function renew(
  options: LeaseOptions,
  first: Lease,
  term: AbortController,
  signal: AbortSignal,
): Promise<void> {
  const ended = AbortSignal.any([term.signal, signal])
  const deadlineMs = (options.durationSeconds * 1000 * 2) / 3
  let held = first

  // Ends the term even if a request hangs.
  let watchdog = setTimeout(() => term.abort(), deadlineMs)
  while (!ended.aborted) {
    await sleep(periodMs(options), undefined, { signal: ended }).catch(() => undefined)
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

/** Frees the Lease so that the next gateway need not wait. If this fails, the Lease expires. */
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
      // The server may still accept a cancelled renewal, before or after this read. Only the
      // cluster knows the present version, so read again.
      if (!isConflict(error)) throw error
    }
  }
}

function isConflict(error: unknown): boolean {
  return error instanceof KubernetesError && error.status === 409
}

/** Keeps as many problems as fit: all annotations together have at most 256 KiB. */
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

/** Returns no problems when somebody has damaged the annotation. */
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

/**
 * A silent connection may hold a request for at most half a Lease; the next attempt uses another
 * connection.
 */
function patience({ durationSeconds }: LeaseOptions): Pick<ApiRequest, 'timeoutMs'> {
  return { timeoutMs: (durationSeconds * 1000) / 2 }
}

function spec(
  { holder, durationSeconds }: LeaseOptions,
  leaseTransitions: number,
): NonNullable<Lease['spec']> {
  // The fraction of a MicroTime has six digits.
  const renewTime = new Date().toISOString().replace('Z', '000Z')
  return {
    holderIdentity: holder,
    leaseDurationSeconds: durationSeconds,
    renewTime,
    leaseTransitions,
  }
}
