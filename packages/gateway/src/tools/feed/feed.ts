import type { IncomingMessage, ServerResponse } from 'node:http'
import type { ReplicaDirectory } from '../../core/directories/directory.ts'
import { GatewayError } from '../../core/errors.ts'
import {
  credentialsOf,
  isTool,
  mapCredentials,
  type Resource,
  type SecretReference,
  type Tool,
} from '../../core/resource.ts'
import type { Entrance } from '../../ingress/entrance.ts'
import type { Exchange } from '../../ingress/exchange.ts'
import { hopHeader } from '../../ingress/peer-hop.ts'
import type { FoundSecret } from '../../upstream/outgoing.ts'
import type { Store } from '../../store/store.ts'
import { createLineSealer, feedPath, type FeedMessage } from './feed-lines.ts'

export interface ToolFeedOptions {
  readonly store: Pick<Store, 'list' | 'watch'>
  readonly directory: ReplicaDirectory
  readonly entrance: Entrance
  /** Keys that all gateway processes share. The first seals. */
  readonly keys: readonly Buffer[]
  /** The address by which servers know the gateway, as the issuer of identities. */
  readonly issuer: () => string
  /** The secrets that credentials refer to. */
  readonly secrets: {
    find(reference: SecretReference): FoundSecret
    onChange(listener: () => void): () => void
  }
}

const aliveMs = 5000
/** Bytes. A reader that lags so far behind is cut off, and begins again. */
const mostUnread = 32 * 1024 * 1024

/**
 * Tells tool gateways which tools exist, who may use them and where they run, so that tool gateways
 * need neither the store nor any right on the runtime.
 */
export class ToolFeed {
  readonly #options: ToolFeedOptions

  constructor(options: ToolFeedOptions) {
    this.#options = options
  }

  /** The feed does not exist for anybody but gateways. */
  take(request: IncomingMessage, response: ServerResponse): boolean {
    if (request.url !== feedPath || request.headers[hopHeader] === undefined) return false

    this.#options.entrance.admit(request, response, feedPath, (exchange) => {
      if (request.method !== 'GET')
        throw new GatewayError('method_not_allowed', { headers: { allow: 'GET' } })
      exchange.answer(() => {
        this.#tell(exchange).catch((error: unknown) => {
          exchange.fail(error)
          if (!response.writableEnded) response.destroy()
        })
      })
    })
    return true
  }

  async #tell({ request, response }: Exchange): Promise<void> {
    const { store, directory, keys } = this.#options
    const seal = createLineSealer(keys[0] as Buffer, String(request.headers[hopHeader]))
    const gone = new AbortController()
    response.once('close', () => gone.abort())

    const say = (message: FeedMessage): void => {
      if (response.writableEnded) return
      response.write(seal(message))
      if (response.writableLength > mostUnread) response.destroy()
    }

    // Watching begins before listing, so that a change in between is told twice rather than missed.
    const changes = store.watch(gone.signal)[Symbol.asyncIterator]()
    const first = changes.next()
    const tools = new Map<string, Tool>()
    const stopListening = directory.onChange((workload) => {
      if (tools.has(workload)) say({ workload, entry: directory.get(workload) ?? null })
    })
    const stopHearing = this.#options.secrets.onChange(() => {
      for (const tool of tools.values()) if (refersToSecret(tool)) say({ tool: this.#told(tool) })
    })
    const alive = setInterval(() => say({ alive: true }), aliveMs)

    try {
      const present = await store.list({ kind: 'tool' })
      response.writeHead(200, {
        'content-type': 'application/octet-stream',
        'cache-control': 'no-store',
      })

      const tellTool = (resource: Resource): void => {
        if (!isTool(resource)) return
        tools.set(resource.name, resource)
        say({ tool: this.#told(resource) })
        say({ workload: resource.name, entry: directory.get(resource.name) ?? null })
      }

      say({ issuer: this.#options.issuer() })
      for (const resource of present) tellTool(resource)
      say({ complete: true })

      for (let next = await first; next.done !== true; next = await changes.next()) {
        const { name, resource } = next.value
        if (resource !== undefined) tellTool(resource)
        else if (tools.delete(name)) say({ gone: name })
      }
    } finally {
      clearInterval(alive)
      stopListening()
      stopHearing()
      gone.abort()
      await changes.return?.()
    }
  }

  /**
   * The tool without its environment, which only the workload needs, and with the credential's
   * value, because a tool gateway has no secrets.
   */
  #told(tool: Tool): Tool {
    const told = mapCredentials(tool.spec, (each) => {
      if (!('secretRef' in each)) return each
      const found = this.#options.secrets.find(each.secretRef)
      return 'value' in found ? { header: each.header, value: found.value } : each
    })
    return { ...tool, spec: { ...tool.spec, environmentVariables: {}, ...told } }
  }
}

function refersToSecret({ spec }: Tool): boolean {
  return credentialsOf(spec).some((each) => 'secretRef' in each)
}
