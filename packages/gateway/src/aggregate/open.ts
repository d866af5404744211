import type { Config } from '../config/config.ts'
import type { CallerShares } from '../core/shares.ts'
import { Parts } from '../lib/async/parts.ts'
import type { Servers } from '../servers/open.ts'
import { ServerRequests } from '../servers/server-requests.ts'
import type { Log } from '../telemetry/log.ts'
import { LargeResults } from './calls/large-results.ts'
import { Tickets, type TicketOptions } from './calls/tickets.ts'
import { AggregateFront, type FrontOptions } from './front/front.ts'
import { SessionNotes, type SessionNotesOptions } from './front/session-notes.ts'
import { KeptLists, type KeptListsOptions } from './lists/kept-lists.ts'
import { noLists, noServers } from './no-store.ts'
import { ListenerPlaces } from './server/listener-places.ts'
import { VirtualServers, type VirtualServersOptions } from './virtual-servers.ts'
import { WarmLists } from './warm-lists.ts'

export interface AggregateOptions
  extends
    Pick<FrontOptions, 'peers' | 'entrance' | 'hop' | 'sealer'>,
    Pick<VirtualServersOptions, 'directory' | 'routes' | 'tools' | 'version'>,
    TicketOptions {
  /** Undefined for a process without a store. */
  readonly store:
    | {
        readonly servers: VirtualServersOptions['servers']
        readonly lists: KeptListsOptions['store']
        readonly sessions: SessionNotesOptions['store']
      }
    | undefined
  readonly servers: Servers
  readonly config: Pick<Config, 'tools' | 'proxy'>
  readonly shares: CallerShares
  readonly log: Log
}

/** The plane of many: `/mcp`, `/servers/{name}/mcp` and `/servers/{name}/search/mcp`. */
export interface Aggregate extends AsyncDisposable, Pick<AggregateFront, 'take'> {
  readonly virtualServers: VirtualServers
  drain(): void
}

export async function openAggregate(options: AggregateOptions): Promise<Aggregate> {
  const { config, log, servers, store } = options
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
        servers: store?.servers ?? noServers,
        guard,
        requests: new ServerRequests({ ...options, adapters, upstreams, answerTimeoutMs }),
        tickets,
        largeResults,
        room: listBytes,
        kept: new KeptLists({
          store: store?.lists ?? noLists,
          failed: (error) => log.warn({ err: error }, 'the lists of members cannot be kept'),
          now: options.now,
        }),
        pageSize: config.tools.pageSize,
        listeners: new ListenerPlaces(config.tools.maxListenersPerCaller),
        warm: new WarmLists(listBytes.most),
        callFailed: (error, requestId) =>
          log.error({ requestId, err: error }, 'a tool call failed'),
      }),
    )
    const maxAgeMs = config.proxy.sessionMaxAgeSeconds * 1000
    const { now } = options
    const notes = store && new SessionNotes({ store: store.sessions, maxAgeMs, now })
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
