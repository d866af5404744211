import { maxUnread } from '@mcp-gateway/mcp-http'
import type { MessageOutline } from '@mcp-gateway/protocol'

/** What a session hears of its child. Set once the child is taken into use; nothing is lost before. */
export interface ChildListener {
  line(line: Uint8Array, message: MessageOutline): void
  /** The child has ended, with a sentence that says how and what it said last. */
  ended(reason: string): void
}

/** Bytes: a server that has so much to read, as it makes requests and reads no answers, is ended. */
export const mostUnread = 2 * maxUnread

/** `text`: it wrote something that is no message. `messages`: it wrote at least one message. */
export type Said = 'nothing' | 'text' | 'messages'

/** One conversation with a server, message by message: a process on stdio, or a connection of HTTP+SSE. */
export interface Child {
  readonly pid: number | undefined
  /** Why it has ended, if it has. */
  readonly endedBecause: string | undefined
  /** How far it has come in speaking MCP. */
  readonly said: Said
  /** Bytes that were sent and that the server has not read. */
  readonly unread: number
  /** Resolves when it has ended. */
  ended(): Promise<void>
  listen(listener: ChildListener): void
  /** Whoever listens next hears what comes from now on. */
  unlisten(): void
  /** One message. Ends a child that has `mostUnread` to read. Look at `unread` before a request. */
  send(message: Uint8Array): void
  /** Stops reading, so that the server feels a slow client; `resume` goes on. */
  pause(): void
  resume(): void
  /** Resolves when it has ended. */
  stop(): Promise<void>
}
