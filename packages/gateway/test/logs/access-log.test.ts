import { afterEach, expect, test } from 'vitest'
import { TestGateway } from '../fixtures/gateway.ts'

let gateway: TestGateway
afterEach(() => gateway[Symbol.asyncDispose]())

/**
 * Gives the log lines of one successful request to each plane, and of one request to a dead server.
 */
async function linesOf(accessLog: boolean): Promise<{ path: unknown; status: unknown }[]> {
  gateway = await TestGateway.open({ edge: { accessLog } })
  const adapter = await gateway.register()
  expect((await gateway.send('/adapters', { method: 'GET' })).status).toBe(200)
  expect((await gateway.mcp(adapter, 'do=echo&tag=t', { body: '{}' })).status).toBe(200)
  expect((await gateway.mcp(adapter, 'do=exit&tag=u', { body: '{}' })).status).toBe(502)
  await expect.poll(() => gateway.log.filter(({ status }) => status === 502)).toHaveLength(1)

  return gateway.log
    .filter(({ status, path }) => status !== undefined && path !== `/adapters/${adapter}/status`)
    .map(({ path, status }) => ({ path: String(path).replace(adapter, 'NAME'), status }))
}

test('edge.accessLog: true gives every request a line in the log', async () => {
  expect(await linesOf(true)).toEqual([
    { path: '/adapters', status: 201 },
    { path: '/adapters', status: 200 },
    { path: '/adapters/NAME/mcp', status: 200 },
    { path: '/adapters/NAME/mcp', status: 502 },
  ])
})

test('edge.accessLog: false leaves lines of failures alone in the log', async () => {
  expect(await linesOf(false)).toEqual([{ path: '/adapters/NAME/mcp', status: 502 }])
})
