import type { IncomingMessage } from 'node:http'
import { Shares, type BodyBounds } from '@mcp-gateway/mcp-http'
import { callerOf } from './caller.ts'

/** Bytes in the bodies of all open requests together. A gateway has the same bound. */
const mostBytes = 256 * 1024 * 1024

/** Bounds request bodies while their requests wait for a server to start or for a free child. */
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
