import type { IncomingMessage } from 'node:http'
import { Shares, type BodyBounds } from '@mcp-gateway/mcp-http'
import { callerOf } from './caller.ts'

/** Bytes of the bodies of open requests, of all callers together: as many as a gateway has. */
const mostBytes = 256 * 1024 * 1024

/** The bounds of bodies, whatever their requests wait for: the start of a server, or a free child. */
export class Bodies {
  readonly #limitBytes: number
  readonly #shares: Shares

  constructor(limitBytes: number, most = mostBytes) {
    this.#limitBytes = limitBytes
    this.#shares = new Shares(Math.max(most, 4 * limitBytes))
  }

  of(request: IncomingMessage): BodyBounds {
    return {
      limitBytes: this.#limitBytes,
      room: () => this.#shares.open(callerOf(request)),
    }
  }
}
