import type { PeerDirectory } from '../../core/directories/peers.ts'
import { monotonicNow } from '../../lib/clock.ts'

/** A tool gateway that could not be reached is tried last for so long. */
const restMs = 2000

/** Spreads requests over the tool gateways. */
export class GatewayTurns {
  readonly #toolGateways: PeerDirectory
  readonly #open = new Map<string, number>()
  readonly #restsUntil = new Map<string, number>()
  #turn = 0

  constructor(toolGateways: PeerDirectory) {
    this.#toolGateways = toolGateways
  }

  /**
   * Sorts the tool gateways: ready and reachable ones first, then those with the fewest open
   * requests. Equal ones take turns.
   */
  order(): readonly string[] {
    const now = monotonicNow()
    for (const [name, until] of this.#restsUntil) if (until <= now) this.#restsUntil.delete(name)
    const peers = [...this.#toolGateways.entries()].map(([name, { ready }]) => ({
      name,
      waits: !ready || this.#restsUntil.has(name),
      open: this.#open.get(name) ?? 0,
    }))
    const turn = (this.#turn = (this.#turn + 1) % Math.max(1, peers.length))
    const inTurn = [...peers.slice(turn), ...peers.slice(0, turn)]
    return inTurn
      .sort((a, b) => Number(a.waits) - Number(b.waits) || a.open - b.open)
      .map(({ name }) => name)
  }

  /** Counts a request as open, until the returned function is called. */
  begin(name: string): () => void {
    this.#open.set(name, (this.#open.get(name) ?? 0) + 1)
    let settled = false
    return () => {
      if (settled) return
      settled = true
      const left = (this.#open.get(name) ?? 1) - 1
      if (left > 0) this.#open.set(name, left)
      else this.#open.delete(name)
    }
  }

  /** A tool gateway could not be reached. */
  rest(name: string): void {
    this.#restsUntil.set(name, monotonicNow() + restMs)
  }
}
