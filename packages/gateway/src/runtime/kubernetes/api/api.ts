import type { RequestOptions } from 'node:https'
import type { KubeConfig } from '@kubernetes/client-node'
import type { ListMeta, ObjectMeta, Status } from 'kubernetes-types/meta/v1.js'
import { Agent, ProxyAgent, type Dispatcher } from 'undici'
import type { KubernetesConfig } from '../../../config/kubernetes.ts'
import { defined } from '../../../lib/defined.ts'

/** An error answer of the API server, in its words. */
export class KubernetesError extends Error {
  override readonly name = 'KubernetesError'
  readonly status: number
  /** The machine-readable reason: `AlreadyExists`, `Expired`, `Forbidden`. */
  readonly reason: string

  constructor(status: number, { message, reason }: Pick<Status, 'message' | 'reason'>) {
    const said =
      message === undefined || message === '' ? `The API server answered ${status}.` : message
    super([said, ...adviceOn(status, said)].join(' '))
    this.status = status
    this.reason = reason ?? ''
  }
}

export interface KubernetesObject {
  readonly apiVersion?: string
  readonly kind?: string
  readonly metadata?: ObjectMeta
}

export interface KubernetesList<T> {
  readonly metadata?: ListMeta
  /** Null in an empty list of metadata. */
  readonly items: readonly T[] | null
}

type Query = Readonly<Record<string, string | number | boolean | undefined>>

export interface ApiRequest {
  readonly query?: Query
  readonly body?: unknown
  readonly contentType?: string
  readonly accept?: string
  /** Milliseconds for which the server may be silent, before and during its answer. */
  readonly timeoutMs?: number
}

/** Requests only the metadata of objects: the rest is not needed, or is secret. */
export const metadataOnly = {
  one: 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1',
  list: 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1',
} as const

/**
 * Talks HTTP to the API server. The official client reads and renews the credentials (files,
 * programs, OpenID), but sends no requests, because its watches end silently.
 */
export class KubernetesApi implements AsyncDisposable {
  readonly server: string
  /** The namespace of the kubeconfig's context; in a pod, the pod's own. */
  readonly namespace: string
  readonly #config: KubeConfig
  readonly #proxy: string | undefined
  #dispatcher: { readonly key: string; readonly dispatcher: Dispatcher } | undefined

  private constructor(config: KubeConfig, server: string, proxy: string | undefined) {
    this.#config = config
    this.server = server
    this.namespace = config.getContextObject(config.getCurrentContext())?.namespace ?? 'default'
    this.#proxy = proxy
  }

  /** @throws Error when no kubeconfig is usable, with advice */
  static async open({
    kubeconfig,
    context,
  }: Pick<KubernetesConfig, 'kubeconfig' | 'context'>): Promise<KubernetesApi> {
    const client = await import('@kubernetes/client-node')
    const config = new client.KubeConfig()

    try {
      if (kubeconfig === undefined) config.loadFromDefault()
      else config.loadFromFile(kubeconfig)
    } catch (error) {
      throw new Error(
        `The kubeconfig cannot be read: ${error instanceof Error ? error.message : String(error)}`,
        { cause: error },
      )
    }

    if (context !== undefined) {
      if (config.getContextObject(context) === null) {
        const known = config.contexts.map(({ name }) => name).join(', ')
        throw new Error(
          `The kubeconfig has no context '${context}'. It has: ${known}. ` +
            '(runtime.kubernetes.context)',
        )
      }

      config.setCurrentContext(context)
    }

    const cluster = config.getCurrentCluster()
    // The client, like kubectl, falls back to this context, where no server listens.
    if (config.getCurrentContext() === 'loaded-context')
      throw new Error(
        'There is no kubeconfig, and this is no pod of a cluster. ' +
          'Set runtime.kubernetes.kubeconfig or KUBECONFIG.',
      )
    if (cluster === null || config.getCurrentUser() === null)
      throw new Error(
        'The kubeconfig names no cluster or no user. Set runtime.kubernetes.kubeconfig, ' +
          'KUBECONFIG, or runtime.kubernetes.context.',
      )

    return new KubernetesApi(config, cluster.server.replace(/\/+$/, ''), cluster.proxyUrl)
  }

