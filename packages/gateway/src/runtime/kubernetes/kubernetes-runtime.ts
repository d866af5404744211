import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import type { StatefulSet } from 'kubernetes-types/apps/v1.js'
import type { Event } from 'kubernetes-types/core/v1.js'
import type { KubernetesConfig } from '../../config/kubernetes.ts'
import { ReplicaDirectory } from '../../core/directories/directory.ts'
import type { Condition, Workload, WorkloadStatus } from '../../core/workload.ts'
import { defined } from '../../lib/defined.ts'
import type { Log } from '../../telemetry/log.ts'
import { judge } from '../conditions.ts'
import type { Announcement, LogQuery, Runtime, WorkloadRef } from '../runtime.ts'
import { eventOf } from './announce.ts'
import { KubernetesApi } from './api/api.ts'
import { ClusterView, type Sight } from './cluster-view.ts'
import { collection } from './api/kinds.ts'
import { annotation } from './labels.ts'
import { leaseTerms } from './lease.ts'
import { readLogs } from './logs.ts'
import { Writer } from './writer.ts'

export interface OpenKubernetesRuntimeOptions {
  readonly settings: KubernetesConfig
  readonly log: Log
}

/**
 * Runs workloads as StatefulSets of a cluster.
 * @throws Error when the cluster cannot be reached or denies access
 */
export async function openKubernetesRuntime({
  settings,
  log,
}: OpenKubernetesRuntimeOptions): Promise<Runtime> {
  const api = await KubernetesApi.open(settings)
  const directory = new ReplicaDirectory()
  try {
    const view = await ClusterView.open({ api, settings, directory, log })
    return new KubernetesRuntime(api, { settings, log }, view, directory)
  } catch (error) {
    await api[Symbol.asyncDispose]()
    throw error
  }
}

class KubernetesRuntime implements Runtime {
  readonly name = 'kubernetes'
  readonly directory: ReplicaDirectory
  readonly #api: KubernetesApi
  readonly #settings: KubernetesConfig
  readonly #view: ClusterView
  readonly #writer: Writer
  readonly #log: Log
  readonly #holder = `${hostname()}_${randomUUID()}`

  constructor(
    api: KubernetesApi,
    { settings, log }: OpenKubernetesRuntimeOptions,
    view: ClusterView,
    directory: ReplicaDirectory,
  ) {
    this.#api = api
    this.#settings = settings
    this.#log = log
    this.#view = view
    this.directory = directory
    this.#writer = new Writer({
      api,
      settings,
      view,
      changed: (name, signal) => directory.changed(name, signal),
    })
  }

  terms(...[signal, report, problems]: Parameters<Runtime['terms']>): AsyncIterable<AbortSignal> {
    const { namespace, installation, leaseSeconds } = this.#settings
    const [api, log, holder] = [this.#api, this.#log, this.#holder]
    const lease = {
      api,
      namespace,
      name: installation,
      holder,
      durationSeconds: leaseSeconds,
      problems,
      log,
    }
    return leaseTerms(lease, signal, report)
  }

  onDrift(listener: (name: string) => void): () => void {
    return this.#view.onChange(listener)
  }

  async apply(workload: Workload, signal: AbortSignal): Promise<void> {
    await this.#writer.apply(workload, signal)
  }

  async remove(ref: WorkloadRef, signal: AbortSignal): Promise<void> {
    await this.#writer.remove(ref, signal)
  }

  async announce(announcement: Announcement, signal: AbortSignal): Promise<void> {
    const { workload = '' } = announcement
    const uid = this.#view.see(workload)?.statefulSet?.metadata?.uid
    const { path, body } = eventOf(announcement, this.#settings.namespace, uid)
    await this.#api.json('POST', path, signal, { body })
  }

  async list(): Promise<readonly WorkloadRef[]> {
    return this.#view.workloads()
  }

  async status(name: string): Promise<WorkloadStatus | undefined> {
    const sight = this.#view.see(name)
    if (sight?.statefulSet === undefined) return undefined
    const { annotations = {} } = sight.statefulSet.metadata ?? {}
    const generation = Number(annotations[annotation.generation] ?? 0)
    const { uid, desired, replicas, refused } = await this.#explained(sight)
    return {
      name,
      uid,
      observedGeneration: generation,
      image: annotations[annotation.image] ?? '',
      desiredReplicas: desired,
      replicas,
      conditions: judge(defined({ desired, generation, replicas, refused })).map((judged) => ({
        ...judged,
        lastTransitionAt: since(judged.type, sight),
      })),
    }
  }

  async logs(
    { name, uid }: WorkloadRef,
    query: LogQuery,
    signal: AbortSignal,
  ): Promise<AsyncIterable<string> | undefined> {
    const { directory } = this
    const sight = this.#view.see(name)
    if (sight?.uid !== uid) return undefined
    return readLogs(
      {
        api: this.#api,
        settings: this.#settings,
        workload: name,
        query,
        pod: sight.pods.find(({ metadata }) => metadata?.name === `${name}-${query.replica}`),
        // A reader that follows must not go on with another incarnation.
        entry: () => (directory.get(name)?.uid === uid ? directory.get(name) : undefined),
        changed: (until) => directory.changed(name, until),
      },
      signal,
    )
  }

  /** Adds why pods are missing (a quota, a webhook that refuses). Only events tell this. */
  async #explained(sight: Sight): Promise<Sight> {
    const { statefulSet, replicas, pods } = sight
    if (pods.length >= replicas.length || statefulSet === undefined) return sight
    const why = await this.#lastWarning(statefulSet).then(
      (last) => last && { reason: last.reason ?? 'Warning', output: last.message ?? '' },
      (error: Error) => ({
        reason: 'Unknown',
        message: 'The cluster does not say why.',
        internals: error.message,
      }),
    )
    if (why === undefined) return sight
    const podNames = new Set(pods.map(({ metadata }) => metadata?.name))
    return {
      ...sight,
      replicas: replicas.map((replica) =>
        podNames.has(replica.name) ? replica : { ...replica, ...why },
      ),
    }
  }

  async #lastWarning({
    metadata,
  }: StatefulSet): Promise<Pick<Event, 'reason' | 'message'> | undefined> {
    const { items } = await this.#api.list<Event>(
      collection('Event', this.#settings.namespace),
      AbortSignal.timeout(5000),
      {
        query: { fieldSelector: `involvedObject.uid=${metadata?.uid},type=Warning` },
      },
    )
    return items.toSorted((a, b) => timeOf(a) - timeOf(b)).at(-1)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#view[Symbol.asyncDispose]()
    await this.#api[Symbol.asyncDispose]()
  }
}

function timeOf({ lastTimestamp, eventTime, metadata }: Event): number {
  return Date.parse(lastTimestamp ?? eventTime ?? metadata.creationTimestamp ?? '')
}

/** When a condition last changed, by the cluster's own times, so that all gateways agree. */
function since(type: Condition['type'], { statefulSet, pods }: Sight): string {
  const times = pods.flatMap(({ metadata, status }) => {
    if (type === 'Progressing') return [metadata?.creationTimestamp]
    if (type !== 'Ready') return []

    const conditions = status?.conditions ?? []
    return conditions
      .filter((condition) => condition.type === 'Ready')
      .map(({ lastTransitionTime }) => lastTransitionTime)
  })

  const newest = Math.max(
    ...[statefulSet?.metadata?.creationTimestamp, ...times].map(
      (time) => Date.parse(time ?? '') || 0,
    ),
  )
  return new Date(newest).toISOString()
}
