import { setTimeout as sleep } from 'node:timers/promises'
import { isSessionLost, type Connect, type Connection, type Place } from './clients.ts'
import type { Ledger } from './ledger.ts'

/** The answer of the tool `where` of a member. */
export interface Where {
  readonly incarnation: string
  readonly count: number
}

interface ToolResult {
  readonly isError?: boolean
  readonly content?: readonly { readonly text?: string }[]
  readonly structuredContent?: Where
}

/** Calls the tool of a member. @throws Error for a result that tells of an error */
export async function where(connection: Connection, alias: string): Promise<Where> {
  const { content, isError, structuredContent } = (await connection.call(
    `${alias}_where`,
  )) as ToolResult
  const [{ text = '' } = {}] = content ?? []
  if (isError === true) throw new Error(text)
  return structuredContent ?? (JSON.parse(text) as Where)
}

/** A client that calls one member after the other until it is stopped. */
export class Caller {
  readonly #ledger: Ledger
  readonly #connect: () => Promise<Connection>
  readonly #done: Promise<void>
  #stopped = false

  constructor(ledger: Ledger, connect: Connect, place: Place, aliases: readonly string[]) {
    this.#ledger = ledger
    this.#connect = () => connect(place)
    this.#done = this.#run(aliases)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#done
  }

  async #run(aliases: readonly string[]): Promise<void> {
    let connection = await this.#connect()
    const once = async (alias: string): Promise<Where> => {
      try {
        return await where(connection, alias)
      } catch (error) {
        if (!isSessionLost(error)) throw error
        this.#ledger.sessionsEnded += 1
        connection = await this.#connect()
        return where(connection, alias)
      }
    }
    for (let turn = 0; !this.#stopped; turn += 1) {
      const alias = aliases[turn % aliases.length] ?? ''
      await this.#ledger.count(`call of ${alias}`, () => once(alias))
      await sleep(20)
    }
    await connection.close()
  }
}
