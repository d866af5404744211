import type { RequestOptions } from 'node:https'
import type { KubeConfig } from '@kubernetes/client-node'
import type { ListMeta, ObjectMeta, Status } from 'kubernetes-types/meta/v1.js'
import { Agent, ProxyAgent, type Dispatcher } from 'undici'
import type { KubernetesConfig } from '../../config/kubernetes.ts'

/** What the API server answered instead of what was asked for, in its words. */
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
  /** So long it may be silent, before it answers and while it does. */
  readonly timeoutMs?: number
}

/** Answers as metadata alone: what else an object holds is not needed, or is secret. */
export const metadataOnly = {
  one: 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1',
  list: 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1',
} as const

/**
 * The API server by HTTP. Whose credentials, and how they are renewed (files, programs, OpenID), is the official client's business;
 * its own requests are not used, because their watches end unseen.
 */
export class KubernetesApi implements AsyncDisposable {
  readonly server: string
  /** Of the kubeconfig's context; in a pod, its own. */
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

  /** @throws Error when there is no usable kubeconfig, with what to do */
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
          `The kubeconfig has no context '${context}'. It has: ${known}. (runtime.kubernetes.context)`,
        )
      }
      config.setCurrentContext(context)
    }
    const cluster = config.getCurrentCluster()
    // What the client falls back to, as kubectl does: nobody serves there.
    if (config.getCurrentContext() === 'loaded-context')
      throw new Error(
        'There is no kubeconfig, and this is no pod of a cluster. Set runtime.kubernetes.kubeconfig or KUBECONFIG.',
      )
    if (cluster === null || config.getCurrentUser() === null)
      throw new Error(
        'The kubeconfig names no cluster or no user. Set runtime.kubernetes.kubeconfig, KUBECONFIG, or runtime.kubernetes.context.',
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

  /** As `json`; undefined when there is no such object. */
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

  /** Every item of a list, asked for in pages, and the version of the whole. */
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

  /** An answer that goes on: a watch or a log. It fails when nothing comes for `silenceMs` (0: it may be silent for ever). */
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
        headers: {
          ...headers,
          accept,
          'user-agent': 'mcp-gateway',
          ...(body === undefined ? {} : { 'content-type': contentType ?? 'application/json' }),
        },
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

  /** Asked for each request, as they are renewed; connections are kept while they are the same. */
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
      // Watches on the old connections end in their own time.
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

/** What an operator can do. Quotas and webhooks answer 403, too, in words of their own. */
function adviceOn(status: number, said: string): string[] {
  if (status === 401)
    return [
      '(It does not know the caller: look at the user of the kubeconfig, or whether the token of the pod has expired.)',
    ]
  if (status === 403 && /\bcannot \S+ (resource|path) /.test(said))
    return [
      '(deploy/kubernetes/base/rbac.yaml has the rights that the gateway needs, and docs/kubernetes.md lists them.)',
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

/** Of several attempts (addresses of one name), the first tells. */
function reasonOf(error: unknown): string {
  const first: unknown = error instanceof AggregateError ? error.errors[0] : error
  return first instanceof Error ? first.message : String(first)
}
