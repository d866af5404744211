import type { Config } from '../config/config.ts'
import type { CallerShares } from '../core/shares.ts'
import type { PeerDirectory } from '../core/directories/peers.ts'
import type { VirtualServer } from '../core/virtual-servers/virtual-server.ts'
import type { ReplicaDirectory } from '../core/directories/directory.ts'
import type { Entrance } from '../ingress/entrance.ts'
import type { Hop } from '../ingress/peer-hop.ts'
import type { SessionSealer } from '../ingress/session-sealer.ts'
import { Parts } from '../lib/async/parts.ts'
import type { Servers } from '../servers/open.ts'
import type { RouteTable } from '../servers/routes.ts'
import { ServerRequests } from '../servers/server-requests.ts'
import type { Collection } from '../store/store.ts'
import type { Log } from '../telemetry/log.ts'
import type { RegisteredTools } from '../tools/registered-tools.ts'
import { AggregateFront } from './front/front.ts'
import { KeptLists, type KeptListsOptions } from './lists/kept-lists.ts'
import { LargeResults } from './calls/large-results.ts'
import { SessionNotes, type SessionNotesOptions } from './front/session-notes.ts'
import { Tickets } from './calls/tickets.ts'
import { VirtualServers } from './virtual-servers.ts'

export interface AggregateOptions {
  readonly store: Pick<Collection<VirtualServer>, 'list' | 'watch'>
  readonly lists: KeptListsOptions['store']
  /** Undefined for a process without a store. */
  readonly sessions: SessionNotesOptions['store'] | undefined
  /** The other processes that serve the same virtual servers. */
  readonly peers: PeerDirectory
  readonly routes: Pick<RouteTable, 'get' | 'values' | 'onChange'>
  readonly servers: Servers
  readonly tools: RegisteredTools
  readonly directory: ReplicaDirectory
  /** Keys of 32 bytes that all gateways share. The first seals, all open. */
  readonly keys: readonly Buffer[]
  readonly config: Pick<Config, 'tools' | 'proxy'>
  readonly entrance: Entrance
  readonly hop: Hop
  readonly sealer: SessionSealer
  readonly shares: CallerShares
  readonly version: string
  readonly log: Log
  readonly now: () => number
}

/** The plane of many: `/mcp`, `/servers/{name}/mcp` and `/servers/{name}/search/mcp`. */
export interface Aggregate extends AsyncDisposable, Pick<AggregateFront, 'take'> {
  readonly virtualServers: VirtualServers
  drain(): void
}

export async function openAggregate(options: AggregateOptions): Promise<Aggregate> {
  const { config, servers, log } = options
  const parts = new Parts()
  const answerTimeoutMs = config.proxy.answerTimeoutSeconds * 1000
  const tickets = new Tickets(options)
  const { heldBytes, listBytes } = options.shares
  const largeResults = parts.use(new LargeResults({ tickets, self: options.hop.self, heldBytes }))
  try {
    const { adapters, guard, upstreams } = servers
    const virtualServers = parts.use(
      await VirtualServers.open({
        ...options,
        servers: options.store,
        guard,
        requests: new ServerRequests({ ...options, adapters, upstreams, answerTimeoutMs }),
        tickets,
        largeResults,
        room: listBytes,
        kept: new KeptLists({
          store: options.lists,
          failed: (error) => log.warn({ err: error }, 'the lists of members cannot be kept'),
          now: options.now,
        }),
        pageSize: config.tools.pageSize,
        maxListenersPerCaller: config.tools.maxListenersPerCaller,
        callFailed: (error, requestId) =>
          log.error({ requestId, err: error }, 'a tool call failed'),
      }),
    )
    const maxAgeMs = config.proxy.sessionMaxAgeSeconds * 1000
    const { now, sessions } = options
    const notes = sessions && new SessionNotes({ store: sessions, maxAgeMs, now })
    const front = parts.use(
      new AggregateFront({
        ...options,
        answerTimeoutMs,
        notes,
        noteFailed: (error) => log.warn({ err: error }, 'a session cannot be noted'),
        cameFromHere: (request) => upstreams.cameFromHere(request),
        find: (place, principal) => virtualServers.find(place, principal),
        uidOf: (place, principal) => virtualServers.uidOf(place, principal),
      }),
    )
    return {
      virtualServers,
      take: (request, response) => front.take(request, response),
      drain: () => virtualServers.drain(),
      [Symbol.asyncDispose]: () => parts[Symbol.asyncDispose](),
    }
  } catch (error) {
    await parts[Symbol.asyncDispose]()
    throw error
  }
}

/** For a process without virtual servers. */
export const noServers: AggregateOptions['store'] = {
  list: async () => [],
  watch: (signal) => ({
    [Symbol.asyncIterator]: () => ({
      next: () =>
        new Promise((resolve) => {
          const end = (): void => resolve({ done: true, value: undefined })
          if (signal.aborted) end()
          else signal.addEventListener('abort', end, { once: true })
        }),
    }),
  }),
}

/** For a process without members that list anything. */
export const noLists: KeptListsOptions['store'] = {
  get: async () => undefined,
  create: async () => undefined,
  replace: async () => undefined,
  delete: async () => undefined,
}
