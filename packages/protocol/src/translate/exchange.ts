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

/** The same text for the same JSON value, whatever the order of its members. */
export function canonical(raw: string): string {
  return JSON.stringify(JSON.parse(raw), (_key, value: unknown) =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : value,
  )
}
