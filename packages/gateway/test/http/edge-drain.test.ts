import { connect } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { readAnswer, TestGateway } from '../fixtures/gateway.ts'
import { modernRequest } from '../fixtures/mcp-requests.ts'

let gateway: TestGateway
const open = async (drainSeconds: number, drainDelaySeconds = 0): Promise<string> => {
  gateway = await TestGateway.open({ edge: { drainSeconds, drainDelaySeconds } })
  return gateway.register()
}
afterEach(() => gateway[Symbol.asyncDispose]())

/** It exceeds the time limit of a test, so a test that ends has not waited for it. */
const ageSeconds = 3600

/** Waits until the gateway drains, and so takes no more connections. */
async function untilDraining(): Promise<void> {
  using fresh = gateway.connect()
  await expect.poll(() => fresh.closed).toBe(true)
}

/** True once the gateway accepts no connection. */
function refusesConnections(): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(Number(new URL(gateway.origin).port), '127.0.0.1')
    socket.once('error', () => resolve(true))
    socket.once('connect', () => {
      socket.destroy()
      resolve(false)
    })
  })
}

/** Waits until a server that pours can write no more. */
async function untilStuck(tag: string): Promise<void> {
  let before = 0
  const isStuck = (): boolean => {
    const poured = gateway.events(tag).at(-1)?.poured ?? 0
    const same = poured > 0 && poured === before
    before = poured
    return same
  }
  await expect.poll(isStuck, { interval: 200 }).toBe(true)
}

