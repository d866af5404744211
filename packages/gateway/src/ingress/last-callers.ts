import type { Session } from '@mcp-gateway/mcp-http'
import type { Principal } from '../core/principal.ts'
import type { Exchange, Notes } from './exchange.ts'

/** The caller of a session's last request, and the way to add facts to its records. */
export interface LastCaller {
  readonly principal: Principal
  readonly requestId: string
  /** Does nothing once the request is over. */
  readonly note: (notes: Notes) => void
}

/**
 * The callers of legacy sessions, as of the last request of each. A session lives for days, so this
 * keeps no request that is over: its bytes are no longer counted.
 */
export class LastCallers {
  readonly #callers = new WeakMap<Session, LastCaller>()

  set(session: Session, exchange: Exchange): void {
    const { principal, requestId, response } = exchange
    let open: Exchange | undefined = exchange
    response.once('close', () => (open = undefined))
    this.#callers.set(session, { principal, requestId, note: (notes) => open?.note(notes) })
  }

  get(session: Session): LastCaller | undefined {
    return this.#callers.get(session)
  }
}
