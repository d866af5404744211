import type { Replica } from '../core/workload.ts'
import type { Dispatching } from './shared-connections.ts'

/** A replica, or what stands for one elsewhere, as requests use it: its connections and how busy it is. */
export interface Upstream {
  readonly replica: Replica
  readonly origin: string
  readonly host: string
  /** It is no replica of ours. */
  readonly external: boolean
  /** Sends requests of one caller, within its share of the connections. `caller` as by `partyOf`. */
  readonly via: (caller: string) => Dispatching
  /** Requests and streams that are open on it. */
  inFlight: number
}