  /** @throws KubernetesError, or Error when the server cannot be reached */
  async json<T>(
    method: Dispatcher.HttpMethod,
    path: string,
    signal: AbortSignal,
    request: ApiRequest = {},
  ): Promise<T> {
    const { timeoutMs = 30_000 } = request
    const { body } = await this.#send(method, path, request, {
      signal,
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
    })
    return (await body.json()) as T
  }

  /** Like `json`, but undefined when there is no such object. */
  async find<T>(
    path: string,
    signal: AbortSignal,
    request: ApiRequest = {},
  ): Promise<T | undefined> {
    try {
      return await this.json<T>('GET', path, signal, request)
    } catch (error) {
      if (error instanceof KubernetesError && error.status === 404) return undefined
      throw error
    }
  }

  /** Reads every item of a list in pages, with the version of the whole list. */
  async list<T>(
    path: string,
    signal: AbortSignal,
    { query, ...request }: ApiRequest = {},
  ): Promise<{ items: T[]; version: string }> {
    const items: T[] = []
    for (let from: string | undefined; ;) {
      const page: KubernetesList<T> = await this.json('GET', path, signal, {
        ...request,
        query: { ...query, limit: 500, continue: from },
      })
      items.push(...(page.items ?? []))
      from = page.metadata?.continue
      if (from === undefined || from === '')
        return { items, version: page.metadata?.resourceVersion ?? '' }
    }
  }

  /** Opens a watch or a log. The stream fails when it is silent for `silenceMs` (0: never). */
  async stream(
    path: string,
    signal: AbortSignal,
    request: Omit<ApiRequest, 'timeoutMs'>,
    silenceMs: number,
  ): Promise<AsyncIterable<Buffer>> {
    return (
      await this.#send('GET', path, request, {
        signal,
        headersTimeout: 10_000,
        bodyTimeout: silenceMs,
      })
    ).body
  }

  async #send(
    method: Dispatcher.HttpMethod,
    path: string,
    { query = {}, body, contentType, accept = 'application/json' }: Omit<ApiRequest, 'timeoutMs'>,
    options: Pick<Dispatcher.RequestOptions, 'headersTimeout' | 'bodyTimeout'> & {
      readonly signal: AbortSignal
    },
  ): Promise<Dispatcher.ResponseData> {
    const { dispatcher, headers } = await this.#credentials()
    const url = new URL(this.server + path)
    for (const [key, value] of Object.entries(query))
      if (value !== undefined) url.searchParams.set(key, String(value))

    let response: Dispatcher.ResponseData
    try {
      response = await dispatcher.request({
        origin: url.origin,
        path: url.pathname + url.search,
        method,
        headers: defined({
          ...headers,
          accept,
          'user-agent': 'mcp-gateway',
          'content-type': body === undefined ? undefined : (contentType ?? 'application/json'),
        }),
        body: body === undefined ? null : JSON.stringify(body),
        ...options,
      })
    } catch (error) {
      if (options.signal.aborted) throw error
      throw new Error(`The API server at ${this.server} cannot be reached: ${reasonOf(error)}`, {
        cause: error,
      })
    }

    if (response.statusCode < 300) return response
    throw new KubernetesError(response.statusCode, statusOf(await response.body.text()))
  }

  /**
   * Asks for credentials for each request, as they are renewed. Connections stay open while the
   * credentials stay the same.
   */
  async #credentials(): Promise<{
    readonly dispatcher: Dispatcher
    readonly headers: Record<string, string>
  }> {
    const options: RequestOptions = {}
    await this.#config.applyToHTTPSOptions(options)
    const { ca, cert, key, pfx, passphrase, rejectUnauthorized, servername, auth } = options
    const given = Object.entries({ ca, cert, key, pfx, passphrase, rejectUnauthorized, servername })
    const tls = Object.fromEntries(given.filter(([, value]) => value !== undefined))

    const id = JSON.stringify(
      given.map(([, value]) => (Buffer.isBuffer(value) ? value.toString('base64') : value)),
    )
    if (this.#dispatcher?.key !== id) {
      // Watches on the old connections end by themselves.
      this.#dispatcher?.dispatcher.close().catch(() => undefined)
      const connect = { ...tls, timeout: 5000 }
      const dispatcher =
        this.#proxy === undefined
          ? new Agent({ connect, keepAliveTimeout: 30_000 })
          : new ProxyAgent({ uri: this.#proxy, requestTls: connect, keepAliveTimeout: 30_000 })

      this.#dispatcher = { key: id, dispatcher }
    }

    const headers = Object.fromEntries(
      Object.entries(options.headers ?? {}).map(([name, value]) => [name, String(value)]),
    )
    if (auth !== undefined && auth !== null)
      headers['authorization'] = `Basic ${Buffer.from(auth).toString('base64')}`

    return { dispatcher: this.#dispatcher.dispatcher, headers }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#dispatcher?.dispatcher.destroy()
  }
}

/** Advice for the operator. Quotas and webhooks also answer 403, in words of their own. */
function adviceOn(status: number, said: string): string[] {
  if (status === 401)
    return [
      '(It does not know the caller: look at the user of the kubeconfig, ' +
        'or whether the token of the pod has expired.)',
    ]
  if (status === 403 && /\bcannot \S+ (resource|path) /.test(said))
    return [
      '(deploy/kubernetes/base/rbac.yaml has the rights that the gateway needs, ' +
        'and docs/kubernetes.md lists them.)',
    ]
  return []
}

function statusOf(text: string): Pick<Status, 'message' | 'reason'> {
  try {
    return JSON.parse(text) as Status
  } catch {
    return { message: text.slice(0, 500) }
  }
}

/** Returns the first error of several attempts (addresses of one name). */
function reasonOf(error: unknown): string {
  const first: unknown = error instanceof AggregateError ? error.errors[0] : error
  return first instanceof Error ? first.message : String(first)
}
