import { maxUnread } from '@mcp-gateway/mcp-http'
import type { MessageOutline } from '@mcp-gateway/protocol'

/** Receives the events of a child. Nothing is lost before the listener is set. */
export interface ChildListener {
  line(line: Uint8Array, message: MessageOutline): void
  /** The child has ended. The reason says how, and may quote its last output. */
  ended(reason: string): void
}

/** Bytes. A server with more unread input is ended: it makes requests but reads no answers. */
export const mostUnread = 2 * maxUnread

/** `text`: the server wrote text that is no message. `messages`: it wrote at least one message. */
export type Said = 'nothing' | 'text' | 'messages'

/**
 * One conversation with a server, message by message: a process on stdio, or an HTTP+SSE
 * connection.
 */
export interface Child {
  readonly pid: number | undefined
  /** The reason why the child has ended, if it has. */
  readonly endedBecause: string | undefined
  /** The kind of output so far. */
  readonly said: Said
  /** Bytes that were sent and that the server has not read. */
  readonly unread: number
  /** Resolves when the child has ended. */
  ended(): Promise<void>
  listen(listener: ChildListener): void
  /** Removes the listener. The next listener gets all later output. */
  unlisten(): void
  /**
   * Sends one message. Ends a child with more than `mostUnread` to read, so check `unread` before a
   * request.
   */
  send(message: Uint8Array): void
  /** Stops reading, so that the server feels a slow client, until `resume`. */
  pause(): void
  resume(): void
  /** Ends the child. Resolves when the child has ended. */
  stop(): Promise<void>
}
