/** One request of a client, seen by what answers it. All texts are JSON-RPC messages. */
export interface Exchange {
  /** The answer, after which nothing follows. The status counts if nothing was told before. */
  answer(status: number, message: string): void
  /** A notification that belongs to the request, on its stream. */
  tell(message: string): void
}

export function requestMessage(id: string, method: string, params: string | undefined): string {
  return `{"jsonrpc":"2.0","id":${id},"method":${JSON.stringify(method)}${params === undefined ? '' : `,"params":${params}`}}`
}

export function notificationMessage(method: string, params: string | undefined): string {
  return `{"jsonrpc":"2.0","method":${JSON.stringify(method)}${params === undefined ? '' : `,"params":${params}`}}`
}

export function resultMessage(id: string, result: string): string {
  return `{"jsonrpc":"2.0","id":${id},"result":${result}}`
}

/** The same text for the same JSON value, whatever the order of its members; as it stands where it is nested too deeply to tell. */
export function canonical(raw: string): string {
  const sorted = (_key: string, value: unknown): unknown =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : value
  return withinStack(() => JSON.stringify(JSON.parse(raw), sorted)) ?? raw
}

/** What a recursion over a peer's value gives; undefined when the value is nested deeper than the stack is. */
export function withinStack<T>(recursion: () => T): T | undefined {
  try {
    return recursion()
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    return undefined
  }
}
