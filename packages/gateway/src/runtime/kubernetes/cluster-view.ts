import type { StatefulSet } from 'kubernetes-types/apps/v1.js'
import type { Pod } from 'kubernetes-types/core/v1.js'
import type { KubernetesConfig } from '../../config/kubernetes.ts'
import type { ReplicaDirectory } from '../../core/directories/directory.ts'
import { Listeners } from '../../lib/async/listeners.ts'
import { allOf } from '../../lib/async/all-of.ts'
import { Parts } from '../../lib/async/parts.ts'
import { defined } from '../../lib/defined.ts'
import type { Log } from '../../telemetry/log.ts'
import type { WorkloadRef } from '../runtime.ts'
import { metadataOnly, type KubernetesApi, type KubernetesObject } from './api/api.ts'
import { ourSelector, ownerOf } from './labels.ts'
import { ListWatch } from './api/list-watch.ts'
import { collection, kinds, type Kind } from './api/kinds.ts'
import { looksOf, sightOf, type Sight } from './sight.ts'

export interface ClusterViewOptions {
  readonly api: KubernetesApi
  readonly settings: KubernetesConfig
  readonly directory: ReplicaDirectory
  readonly log: Log
}

/**
 * A view of this gateway's objects in the cluster. Watches keep it current, and it updates the
 * directory.
 */
export class ClusterView implements AsyncDisposable {
  readonly #options: ClusterViewOptions
  readonly #parts = new Parts()
  readonly #objects = new Map<Kind, ListWatch<KubernetesObject>>()
  /** Pods by workload name, then by pod name. */
  readonly #pods = new Map<string, Map<string, Pod>>()
  /** Last state of StatefulSets that somebody has deleted while their pods go on. */
  readonly #deleted = new Map<string, StatefulSet>()
  readonly #listeners = new Listeners<string>()

  private constructor(options: ClusterViewOptions) {
    this.#options = options
  }

  /** @throws any error of the first lists */
  static async open(options: ClusterViewOptions): Promise<ClusterView> {
    const view = new ClusterView(options)
    const { api, settings, log } = options
    const labelSelector = ourSelector(settings.installation)
    const watched = { api, log, labelSelector }

    try {
      await allOf([
        ...kinds.map(async (kind) => {
          const accept = kind === 'StatefulSet' ? {} : { accept: metadataOnly }

          const changed = (
            before: KubernetesObject | undefined,
            now: KubernetesObject | undefined,
          ): void => view.#objectChanged(kind, before, now)

          view.#objects.set(
            kind,
            view.#parts.use(
              await ListWatch.open({
                ...watched,
                ...accept,
                path: collection(kind, settings.namespace),
                changed,
              }),
            ),
          )
        }),
        ListWatch.open<Pod>({
          ...watched,
          path: collection('Pod', settings.namespace),
          changed: (before, now) => view.#podChanged(before, now),
        }).then((pods) => view.#parts.use(pods)),
      ])
    } catch (error) {
      await view[Symbol.asyncDispose]()
      throw error
    }

    // A StatefulSet may have been listed before the other objects.
    for (const { name } of view.workloads()) view.#publish(name)
    return view
  }

  /**
   * Calls back when anybody created, changed or deleted an object of a workload; not for changes of
   * status.
   */
  onChange(listener: (name: string) => void): () => void {
    return this.#listeners.add(listener)
  }

  /** Resolves when the condition holds for a workload's objects, or when the signal aborts. */
  until(name: string, condition: () => boolean, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal.aborted || condition()) return resolve()
      const done = (): void => {
        stop()
        signal.removeEventListener('abort', done)
        resolve()
      }
      const stop = this.onChange((changed) => {
        if (changed === name && condition()) done()
      })
      signal.addEventListener('abort', done, { once: true })
    })
  }

  get(kind: Kind, name: string): KubernetesObject | undefined {
    return this.#objects.get(kind)?.get(name)
  }

  /** Lists every workload of which an object exists. */
  workloads(): WorkloadRef[] {
    const found = new Map<string, WorkloadRef>()
    const pods = [...this.#pods.values()].flatMap((each) => [...each.values()])
    for (const object of [
      ...[...this.#objects.values()].flatMap((each) => [...each.values()]),
      ...pods,
    ]) {
      const owner = this.#owner(object)
      if (owner !== undefined) found.set(`${owner.name} ${owner.uid}`, owner)
    }
    return [...found.values()]
  }

  /** Undefined when no object of the workload exists. */
  see(name: string): Sight | undefined {
    const { settings } = this.#options
    const statefulSet = this.get('StatefulSet', name) as StatefulSet | undefined
    const all = [...(this.#pods.get(name)?.values() ?? [])]

    const uid = this.#owner(statefulSet ?? all[0])?.uid
    if (uid === undefined) return undefined

    const pods = all.filter((pod) => this.#owner(pod)?.uid === uid)
    const known = statefulSet ?? this.#deleted.get(name)
    return sightOf({ name, uid, statefulSet, known, pods }, settings)
  }

  #owner(object: KubernetesObject | undefined): WorkloadRef | undefined {
    return ownerOf(object?.metadata, this.#options.settings.installation)
  }

  #objectChanged(
    kind: Kind,
    before: KubernetesObject | undefined,
    now: KubernetesObject | undefined,
  ): void {
    const name = this.#owner(now ?? before)?.name
    if (name === undefined) return
    if (kind === 'StatefulSet') {
      if (now === undefined && this.#pods.has(name)) this.#deleted.set(name, before as StatefulSet)
      else this.#deleted.delete(name)
      this.#publish(name)
    }
    if (looksOf([before?.metadata]) === looksOf([now?.metadata])) return
    this.#listeners.tell(name)
  }

  #podChanged(before: Pod | undefined, now: Pod | undefined): void {
    const pod = now ?? before
    const name = this.#owner(pod)?.name
    if (name === undefined) return
    const pods = this.#pods.get(name) ?? new Map<string, Pod>()
    this.#pods.set(name, pods)
    if (now === undefined) pods.delete(pod?.metadata?.name ?? '')
    else pods.set(now.metadata?.name ?? '', now)
    if (pods.size === 0) {
      this.#pods.delete(name)
      this.#deleted.delete(name)
    }
    this.#publish(name)
  }

  #publish(name: string): void {
    const { directory } = this.#options
    const sight = this.see(name)
    if (sight === undefined) directory.delete(name)
    else {
      const { uid, desired, replicas, refused } = sight
      directory.set(
        name,
        defined({ uid, desiredReplicas: desired, replicas, refused: refused?.reason }),
      )
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts[Symbol.asyncDispose]()
  }
}
