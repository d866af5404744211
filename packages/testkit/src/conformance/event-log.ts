import type { EventStore } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import type { JSONRPCMessage } from '@modelcontextprotocol/sdk/types.js'

/**
 * The events of a session's streams, kept in memory. A client that reconnects with `Last-Event-ID`
 * gets the events that it missed.
 */
export function createEventLog(): EventStore {
  const events: { readonly stream: string; readonly message: JSONRPCMessage }[] = []
  const streamOf = (id: string): string | undefined => events[Number(id)]?.stream
  return {
    storeEvent: async (stream, message) => String(events.push({ stream, message }) - 1),
    getStreamIdForEventId: async (id) => streamOf(id),
    async replayEventsAfter(id, { send }) {
      const stream = streamOf(id)
      if (stream === undefined) throw new Error(`There is no event ${id}`)
      for (const [index, event] of [...events.entries()].slice(Number(id) + 1))
        // A priming event is stored as an empty object, which is no message to replay.
        if (event.stream === stream && 'jsonrpc' in event.message)
          await send(String(index), event.message)
      return stream
    },
  }
}
