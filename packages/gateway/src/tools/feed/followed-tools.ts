import { setTimeout as sleep } from 'node:timers/promises'
import { LineFramer } from '@mcp-gateway/protocol'
import { request as send } from 'undici'
import { ReplicaDirectory } from '../../core/directories/directory.ts'
import type { Tool } from '../../core/resource.ts'
import { backoffMs } from '../../lib/async/backoff.ts'
import { anyPeer, hopHeader, type Hop } from '../../ingress/peer-hop.ts'
import type { Change, ListQuery } from '../../store/store.ts'
import { Watcher } from '../../store/watcher.ts'
import type { Log } from '../../telemetry/log.ts'
import { createLineOpener, feedPath, type FeedMessage } from './feed-lines.ts'

export interface FollowedToolsOptions {
  /** Origins of gateways. Any one of them is enough. */
  readonly gateways: readonly string[]
  readonly hop: Hop
  readonly keys: readonly Buffer[]
  readonly log: Log
}

/** A feed that is silent for so long is given up. */
const silentMs = 15_000
const retry = { firstMs: 200, maxMs: 5000 }
/** Bytes. Longer than any definition of a tool may be. */
const longestLine = 16 * 1024 * 1024
const follower = { id: 'tool-gateway', issuer: 'gateway', name: 'tool-gateway', roles: [] }

/**
 * The tools of a gateway's feed, and where they run. If no gateway can be reached, the known tools
 * stay.
 */
export class FollowedTools implements AsyncDisposable {
  readonly directory = new ReplicaDirectory()
  readonly #options: FollowedToolsOptions
  readonly #tools = new Map<string, Tool>()
  readonly #watchers = new Set<Watcher>()
  readonly #stop = new AbortController()
  readonly #following: Promise<void>
  #complete = false
  #issuer = ''

  constructor(options: FollowedToolsOptions) {
    this.#options = options
    this.#following = this.#follow()
  }

  /** True once all tools are known, even if the feed has broken off since. */
  get complete(): boolean {
    return this.#complete
  }

  /** The address by which servers know the gateway, as the issuer of identities. */
  get issuer(): string {
    return this.#issuer
  }

  list({ after = '', limit }: Pick<ListQuery, 'after' | 'limit'>): Promise<readonly Tool[]> {
    const names = [...this.#tools.keys()].filter((name) => name > after).toSorted()
    return Promise.resolve(names.slice(0, limit).map((name) => this.#tools.get(name) as Tool))
  }

  /** Changes from now on; see `Store.watch`. */
  async *watch(signal: AbortSignal): AsyncIterable<Change> {
    const watcher = new Watcher()
    this.#watchers.add(watcher)
    try {
      yield* watcher.changes(signal)
    } finally {
      this.#watchers.delete(watcher)
    }
  }

  async #follow(): Promise<void> {
    const { gateways, log } = this.#options
    const { signal } = this.#stop
    let failures = 0
    for (let turn = 0; !signal.aborted; turn += 1) {
      const gateway = gateways[turn % gateways.length] as string
      try {
        await this.#hear(gateway, () => (failures = 0))
      } catch (error) {
        if (signal.aborted) return
        log.warn({ gateway, err: error }, 'the tool feed broke off; what is known goes on')
      }
      failures += 1
      // Each gateway is tried once before the first pause.
      if (failures % gateways.length !== 0) continue
      await sleep(backoffMs(retry, failures), undefined, { signal }).catch(() => undefined)
    }
  }

  /** Follows one feed until it ends. */
  async #hear(gateway: string, stands: () => void): Promise<void> {
    const { hop, keys, log } = this.#options
    const signature = hop.sign({
      to: anyPeer,
      method: 'GET',
      url: feedPath,
      headers: {},
      principal: follower,
      body: null,
    })

    const { statusCode, body } = await send(new URL(feedPath, gateway), {
      headers: { [hopHeader]: signature },
      signal: this.#stop.signal,
      headersTimeout: silentMs,
      bodyTimeout: silentMs,
    })
    if (statusCode !== 200) {
      await body.dump()
      throw new Error(
        `The gateway answered with HTTP ${statusCode}: are its keys (sessions.keys) the same?`,
      )
    }

    const open = createLineOpener(keys, signature)
    const named = new Set<string>()
    let complete = false

    for await (const line of linesOf(body)) {
      const message = open(line)
      if ('tool' in message) named.add(message.tool.name)

      if ('complete' in message) {
        complete = true
        for (const name of this.#tools.keys()) if (!named.has(name)) this.#take({ gone: name })
        if (!this.#complete) log.info({ gateway, tools: this.#tools.size }, 'all tools are known')
        this.#complete = true
        stands()
      }

      this.#take(message)
    }

    throw new Error(
      complete ? 'The gateway ended it.' : 'The gateway ended it before all was told.',
    )
  }

  #take(message: FeedMessage): void {
    if ('tool' in message) {
      const { tool } = message
      this.#tools.set(tool.name, tool)
      this.#notify({ kind: 'tool', name: tool.name, resource: tool })
    } else if ('gone' in message) {
      this.#tools.delete(message.gone)
      this.directory.delete(message.gone)
      this.#notify({ kind: 'tool', name: message.gone })
    } else if ('issuer' in message) {
      this.#issuer = message.issuer
    } else if ('workload' in message) {
      if (message.entry === null) this.directory.delete(message.workload)
      else this.directory.set(message.workload, message.entry)
    }
  }

  #notify(change: Change): void {
    for (const watcher of this.#watchers) watcher.notify(change)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#following
  }
}

async function* linesOf(chunks: AsyncIterable<Buffer>): AsyncIterable<string> {
  let lines: string[] = []
  const framer = new LineFramer(longestLine, {
    line: (line) => lines.push(Buffer.from(line).toString('latin1')),
    tooLong: () => {
      throw new Error('A line of the tool feed is too long.')
    },
  })
  for await (const chunk of chunks) {
    framer.push(chunk)
    yield* lines
    lines = []
  }
}
