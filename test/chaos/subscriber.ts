import { setTimeout as sleep } from 'node:timers/promises'
import { isSessionLost, type Connect, type Connection, type Place } from './clients.ts'
import type { Ledger } from './ledger.ts'

/**
 * A client that reads each resource when it has subscribed, and whenever it hears of an update. It
 * subscribes again, and reads again, when its stream or session is lost.
 */
export class Subscriber {
  readonly name: string
  /** The newest count that was read, by address. */
  readonly seen = new Map<string, number>()
  readonly #ledger: Ledger
  readonly #uris: readonly string[]
  readonly #open: (lost: () => void) => Promise<Connection>
  #connection: Connection | undefined
  #opening: Promise<void> | undefined
  #stopped = false

  constructor(
    ledger: Ledger,
    name: string,
    connect: Connect,
    place: Place,
    uris: readonly string[],
  ) {
    this.name = name
    this.#ledger = ledger
    this.#uris = uris
    this.#open = (lost) => connect(place, { updated: (uri) => void this.#read(uri), lost })
  }

  async start(): Promise<void> {
    const mine: { connection?: Connection } = {}
    const lost = (): void => {
      if (this.#stopped || mine.connection === undefined) return
      if (this.#connection === mine.connection) this.#again()
    }
    const connection = await this.#open(lost)
    mine.connection = connection
    this.#connection = connection
    await connection.subscribe(this.#uris)
    await Promise.all(this.#uris.map((uri) => this.#read(uri)))
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#opening
    await this.#connection?.close()
  }

  /** The resources whose count is older than this one. */
  behind(count: number): readonly string[] {
    return this.#uris.filter((uri) => (this.seen.get(uri) ?? -1) < count)
  }

  #again(): void {
    this.#opening ??= this.#startAgain().finally(() => (this.#opening = undefined))
  }

  async #startAgain(): Promise<void> {
    this.#ledger.subscribedAgain += 1
    const lost = this.#connection
    this.#connection = undefined
    await lost?.close().catch(() => undefined)
    while (!this.#stopped)
      try {
        return await this.start()
      } catch {
        await sleep(100)
      }
  }

  async #read(uri: string): Promise<void> {
    const connection = this.#connection
    if (connection === undefined || this.#stopped) return
    const once = async (): Promise<unknown> => {
      try {
        return await connection.read(uri)
      } catch (error) {
        const isCurrent = connection === this.#connection
        if (isCurrent && !isSessionLost(error)) throw error
        // The client reads it when it has subscribed again.
        if (isCurrent) this.#again()
        return undefined
      }
    }
    const read = await this.#ledger.count(`${this.name} reads ${uri}`, once)
    const { contents = [] } = (read ?? {}) as { contents?: readonly { text?: string }[] }
    const count = Number(contents[0]?.text ?? -1)
    this.seen.set(uri, Math.max(count, this.seen.get(uri) ?? -1))
  }
}
