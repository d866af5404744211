import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Session } from '@mcp-gateway/mcp-http'
import { expect, test } from 'vitest'
import { authenticateDevelopment } from '../auth/development.ts'
import { ConfigSchema } from '../config/config.ts'
import { createShares } from '../core/shares.ts'
import { Entrance } from './entrance.ts'
import type { Exchange } from './exchange.ts'
import { LastCallers } from './last-callers.ts'
import { Hop } from './peer-hop.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const body = JSON.stringify({
  jsonrpc: '2.0',
  id: 1,
  method: 'ping',
  params: { a: 'x'.repeat(100_000) },
})

/** Posts the body to an entrance, and waits until the request is over. */
async function post(serve: (exchange: Exchange) => void): Promise<{ readonly counted: number }> {
  const { limits, edge } = ConfigSchema.parse({})
  const hop = new Hop({ keys: [Buffer.alloc(32, 1)], self: 'a', peers: [], now: () => 0 })
  const shares = createShares(limits, edge.bodyLimitBytes)
  let over = false
  using entrance = new Entrance({
    authenticate: authenticateDevelopment,
    hop,
    bodyLimitBytes: edge.bodyLimitBytes,
    shares,
    recheckMs: 5000,
    requestFinished: () => (over = true),
    audit: undefined,
  })
  const server = createServer((request, response) =>
    entrance.admit(request, response, '/mcp', (exchange) =>
      exchange.readBody(() =>
        exchange.answer(() => {
          serve(exchange)
          response.end('{}')
        }),
      ),
    ),
  )
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  const headers = { 'content-type': 'application/json', connection: 'close' }
  const answer = await fetch(`http://127.0.0.1:${port}/mcp`, { method: 'POST', headers, body })
  expect(await answer.text()).toBe('{}')
  await expect.poll(() => over).toBe(true)

  server.close()
  await once(server, 'close')
  await hop[Symbol.asyncDispose]()
  return { counted: shares.bodyBytes.held }
}

test('a session keeps who called last, and nothing of a request that is over', async () => {
  const callers = new LastCallers()
  const session = {} as Session
  let left: WeakRef<Exchange> | undefined
  await post((exchange) => {
    callers.set(session, exchange)
    left = new WeakRef(exchange)
  })
  // A weak reference holds its target until the current job ends.
  await nextTurn()
  collectGarbage()
  expect(left).toBeDefined()
  expect(left?.deref()).toBeUndefined()

  const last = callers.get(session)
  expect([last?.principal.id, last?.requestId]).toEqual(['dev', expect.any(String)])
  last?.note({ replica: 'late' })
})

test('a request that is over holds no bytes that are no longer counted', async () => {
  let over: Exchange | undefined
  const { counted } = await post((exchange) => {
    expect(exchange.body?.length).toBe(body.length)
    over = exchange
  })
  expect([counted, over?.body]).toEqual([0, null])
})
