import { writeObject, type RawObject } from '../json/raw-object.ts'

/**
 * One request of a client, as the code that answers it sees it. All texts are JSON-RPC messages.
 */
export interface Exchange {
  /** Sends the answer, and nothing after it. The status counts only if nothing was told before. */
  answer(status: number, message: string): void
  /**
   * Takes a result as `answer` does, before it is text, and may change it. An exchange that looks
   * into results has it, so that nobody writes text which it would read again.
   */
  give?(result: RawObject): void
  /** Sends a notification that belongs to the request, on its stream. */
  tell(message: string): void
}

export function requestMessage(id: string, method: string, params: string | undefined): string {
  return `{"jsonrpc":"2.0","id":${id},"method":${JSON.stringify(method)}${params === undefined ? '' : `,"params":${params}`}}`
}

export function notificationMessage(method: string, params: string | undefined): string {
  return `{"jsonrpc":"2.0","method":${JSON.stringify(method)}${params === undefined ? '' : `,"params":${params}`}}`
}

/** Gives a result to an exchange, which may change it. `id` is the raw id of the request. */
export function giveResult(exchange: Exchange, id: string, result: RawObject): void {
  if (exchange.give === undefined) exchange.answer(200, resultMessage(id, writeObject(result)))
  else exchange.give(result)
}

export function resultMessage(id: string, result: string): string {
  return `{"jsonrpc":"2.0","id":${id},"result":${result}}`
}

/**
 * Writes the same text for the same JSON value, in any order of its members. Returns a value that
 * is nested deeper than the stack allows as it is.
 */
export function canonical(raw: string): string {
  const sorted = (_key: string, value: unknown): unknown =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : value
  return withinStack(() => JSON.stringify(JSON.parse(raw), sorted)) ?? raw
}

/** Runs a recursion over a peer's value; undefined if the value is nested deeper than the stack. */
export function withinStack<T>(recursion: () => T): T | undefined {
  try {
    return recursion()
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    return undefined
  }
}
