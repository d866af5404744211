import {
  Client as ClientV2,
  StreamableHTTPClientTransport as HttpV2,
} from '@modelcontextprotocol/client'
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js'
import {
  StreamableHTTPClientTransport as HttpV1,
  StreamableHTTPError,
} from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { ResourceUpdatedNotificationSchema } from '@modelcontextprotocol/sdk/types.js'

const info = { name: 'chaos', version: '1.0.0' }
const options = { timeout: 30_000 }

export interface Place {
  readonly url: string
  /** Sends the requests of a client. */
  readonly fetch: typeof fetch
}

/** Receives the messages that a client did not ask for. */
export interface Told {
  readonly updated: (uri: string) => void
  /** Updates may be missing from now on. */
  readonly lost: () => void
}

/** A connected official client. */
export interface Connection {
  call(tool: string): Promise<unknown>
  read(uri: string): Promise<unknown>
  subscribe(uris: readonly string[]): Promise<void>
  close(): Promise<void>
}

export type Connect = (place: Place, told?: Told) => Promise<Connection>

const nothing: Told = { updated: () => undefined, lost: () => undefined }

/** A client of SDK v1, which is legacy. */
async function connectV1({ url, fetch }: Place, told = nothing): Promise<Connection> {
  const client = new ClientV1(info)
  client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) =>
    told.updated(params.uri),
  )
  // A stream that breaks is opened again; the session is lost if that fails.
  client.onerror = ({ message }) => {
    if (/^(Failed to reconnect|Maximum reconnection)/.test(message)) told.lost()
  }
  const transport = new HttpV1(new URL(url), { fetch })
  await client.connect(transport as Parameters<ClientV1['connect']>[0], options)

  return {
    call: (name) => client.callTool({ name, arguments: {} }, undefined, options),
    read: (uri) => client.readResource({ uri }, options),
    async subscribe(uris) {
      for (const uri of uris) await client.subscribeResource({ uri }, options)
    },
    close: () => client.close(),
  }
}

/** A client of SDK v2 for 2026-07-28. */
async function connectV2({ url, fetch }: Place, told = nothing): Promise<Connection> {
  const mode = { pin: '2026-07-28' } as const
  const client = new ClientV2(info, { versionNegotiation: { mode } })
  client.setNotificationHandler('notifications/resources/updated', ({ params }) =>
    told.updated(params.uri),
  )
  await client.connect(new HttpV2(new URL(url), { fetch }), options)

  return {
    call: (name) => client.callTool({ name, arguments: {} }, options),
    read: (uri) => client.readResource({ uri }, options),
    async subscribe(uris) {
      const { closed } = await client.listen({ resourceSubscriptions: [...uris] }, options)
      void closed.then((by) => (by === 'local' ? undefined : told.lost()))
    },
    close: () => client.close(),
  }
}

export const eras: Readonly<Record<'legacy' | 'modern', Connect>> = {
  legacy: connectV1,
  modern: connectV2,
}

/** True if the server has told the client to begin a new session. */
export function isSessionLost(error: unknown): boolean {
  return error instanceof StreamableHTTPError && error.code === 404
}
