import { createServer, type IncomingMessage } from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestGateway, type Exchange } from '../fixtures/gateway.ts'

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

describe('a stream whose caller loses the right to it', () => {
  test('a stream ends soon after its caller loses the right, and others continue', async () => {
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
    const [stream, listening, unsaidly, own] = [
      await watch(path, { method: 'GET', headers: reader }),
      await watch(path, listen),
      await watch(path, unsaid),
      await watch(path, { method: 'GET' }),
    ]
    await gateway.patch(adapter, { requiredRoles: ['other'] })
    await expect
      .poll(() => [stream.over, listening.over, unsaidly.over])
      .toEqual([true, true, true])
    expect((await gateway.send(path, { method: 'GET', headers: reader })).status).toBe(404)
    expect(own.over).toBe(false)
    own.response.destroy()
  })

  test.each(['Text/Event-Stream', 'text/event-stream;x=y', 'application/json', 'video/mp4', ''])(
    'a stream is cut when its caller loses the right, whatever its type: %j',
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

  test.each(['{"id":1,"method":"tools/call"}', '[{"id":1,"method":"subscriptions/listen"}]'])(
    'a stream that answers the body %s ends',
    async (body) => {
      const adapter = await gateway.register({ requiredRoles: ['reader'] })
      const path = `/adapters/${adapter}/mcp?do=flow&type=text/event-stream`
      const headers = { 'content-type': 'application/json' }
      const [lost, own] = [
        await watch(path, { headers: { ...headers, ...reader }, body }),
        await watch(path, { headers, body }),
      ]
      await gateway.patch(adapter, { requiredRoles: ['other'] })
      await expect.poll(() => lost.over).toBe(true)
      expect(own.over).toBe(false)
      own.response.destroy()
    },
  )

  test('a stream of a call survives new tool rules, and a GET stream does not', async () => {
    const adapter = await gateway.register()
    const path = `/adapters/${adapter}/mcp?do=stream`
    const headers = { 'content-type': 'application/json' }
    const [stream, call] = [
      await watch(path, { method: 'GET' }),
      await watch(path, { headers, body: '{"id":1,"method":"x"}' }),
    ]
    await gateway.patch(adapter, { toolRules: [{ effect: 'allow', tools: 'echo' }] })
    await expect.poll(() => stream.over).toBe(true)
    expect(call.over).toBe(false)
    call.response.destroy()
  })

  test('a stream ends when another adapter takes the name within a moment', async () => {
    const server = createServer((_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: {}\n\n')
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const adapter = { name: 'taken', endpoint: `http://127.0.0.1:${port}/mcp` }
    const create = (): Promise<Exchange> =>
      gateway.send('/adapters', {
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(adapter),
      })
    await create()
    const stream = await watch('/adapters/taken/mcp', { method: 'GET' })
    await gateway.send('/adapters/taken', { method: 'DELETE' })
    expect((await create()).status).toBe(201)

    await expect.poll(() => stream.over).toBe(true)
    server.close()
  })

  test('a stream ends when the adapter is deleted', async () => {
    const adapter = await gateway.register()
    const stream = await watch(`/adapters/${adapter}/mcp?do=stream`, { method: 'GET' })
    await gateway.send(`/adapters/${adapter}`, { method: 'DELETE' })
    await expect.poll(() => stream.over).toBe(true)
  })
})

test('a call whose caller loses the right in mid-body does not run', async () => {
  const adapter = await gateway.register({ requiredRoles: ['reader'] })
  const body = '{"id":1,"method":"tools/call"}'
  const head = [
    `POST /adapters/${adapter}/mcp?do=echo&tag=slow-body HTTP/1.1`,
    `host: ${new URL(gateway.origin).host}`,
    'x-dev-userid: bob',
    'x-dev-roles: reader',
    'content-type: application/json',
    `content-length: ${body.length}`,
  ].join('\r\n')
  const socket = connect(Number(new URL(gateway.origin).port), '127.0.0.1')
  let answer = ''
  socket.on('data', (chunk: Buffer) => (answer += chunk.toString()))
  socket.write(`${head}\r\n\r\n${body.slice(0, 10)}`)
  await sleep(200)
  await gateway.patch(adapter, { requiredRoles: ['other'] })
  socket.write(body.slice(10))

  await expect.poll(() => answer).toMatch(/^HTTP\/1.1 404 /)
  expect(gateway.events('slow-body')).toEqual([])
  socket.destroy()
})