describe('a gateway that is told to stop', () => {
  test('a stopping gateway finishes its work, refuses more, and closes connections', async () => {
    const adapter = await open(ageSeconds)
    using busy = gateway.connect()
    busy.socket.write(
      `POST /adapters/${adapter}/mcp?do=late&ms=4000&tag=busy HTTP/1.1\r\n` +
        'host: localhost\r\ncontent-length: 2\r\n\r\n{}',
    )
    using idle = gateway.connect()
    idle.socket.write('GET /ping HTTP/1.1\r\nhost: localhost\r\n\r\n')
    // The second request of this connection arrives during the drain. The first bytes keep the
    // connection from being idle.
    using late = gateway.connect()
    late.socket.write(
      `POST /adapters/${adapter}/mcp?do=echo&tag=late HTTP/1.1\r\nhost: localhost\r\n`,
    )
    await expect.poll(() => gateway.events('busy').length).toBe(1)
    await expect.poll(() => idle.text).toContain('200 OK')
    const disposed = gateway[Symbol.asyncDispose]()
    await expect.poll(() => idle.closed).toBe(true)
    using fresh = gateway.connect()
    await expect.poll(() => fresh.closed).toBe(true)
    expect(fresh.text).toBe('')
    const refused = await late.exchange('content-length: 0\r\n\r\n')
    expect(refused).toMatch(/^HTTP\/1\.1 503 [\s\S]*connection: close[\s\S]*"code":"draining"/i)
    expect(refused).toMatch(/retry-after: \d+/i)
    expect(late.closed).toBe(true)
    await disposed
    expect(busy.text).toMatch(/^HTTP\/1\.1 200 [\s\S]*\{"late":true\}/)
  })

  test('a stopping gateway ends GET streams in order, so that clients reconnect', async () => {
    const adapter = await open(ageSeconds)
    const streams = await Promise.all(
      Array.from({ length: 20 }, () =>
        gateway.start(`/adapters/${adapter}/mcp?do=chatter`, { method: 'GET' }),
      ),
    )
    const pour = (tag: string): string => `/adapters/${adapter}/mcp?do=pour&megabytes=50&tag=${tag}`
    const [full, download] = [
      await gateway.start(`${pour('full')}&type=text/event-stream`, { method: 'GET' }),
      await gateway.start(pour('download'), { method: 'GET' }),
    ]
    // Nobody reads these until the buffers are full, so the gateway cannot write their end at once.
    for (const tag of ['full', 'download']) await untilStuck(tag)
    const disposed = gateway[Symbol.asyncDispose]()
    await untilDraining()
    const answers = await Promise.all([...streams, full, download].map(readAnswer))
    for (const { status, whole } of answers) expect([status, whole]).toEqual([200, true])
    expect(answers.at(-2)?.body.length).toBeLessThan(50 * 1024 * 1024)
    // Any answer other than an event stream must be whole.
    expect(answers.at(-1)?.body.length).toBe(50 * 1024 * 1024)
    await disposed
  })

  test('a gateway that is not ready serves on, and announces each connection’s end', async () => {
    const adapter = await open(10, 4)
    const call =
      `POST /adapters/${adapter}/mcp?do=echo&tag=call HTTP/1.1\r\nhost: localhost\r\n` +
      'content-length: 2\r\n\r\n{}'
    using kept = gateway.connect()
    kept.socket.write(call)
    await expect.poll(() => kept.text).toMatch(/^HTTP\/1\.1 200 /)
    expect(kept.text).not.toMatch(/connection: close/i)

    // The answer of this one has not begun.
    using waiting = gateway.connect()
    waiting.socket.write(
      `POST /adapters/${adapter}/mcp?do=late&ms=500&tag=w HTTP/1.1\r\nhost: localhost\r\n` +
        'content-length: 2\r\n\r\n{}',
    )
    await expect.poll(() => gateway.events('w').length).toBe(1)

    const stream = await gateway.start(`/adapters/${adapter}/mcp?do=chatter`, { method: 'GET' })
    const ended = readAnswer(stream)
    const disposed = gateway[Symbol.asyncDispose]()
    using probe = gateway.connect()
    probe.socket.write('GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n')
    kept.socket.write(call)
    using fresh = gateway.connect()
    fresh.socket.write(call)
    await expect.poll(() => [probe, kept, fresh, waiting].every(({ closed }) => closed)).toBe(true)
    expect(probe.text).toMatch(/^HTTP\/1\.1 503 /)
    expect(kept.text.match(/HTTP\/1\.1 200 /g)).toHaveLength(2)
    expect(fresh.text).toMatch(/^HTTP\/1\.1 200 [\s\S]*connection: close/i)
    expect(waiting.text).toMatch(/^HTTP\/1\.1 200 [\s\S]*connection: close[\s\S]*\{"late":true\}/i)
    // Streams end so that clients come back to another gateway.
    expect((await ended).whole).toBe(true)

    await disposed
  })

  test('a stopping gateway answers the first request of a connection just opened', async () => {
    const adapter = await open(ageSeconds)
    using opened = gateway.connect()
    // Once the gateway answers this, it has accepted the connection.
    await gateway.send('/healthz', { method: 'GET' })
    const disposed = gateway[Symbol.asyncDispose]()
    await expect.poll(refusesConnections).toBe(true)

    const request =
      `POST /adapters/${adapter}/mcp?do=echo HTTP/1.1\r\nhost: localhost\r\n` +
      'content-length: 2\r\n\r\n{}'
    expect(await opened.exchange(request)).toMatch(/^HTTP\/1\.1 503 [\s\S]*"code":"draining"/)
    await disposed
  })

  test('a stopping gateway does not wait for a connection without a request', async () => {
    await open(ageSeconds)
    using opened = gateway.connect()
    await gateway.send('/healthz', { method: 'GET' })
    await gateway[Symbol.asyncDispose]()
    await expect.poll(() => opened.closed).toBe(true)
    expect(opened.text).toBe('')
  })

  test('a stopping gateway tells a GET without an answer that it drains', async () => {
    const adapter = await open(ageSeconds)
    const waiting = gateway.send(`/adapters/${adapter}/mcp?do=late&ms=3600000&tag=w`, {
      method: 'GET',
    })
    await expect.poll(() => gateway.events('w').length).toBe(1)
    const disposed = gateway[Symbol.asyncDispose]()
    const answer = await waiting
    expect(answer.status).toBe(503)
    expect(answer.body.toString()).toContain('"code":"draining"')
    await disposed
  })

  test.each<readonly [string, string, Readonly<Record<string, string>>]>([
    ['opens a stream', '{"id":1,"method":"subscriptions/listen"}', {}],
    ['is for a cold replica', '{"id":1,"method":"ping"}', { LISTEN_AFTER_MS: '3600000' }],
  ])(
    'a stopping gateway refuses a request that %s and sends its body late',
    async (_what, body, environmentVariables) => {
      await open(ageSeconds)
      const adapter = await gateway.register(
        { environmentVariables },
        !('LISTEN_AFTER_MS' in environmentVariables),
      )
      using raw = gateway.connect()
      raw.socket.write(
        `POST /adapters/${adapter}/mcp?do=stream HTTP/1.1\r\nhost: localhost\r\n` +
          `expect: 100-continue\r\ncontent-length: ${body.length}\r\n\r\n`,
      )
      await expect.poll(() => raw.text).toContain('100 Continue')
      const disposed = gateway[Symbol.asyncDispose]()
      await untilDraining()
      expect(await raw.exchange(body)).toMatch(/HTTP\/1\.1 503 [\s\S]*"code":"draining"/)
      await disposed
    },
  )

  test('a stopping gateway opens no stream of tools for a body that comes late', async () => {
    await open(ageSeconds)
    const { headers, body } = modernRequest('subscriptions/listen', {
      notifications: { toolsListChanged: true },
    })
    const lines = Object.entries({ ...headers, 'content-length': String(body.length) })
    using raw = gateway.connect()
    raw.socket.write(
      'POST /mcp HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n' +
        `${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`,
    )
    await expect.poll(() => raw.text).toContain('100 Continue')
    const disposed = gateway[Symbol.asyncDispose]()
    await untilDraining()
    raw.socket.write(body)
    await expect.poll(() => raw.text).toMatch(/HTTP\/1\.1 503 [\s\S]*"code":"draining"/)
    await disposed
  })

  test('a stopping gateway does not wait for a cold replica', async () => {
    await open(ageSeconds)
    const cold = await gateway.register(
      { environmentVariables: { LISTEN_AFTER_MS: '3600000' } },
      false,
    )
    using waiting = gateway.connect()
    await new Promise<unknown>((resolve) =>
      waiting.socket.write(
        `POST /adapters/${cold}/mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}`,
        resolve,
      ),
    )
    // Once the gateway answers this, it has read the bytes before.
    await gateway.send('/healthz', { method: 'GET' })
    expect(waiting.text).toBe('')

    await gateway[Symbol.asyncDispose]()
    expect(waiting.text).toMatch(/^HTTP\/1\.1 503 [\s\S]*"code":"draining"/)
  })

  test('a stopping gateway cuts unfinished requests when the time is over', async () => {
    const adapter = await open(0.5)
    const stream = await gateway.start(`/adapters/${adapter}/mcp?do=stream`)
    const [answer] = await Promise.all([readAnswer(stream), gateway[Symbol.asyncDispose]()])
    expect(answer.whole).toBe(false)
  })
})
