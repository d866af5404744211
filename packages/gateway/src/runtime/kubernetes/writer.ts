import { createHash } from 'node:crypto'
import type { ObjectMeta } from 'kubernetes-types/meta/v1.js'
import type { StatefulSet } from 'kubernetes-types/apps/v1.js'
import type { KubernetesConfig } from '../../config/kubernetes.ts'
import type { Workload } from '../../core/workload.ts'
import { timeoutOr } from '../../lib/async/timeout-signal.ts'
import type { WorkloadRef } from '../runtime.ts'
import {
  KubernetesError,
  metadataOnly,
  type KubernetesApi,
  type KubernetesObject,
} from './api/api.ts'
import type { ClusterView } from './cluster-view.ts'
import { looksOf } from './sight.ts'
import { collection, kinds, type Kind } from './api/kinds.ts'
import { fieldManager, label, ourSelector, ownerOf } from './labels.ts'
import {
  environmentName,
  historyOf,
  renderManifests,
  serviceName,
  type Manifests,
} from './render.ts'

export interface WriterOptions {
  readonly api: KubernetesApi
  readonly settings: KubernetesConfig
  readonly view: ClusterView
  /** Resolves at the next change of a workload's pods, or when the signal aborts. */
  readonly changed: (name: string, signal: AbortSignal) => Promise<void>
}

/** An object of somebody else has the name that this gateway needs. */
class ForeignObject extends Error {
  override readonly name = 'ForeignObject'

  constructor(kind: Kind, name: string, namespace: string, cause?: unknown) {
    super(
      `The ${kind} '${name}' in the namespace '${namespace}' was not made by this gateway, ` +
        'so it is left alone. Remove it, or choose another name.',
      { cause },
    )
  }
}

/**
 * Writes rendered objects by server-side apply, and removes them. Checks ownership before each
 * change; each write names the object's uid, so that a replacement is never hit.
 */
export class Writer {
  readonly #options: WriterOptions
  /**
   * The last applied workload and its objects' state: while both are the same, apply does nothing.
   */
  readonly #applied = new Map<string, { readonly workload: string; readonly looks: string }>()

  constructor(options: WriterOptions) {
    this.#options = options
  }

  /**
   * @throws KubernetesError when the cluster refuses, ForeignObject when somebody else has the
   * name, Error while somebody deletes an object
   */
  async apply(workload: Workload, signal: AbortSignal): Promise<void> {
    const digest = createHash('sha256').update(JSON.stringify(workload)).digest('base64')
    const before = this.#applied.get(workload.name)
    if (before?.workload === digest && before.looks === this.#looks(workload.name)) return
    try {
      await this.#bring(workload, digest, await this.#findOurs(workload, signal, 'view'), signal)
    } catch (error) {
      if (!(error instanceof KubernetesError && error.status === 409)) throw error
      // The view was behind: the object has been replaced or deleted.
      await this.#bring(workload, digest, await this.#findOurs(workload, signal, 'cluster'), signal)
    }
  }

  async #bring(
    workload: Workload,
    digest: string,
    found: Partial<Record<Kind, KubernetesObject>>,
    signal: AbortSignal,
  ): Promise<void> {
    const stale = Object.values(found).find(
      ({ metadata }) => metadata?.labels?.[label.uid] !== workload.uid,
    )

    const owner = ownerOf(stale?.metadata, this.#options.settings.installation)
    if (owner !== undefined) {
      await this.remove(owner, signal)
      return this.apply(workload, signal)
    }

    const going = kinds.find((kind) => found[kind]?.metadata?.deletionTimestamp !== undefined)
    if (going !== undefined)
      throw new Error(
        `The ${going} of '${workload.name}' is being deleted. It is made again once it is gone.`,
      )

    const manifests = renderManifests(
      workload,
      this.#options.settings,
      historyOf(found.StatefulSet as StatefulSet | undefined),
    )
    const looks: (ObjectMeta | undefined)[] = []

    for (const kind of kinds) {
      const manifest = manifests[kind]
      const metadata = found[kind]?.metadata
      if (manifest === undefined && metadata !== undefined)
        await this.#delete(kind, metadata, signal)
      looks.push(
        manifest === undefined ? undefined : await this.#apply(kind, manifest, metadata, signal),
      )
    }

    const applied = { workload: digest, looks: looksOf(looks) }
    this.#applied.set(workload.name, applied)
    // Wait for the view, so that a later status does not show the state before.
    const bounded = timeoutOr(signal, viewLagMs)

    await this.#options.view.until(
      workload.name,
      () => this.#looks(workload.name) === applied.looks,
      bounded,
    )
  }

