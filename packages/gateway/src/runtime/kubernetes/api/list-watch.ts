import { setTimeout as sleep } from 'node:timers/promises'
import type { Status } from 'kubernetes-types/meta/v1.js'
import { spreadBackoffMs, type Backoff } from '../../../lib/async/backoff.ts'
import { defined } from '../../../lib/defined.ts'
import type { Log } from '../../../telemetry/log.ts'
import {
  KubernetesError,
  type ApiRequest,
  type KubernetesApi,
  type KubernetesObject,
} from './api.ts'

export interface ListWatchOptions<T> {
  readonly api: Pick<KubernetesApi, 'list' | 'stream'>
  /** The path of the collection: `/api/v1/namespaces/adapter/pods`. */
  readonly path: string
  readonly labelSelector?: string
  readonly fieldSelector?: string
  /** Media types: one for lists, another for each event of a watch. */
  readonly accept?: { readonly list: string; readonly one: string }
  readonly log: Log
  /** Receives an object before and after a change; undefined where it did not or does not exist. */
  readonly changed: (before: T | undefined, now: T | undefined) => void
  /**
   * A watch that is silent for so long counts as dead and starts again where it was. The server
   * sends bookmarks about once a minute, so the value is higher.
   */
  readonly silenceMs?: number
  readonly retry?: Backoff
}

interface WatchEvent<T> {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR'
  readonly object: T
}

/**
 * A live copy by list and watch (Kubernetes API concepts, "Efficient detection of changes"). A
 * watch resumes; after 410, all is listed and compared, so that no change is missed.
 */
export class ListWatch<T extends KubernetesObject> implements AsyncDisposable {
  readonly #options: ListWatchOptions<T>
  readonly #items = new Map<string, T>()
  readonly #stop = new AbortController()
  #version = ''
  #following: Promise<void> = Promise.resolve()

  private constructor(options: ListWatchOptions<T>) {
    this.#options = options
  }

  /** Lists the collection, and follows it from then on. @throws any error of the first list */
  static async open<T extends KubernetesObject>(
    options: ListWatchOptions<T>,
  ): Promise<ListWatch<T>> {
    const watch = new ListWatch(options)
    await watch.#list()
    watch.#following = watch.#follow()
    return watch
  }

  get(name: string): T | undefined {
    return this.#items.get(name)
  }

  values(): IterableIterator<T> {
    return this.#items.values()
  }

  async #list(): Promise<void> {
    const { api, path, labelSelector, fieldSelector, accept } = this.#options
    const { items, version } = await api.list<T>(
      path,
      this.#stop.signal,
      defined({ accept: accept?.list, query: { labelSelector, fieldSelector } }),
    )
    const gone = new Set(this.#items.keys())
    for (const item of items) {
      gone.delete(nameOf(item))
      this.#set(item)
    }
    for (const name of gone) this.#delete(name)
    this.#version = version
  }

  /**
   * Follows changes until the copy is disposed. While the server is away, the copy stays as it is.
   */
  async #follow(): Promise<void> {
    const { log, path, retry = { firstMs: 200, maxMs: 5000 } } = this.#options
    const { signal } = this.#stop
    for (let failures = 0; !signal.aborted;) {
      const begun = performance.now()
      try {
        if (this.#version === '') await this.#list()
        for await (const event of this.#events()) {
          this.#take(event)
          failures = 0
        }

        // A watch that ends right after its start is a failure, too.
        failures = performance.now() - begun < 1000 ? failures + 1 : 0
      } catch (error) {
        if (signal.aborted) return
        const expired = isExpired(error)
        if (expired || error instanceof SyntaxError) this.#version = ''

        // A quiet collection without bookmarks is silent, too.
        if (!isSilence(error)) failures += 1
        if (failures === 1 && !expired)
          log.warn({ path, err: error }, 'watching the cluster broke off, trying again')
      }

      // Restart a watch at once if it ended normally. If it keeps failing, wait longer each time,
      // at random.
      const wait = failures === 0 ? 0 : spreadBackoffMs(retry, failures)
      await sleep(wait, undefined, { signal }).catch(() => undefined)
    }
  }

  async *#events(): AsyncGenerator<WatchEvent<T>> {
    const { api, path, labelSelector, fieldSelector, accept, silenceMs = 90_000 } = this.#options
    const request: ApiRequest = defined({
      accept: accept?.one,
      query: {
        labelSelector,
        fieldSelector,
        watch: true,
        allowWatchBookmarks: true,
        resourceVersion: this.#version,
        // The server ends the watch after this time. The random part spreads the restarts.
        timeoutSeconds: 240 + Math.floor(Math.random() * 240),
      },
    })

    let rest: Buffer = Buffer.alloc(0)
    for await (const chunk of await api.stream(path, this.#stop.signal, request, silenceMs)) {
      const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
      let from = 0

      for (let end = bytes.indexOf(0x0a); end !== -1; end = bytes.indexOf(0x0a, from)) {
        yield JSON.parse(bytes.toString('utf8', from, end)) as WatchEvent<T>
        from = end + 1
      }

      rest = bytes.subarray(from)
    }
  }

  /** @throws KubernetesError when the server reports that the watch has failed */
  #take({ type, object }: WatchEvent<T>): void {
    if (type === 'ERROR') {
      const status = object as Status
      throw new KubernetesError(status.code ?? 500, status)
    }
    if (type === 'DELETED') this.#delete(nameOf(object))
    else if (type !== 'BOOKMARK') this.#set(object)
    this.#version = object.metadata?.resourceVersion ?? this.#version
  }

  #set(item: T): void {
    const name = nameOf(item)
    const before = this.#items.get(name)
    if (
      before?.metadata?.uid === item.metadata?.uid &&
      before?.metadata?.resourceVersion === item.metadata?.resourceVersion
    )
      return
    this.#items.set(name, item)
    this.#options.changed(before, item)
  }

  #delete(name: string): void {
    const before = this.#items.get(name)
    if (before === undefined) return
    this.#items.delete(name)
    this.#options.changed(before, undefined)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#following
  }
}

function nameOf(item: KubernetesObject): string {
  return item.metadata?.name ?? ''
}

/**
 * The version is too old to resume from, or does not exist yet after a restore of the cluster's
 * store.
 */
function isExpired(error: unknown): boolean {
  return (
    error instanceof KubernetesError &&
    (error.status === 410 || (error.status >= 500 && /resource version/i.test(error.message)))
  )
}

function isSilence(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'UND_ERR_BODY_TIMEOUT'
}
