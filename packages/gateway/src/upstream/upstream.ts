import type { Replica } from '../core/workload.ts'
import type { Dispatching } from './shared-connections.ts'

/** A replica, or a server elsewhere, as requests use it: its connections and its load. */
export interface Upstream {
  readonly replica: Replica
  readonly origin: string
  readonly host: string
  /** True for a server elsewhere, which is no replica of the gateway's runtime. */
  readonly external: boolean
  /**
   * Sends requests of one caller, within its share of the connections. `partyOf` gives `caller`.
   */
  readonly via: (caller: string) => Dispatching
  /** Requests and streams that are open on it. */
  inFlight: number
}