  /** Resolves when all objects of the workload are gone, pods included. */
  async remove(ref: WorkloadRef, signal: AbortSignal): Promise<void> {
    this.#applied.delete(ref.name)
    const found = await Promise.all(
      kinds.map(async (kind) => ({ kind, items: await this.#list(kind, ref, signal) })),
    )
    for (const { kind, items } of found)
      for (const { metadata } of items) await this.#delete(kind, metadata, signal)

    for (;;) {
      const { view, changed } = this.#options
      const change = changed(ref.name, timeoutOr(signal, 500))
      const left = await Promise.all([
        this.#list('StatefulSet', ref, signal),
        this.#list('Pod', ref, signal),
      ])

      const [sets, pods] = left
      // If somebody deleted a StatefulSet without its pods, only this gateway ends them.
      if (sets.length === 0)
        for (const { metadata } of pods)
          if (isOrphan(metadata)) await this.#delete('Pod', metadata, signal)

      // Wait for the view, too: later readers must not see what is gone.
      if (
        left.every((items) => items.length === 0) &&
        !view.workloads().some(({ name, uid }) => name === ref.name && uid === ref.uid)
      )
        return

      await change
      signal.throwIfAborted()
    }
  }

  /**
   * Finds a workload's objects in the cluster, or in the view, which costs nothing. Asks the
   * cluster for wanted objects that the view lacks, because somebody else may own them.
   * @throws ForeignObject
   */
  async #findOurs(
    workload: Workload,
    signal: AbortSignal,
    by: 'view' | 'cluster',
  ): Promise<Partial<Record<Kind, KubernetesObject>>> {
    const { api, settings, view } = this.#options
    const wanted = renderManifests(workload, settings)
    const found = await Promise.all(
      kinds.map(async (kind) => {
        const name = objectName(kind, workload.name)
        const known = view.get(kind, name)
        if (known === undefined && wanted[kind] === undefined) return [kind, undefined] as const
        if (known !== undefined && by === 'view') return [kind, known] as const

        const path = `${collection(kind, settings.namespace)}/${name}`
        const object = await api.find<KubernetesObject>(path, signal, { accept: metadataOnly.one })
        if (
          object !== undefined &&
          ownerOf(object.metadata, settings.installation)?.name !== workload.name
        )
          throw new ForeignObject(kind, name, settings.namespace)

        return [kind, object] as const
      }),
    )

    return Object.fromEntries(found.filter(([, object]) => object !== undefined)) as Partial<
      Record<Kind, KubernetesObject>
    >
  }

  async #apply(
    kind: Kind,
    manifest: NonNullable<Manifests[Kind]>,
    before: ObjectMeta | undefined,
    signal: AbortSignal,
  ): Promise<ObjectMeta | undefined> {
    const { api, settings } = this.#options
    const name = manifest.metadata?.name ?? ''

    try {
      const { metadata } = await api.json<KubernetesObject>(
        'PATCH',
        `${collection(kind, settings.namespace)}/${name}`,
        signal,
        {
          contentType: 'application/apply-patch+yaml',
          accept: metadataOnly.one,
          // Overwrite the fields of others only in this gateway's own objects. An object that was
          // created since the check gives a conflict.
          query: { fieldManager, force: before !== undefined },
          body:
            before === undefined
              ? manifest
              : { ...manifest, metadata: { ...manifest.metadata, uid: before.uid } },
        },
      )

      return metadata
    } catch (error) {
      if (before === undefined && error instanceof KubernetesError && error.status === 409)
        throw new ForeignObject(kind, name, settings.namespace, error)
      throw error
    }
  }

  async #delete(
    kind: Kind | 'Pod',
    metadata: ObjectMeta | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const { api, settings } = this.#options
    try {
      await api.json(
        'DELETE',
        `${collection(kind, settings.namespace)}/${metadata?.name}`,
        signal,
        {
          body: {
            apiVersion: 'v1',
            kind: 'DeleteOptions',
            // The object stays until its pods are gone, even if this gateway ends first.
            propagationPolicy: kind === 'StatefulSet' ? 'Foreground' : 'Background',
            preconditions: { uid: metadata?.uid },
          },
        },
      )
    } catch (error) {
      if (error instanceof KubernetesError && (error.status === 404 || error.status === 409)) return
      throw error
    }
  }

  async #list(
    kind: Kind | 'Pod',
    { name, uid }: WorkloadRef,
    signal: AbortSignal,
  ): Promise<KubernetesObject[]> {
    const { api, settings } = this.#options
    const ours = ourSelector(settings.installation)
    const labelSelector = `${ours},${label.name}=${name},${label.uid}=${uid}`
    const { items } = await api.list<KubernetesObject>(
      collection(kind, settings.namespace),
      signal,
      {
        accept: metadataOnly.list,
        query: { labelSelector },
      },
    )
    return items
  }

  #looks(name: string): string {
    return looksOf(
      kinds.map((kind) => this.#options.view.get(kind, objectName(kind, name))?.metadata),
    )
  }
}

/**
 * Milliseconds that the view may take to see a write. It lags so much only while the watch is
 * broken.
 */
const viewLagMs = 2000

function isOrphan(metadata: ObjectMeta | undefined): boolean {
  return metadata?.deletionTimestamp === undefined && (metadata?.ownerReferences ?? []).length === 0
}

function objectName(kind: Kind, name: string): string {
  if (kind === 'Secret') return environmentName(name)
  return kind === 'Service' ? serviceName(name) : name
}
