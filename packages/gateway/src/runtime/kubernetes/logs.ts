import type { Pod } from 'kubernetes-types/core/v1.js'
import type { KubernetesConfig } from '../../config/kubernetes.ts'
import type { DirectoryEntry } from '../../core/directories/directory.ts'
import { GatewayError } from '../../core/errors.ts'
import { defined } from '../../lib/defined.ts'
import { LineCutter } from '../../lib/line-cutter.ts'
import type { LogQuery } from '../runtime.ts'
import { KubernetesError, type KubernetesApi } from './api/api.ts'
import { collection } from './api/kinds.ts'
import { containerName } from './render.ts'

export interface LogSource {
  readonly api: KubernetesApi
  readonly settings: KubernetesConfig
  readonly workload: string
  readonly query: LogQuery
  /** The directory's present entry of the workload. */
  readonly entry: () => DirectoryEntry | undefined
  /** The pod of the requested replica. */
  readonly pod: Pod | undefined
  /** Resolves at the next change of the workload, or when the signal aborts. */
  readonly changed: (signal: AbortSignal) => Promise<void>
}

/**
 * Reads a replica's lines from the cluster; undefined when the replica or its previous instance
 * does not exist.
 * @throws GatewayError `cluster_unavailable`
 */
export async function readLogs(
  source: LogSource,
  signal: AbortSignal,
): Promise<AsyncIterable<string> | undefined> {
  const { query, pod } = source
  const replica = present(source)
  if (replica === undefined) return undefined
  if (query.container !== undefined) {
    // Other containers may start and end at any time.
    const known = containersOf(pod).includes(query.container)
    return known
      ? ((await open(source, query, signal)) ?? (query.previous ? undefined : nothing()))
      : undefined
  }
  if (query.previous && (replica.restarts === 0 || replica.lastExit === undefined)) return undefined
  const first = await open(source, query, signal)
  if (query.previous || !query.follow) return first ?? (query.previous ? undefined : nothing())
  return follow(source, first, replica.startedAt, signal)
}

/** Continues with the next instance when one ends, until the replica is gone for good. */
async function* follow(
  source: LogSource,
  first: AsyncIterable<string> | undefined,
  startedAt: number | undefined,
  signal: AbortSignal,
): AsyncGenerator<string> {
  let lines = first
  let seen = lines === undefined ? undefined : startedAt

  for (;;) {
    if (lines !== undefined) yield* lines
    let next = present(source)
    while (
      next !== undefined &&
      (next.startedAt === undefined || next.startedAt === seen) &&
      !signal.aborted
    ) {
      await source.changed(signal)
      next = present(source)
    }

    if (next === undefined || signal.aborted) return
    seen = next.startedAt
    lines = await open(source, { ...source.query, tail: Number.POSITIVE_INFINITY }, signal)
  }
}

function present({ entry, query }: LogSource) {
  return entry()?.replicas.find(({ index }) => index === query.replica)
}

function containersOf(pod: Pod | undefined): string[] {
  const { containers = [], initContainers = [], ephemeralContainers = [] } = pod?.spec ?? {}
  return [...containers, ...initContainers, ...ephemeralContainers].map(({ name }) => name)
}

async function* nothing(): AsyncGenerator<string> {}

/** Undefined when the container has not written yet, or its output was discarded. */
async function open(
  { api, settings, workload }: LogSource,
  query: LogQuery,
  signal: AbortSignal,
): Promise<AsyncIterable<string> | undefined> {
  const {
    replica,
    tail,
    since,
    follow: following,
    previous,
    container = containerName(workload),
  } = query

  const path = `${collection('Pod', settings.namespace)}/${workload}-${replica}/log`
  try {
    const stream = await api.stream(
      path,
      signal,
      {
        accept: '*/*',
        query: defined({
          container,
          // The server filters by whole seconds, but sends exact timestamps.
          timestamps: true,
          tailLines: Number.isFinite(tail) ? tail : undefined,
          sinceTime:
            since === undefined
              ? undefined
              : new Date(Math.floor(since.getTime() / 1000) * 1000).toISOString(),
          follow: following,
          previous,
        }),
      },
      0,
    )

    return linesSince(stream, since, signal)
  } catch (error) {
    // 400: the container waits for its start; 404: its pod is missing.
    if (error instanceof KubernetesError && (error.status === 400 || error.status === 404))
      return undefined
    if (signal.aborted || !(error instanceof Error)) throw error

    throw new GatewayError('cluster_unavailable', {
      // The error names the API server and the gateway's account. The log of the gateway has it.
      detail: 'The API of the cluster does not answer, or refuses to give the logs.',
      headers: { 'retry-after': '1' },
      cause: error,
    })
  }
}

async function* linesSince(
  stream: AsyncIterable<Buffer>,
  since: Date | undefined,
  signal: AbortSignal,
): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let lines: string[] = []
  const cutter = new LineCutter((line) => lines.push(line))

  const take = (): string[] => {
    const cut = lines
    lines = []
    return cut.flatMap((line) => {
      const space = line.indexOf(' ')
      return since !== undefined && Date.parse(line.slice(0, space)) < since.getTime()
        ? []
        : [line.slice(space + 1)]
    })
  }

  try {
    for await (const chunk of stream) {
      cutter.write(decoder.decode(chunk, { stream: true }))
      yield* take()
    }
  } catch (error) {
    if (!signal.aborted) throw error
  }

  cutter.end()
  yield* take()
}
