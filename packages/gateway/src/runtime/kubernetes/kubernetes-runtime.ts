import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import type { KubernetesConfig } from '../../config/kubernetes.ts'
import { ReplicaDirectory } from '../../core/directories/directory.ts'
import type { Workload, WorkloadStatus } from '../../core/workload.ts'
import type { Log } from '../../telemetry/log.ts'
import type { Announcement, LogQuery, Runtime, WorkloadRef } from '../runtime.ts'
import { eventOf } from './announce.ts'
import { KubernetesApi } from './api/api.ts'
import { ClusterView } from './cluster-view.ts'
import { leaseTerms } from './lease.ts'
import { readLogs } from './logs.ts'
import { explained, statusOf } from './status.ts'
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
    const { namespace } = this.#settings
    return statusOf(name, await explained(sight, this.#api, namespace))
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

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#view[Symbol.asyncDispose]()
    await this.#api[Symbol.asyncDispose]()
  }
}
