import type { Dispatcher } from 'undici'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { initializedMessage, notificationMessage, requestMessage } from '@mcp-gateway/protocol'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { HttpLegacyConnection } from './http-legacy-connection.ts'

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }))
afterEach(() => void vi.useRealTimers())

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** A server that takes requests and answers none. */
class SilentServer {
  readonly got: { readonly body: string; readonly patienceMs: number }[] = []
  /** The handlers of all requests, until the collector takes them. */
  readonly handlers: WeakRef<object>[] = []
  aborted = 0
  /** True if requests must wait for a connection. */
  full = false
  left = 0

  dispatch(
    options: Dispatcher.DispatchOptions,
    handler: Dispatcher.DispatchHandler & { onWait?(leave: () => void): void },
  ): boolean {
    this.got.push({
      body: String(options.body as string),
      patienceMs: options.headersTimeout ?? 0,
    })
    this.handlers.push(new WeakRef(handler))
    if (this.full) handler.onWait?.(() => void (this.left += 1))
    else handler.onConnect?.(() => void (this.aborted += 1))
    return true
  }

  get methods(): string[] {
    const bodies = this.got.map(({ body }) => body).filter((body) => body !== 'null')
    return bodies.map((body) => (JSON.parse(body) as { method: string }).method)
  }
}

function connect(server: SilentServer): HttpLegacyConnection {
  const listener = { receive: () => false, lost: () => undefined, idle: false }
  const upstream = { pool: server, path: '/mcp', headers: () => [] }
  return new HttpLegacyConnection(upstream, listener, 3600_000)
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

function call(connection: HttpLegacyConnection): void {
  connection.send(requestMessage('7', 'tools/call', '{}'), { id: '7', method: 'tools/call' })
}

function cancel(connection: HttpLegacyConnection): void {
  connection.send(notificationMessage('notifications/cancelled', '{"requestId":7}'))
}

test('a cancelled request that the server never answers is not kept', async () => {
  const server = new SilentServer()
  const connection = connect(server)
  call(connection)
  await turn()
  cancel(connection)
  await turn()
  expect([server.methods, server.aborted]).toEqual([['tools/call', 'notifications/cancelled'], 1])

  collect()
  expect(server.handlers[0]?.deref()).toBe(undefined)
  connection.close()
})

test('a cancelled request that waits for a connection stops waiting', async () => {
  const server = new SilentServer()
  server.full = true
  const connection = connect(server)
  call(connection)
  await turn()
  cancel(connection)
  expect(server.left).toBe(1)
  connection.close()
})

test('a cancelled request that waits for the handshake is neither kept nor sent', async () => {
  const server = new SilentServer()
  const connection = connect(server)
  connection.send(initializedMessage)
  call(connection)
  cancel(connection)
  connection.send(requestMessage('8', 'tools/list', '{}'), { id: '8', method: 'tools/list' })
  await turn()
  expect(server.methods).toEqual(['notifications/initialized'])

  const handshake = server.handlers[0]?.deref() as Dispatcher.DispatchHandler
  handshake.onHeaders?.(202, [], () => undefined, 'Accepted')
  handshake.onComplete?.([])
  await turn()
  expect(server.methods).toEqual(['notifications/initialized', 'tools/list'])
  connection.close()
})

test('a server has a minute to take a notification, and as long as set to answer', async () => {
  const server = new SilentServer()
  const connection = connect(server)
  call(connection)
  cancel(connection)
  await turn()
  expect(server.got.map(({ patienceMs }) => patienceMs)).toEqual([60_000])

  call(connection)
  await turn()
  expect(server.got.at(-1)?.patienceMs).toBe(3600_000)
  connection.close()
})
