import type { IncomingMessage } from 'node:http'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestGateway } from './fixtures/gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await TestGateway.open({ proxy: { streamRecheckSeconds: 0.1 } })
})
afterAll(() => gateway[Symbol.asyncDispose]())

const reader = { 'x-dev-userid': 'bob', 'x-dev-roles': 'reader' }

interface Watched {
  readonly response: IncomingMessage
  over: boolean
}

async function watch(path: string, sending: Parameters<TestGateway['start']>[1]): Promise<Watched> {
  const response = await gateway.start(path, sending)
  const watched: Watched = { response, over: false }
  response.on('error', () => undefined)
  response.resume().once('close', () => (watched.over = true))
  return watched
}

describe('a stream that is open when its caller loses the right to it', () => {
  test('ends soon, by GET and as a listen stream, be that said in a header or not; those of others and calls in progress go on', async () => {
    const adapter = await gateway.register({ requiredRoles: ['reader'] })
    const path = `/adapters/${adapter}/mcp?do=stream`
    const listen = {
      headers: {
        ...reader,
        'mcp-method': 'subscriptions/listen',
        'content-type': 'application/json',
      },
      body: '{}',
    }
    const unsaid = {
      headers: { ...reader, 'content-type': 'application/json' },
      body: '{"id":1,"method":"subscriptions\\/l\\u0069sten"}',
    }
    const [stream, listening, unsaidly, own, call] = [
      await watch(path, { method: 'GET', headers: reader }),
      await watch(path, listen),
      await watch(path, unsaid),
      await watch(path, { method: 'GET' }),
      await watch(path, { headers: reader, body: '{}' }),
    ]
    await gateway.patch(adapter, { requiredRoles: ['other'] })
    await expect
      .poll(() => [stream.over, listening.over, unsaidly.over])
      .toEqual([true, true, true])
    expect((await gateway.send(path, { method: 'GET', headers: reader })).status).toBe(404)
    expect([own.over, call.over]).toEqual([false, false])
    for (const { response } of [own, call]) response.destroy()
  })

  test.each(['Text/Event-Stream', 'text/event-stream;x=y', 'application/json', 'video/mp4', ''])(
    'is cut when its caller loses the right, whatever its type: %j',
    async (type) => {
      const adapter = await gateway.register({ requiredRoles: ['reader'] })
      const path = `/adapters/${adapter}/mcp?do=flow&type=${encodeURIComponent(type)}`
      const [lost, own] = [
        await watch(path, { method: 'GET', headers: reader }),
        await watch(path, { method: 'GET' }),
      ]
      await gateway.patch(adapter, { requiredRoles: ['other'] })
      await expect.poll(() => lost.over).toBe(true)
      // An event stream may end after any event. Any other answer must not look whole.
      expect(lost.response.complete).toBe(/event-stream/i.test(type))
      expect(own.over).toBe(false)
      own.response.destroy()
    },
  )

  test('ends when the adapter is deleted', async () => {
    const adapter = await gateway.register()
    const stream = await watch(`/adapters/${adapter}/mcp?do=stream`, { method: 'GET' })
    await gateway.send(`/adapters/${adapter}`, { method: 'DELETE' })
    await expect.poll(() => stream.over).toBe(true)
  })
})
