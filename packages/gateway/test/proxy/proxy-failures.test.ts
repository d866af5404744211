import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readAnswer, TestGateway, type RawConnection } from '../fixtures/gateway.ts'

let gateway: TestGateway
/** A gateway with short limits. */
let impatient: TestGateway
let adapter: string
let tags = 0
const newTag = (): string => `t${(tags += 1)}`
const base64 = (text: string): string => Buffer.from(text, 'latin1').toString('base64')
/** Gives the body that makes the scripted server answer with these bytes. */
const rawBody = (text: string): string => JSON.stringify(base64(text))
const codeOf = ({ body }: { body: Buffer }): unknown =>
  (JSON.parse(body.toString()) as { error?: { data?: { code?: string } } }).error?.data?.code
/** Makes one replica refuse connections while the runtime calls it ready. */
const makeRefuse = async (name: string, more = '', headers = {}): Promise<void> => {
  const tag = newTag()
  expect((await gateway.mcp(name, `do=refuse&tag=${tag}${more}`, { headers })).status).toBe(200)
  await expect.poll(() => gateway.events(tag).some(({ refuses }) => refuses)).toBe(true)
}

/**
 * Waits until the server has closed its side of a connection. The gateway then knows of the end
 * before it sends again.
 */
const untilEnded = (tag: string): Promise<void> =>
  expect.poll(() => gateway.events(tag).some(({ ended }) => ended), { interval: 1 }).toBe(true)

/**
 * Sends the head of a request, and the body once the gateway wants it. Resolves when both have
 * arrived.
 */
const beginRequest = async (raw: RawConnection, head: string, body: string): Promise<void> => {
  raw.socket.write(`${head}\r\nhost: localhost\r\nexpect: 100-continue\r\n\r\n`)
  await expect.poll(() => raw.text).toContain('100 Continue')
  raw.socket.write(body)
  // Once the gateway answers this, it has read the bytes before.
  await gateway.send('/healthz', { method: 'GET' })
}

beforeAll(async () => {
  // No test can wait for such a start.
  gateway = await TestGateway.open({ proxy: { coldStartSeconds: 3600 } })
  impatient = await TestGateway.open({ proxy: { answerTimeoutSeconds: 3, coldStartSeconds: 1.5 } })
  adapter = await gateway.register()
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await impatient[Symbol.asyncDispose]()
})

describe('a client that goes away', () => {
  test.each([
    ['POST that waits for its answer', 'POST', 'late&ms=600000'],
    ['POST whose answer streams', 'POST', 'stream'],
    ['GET stream', 'GET', 'stream'],
    ['POST whose answer it does not read', 'POST', 'pour&megabytes=100'],
  ])('the upstream request ends as soon as its client leaves: %s', async (_what, method, does) => {
    const tag = newTag()
    const client = new AbortController()
    const answer = gateway.start(
      `/adapters/${adapter}/mcp?do=${does}&tag=${tag}`,
      { method },
      client.signal,
    )
    answer.then((response) => response.on('error', () => undefined)).catch(() => undefined)
    await expect.poll(() => gateway.events(tag).some((event) => event.method === method)).toBe(true)
    if (!does.startsWith('late')) await answer

    // None of these servers ends its answer during the test.
    client.abort()
    await expect
      .poll(() => gateway.events(tag).find(({ closed }) => closed !== undefined)?.closed)
      .toBe('cut')
    await expect
      .poll(() => gateway.requests(adapter).at(-1))
      .toMatchObject({
        method,
        status: 499,
        error: 'client_closed_request',
        adapter,
        replica: `${adapter}-0`,
      })
  })

  test('a client that leaves in mid-body leaves nothing behind and is logged as 499', async () => {
    const tag = newTag()
    using raw = gateway.connect()
    await beginRequest(
      raw,
      `POST /adapters/${adapter}/mcp?tag=${tag} HTTP/1.1\r\nx-request-id: half-${tag}\r\n` +
        'content-length: 100',
      '{"half',
    )
    raw.socket.resetAndDestroy()
    await expect
      .poll(() => gateway.log.find(({ requestId }) => requestId === `half-${tag}`))
      .toMatchObject({ status: 499 })
    expect(gateway.events(tag)).toEqual([])
  })

  test('a request whose client left during a cold start is never sent', async () => {
    const tag = newTag()
    const warm = join(gateway.dataDir, `warm-${tag}`)
    const cold = await gateway.register(
      { environmentVariables: { LISTEN_WHEN_THERE: warm } },
      false,
    )
    using raw = gateway.connect()
    await beginRequest(
      raw,
      `POST /adapters/${cold}/mcp?do=echo&tag=${tag} HTTP/1.1\r\ncontent-length: 2`,
      '{}',
    )
    raw.socket.destroy()
    await expect
      .poll(() => gateway.requests(cold))
      .toMatchObject([{ status: 499, error: 'client_closed_request' }])
    writeFileSync(warm, '')
    await gateway.untilReady(cold, 1)
    expect((await gateway.mcp(cold, `do=echo&tag=after-${tag}`)).status).toBe(200)
    expect(gateway.events(tag)).toEqual([])
  })
})

describe('a server that cannot be reached', () => {
  test('the gateway passes by a dead replica, and repeats no request', async () => {
    const name = await gateway.register({ replicaCount: 2 })
    await makeRefuse(name)
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        gateway.mcp(name, `do=echo&tag=other-${index}`, { body: '{}' }),
      ),
    )
    expect(outcomes.map(({ status }) => status)).toEqual(outcomes.map(() => 200))
    const replicas = outcomes.map((_, index) => {
      gateway.received(`other-${index}`)
      return gateway.events(`other-${index}`)[0]?.replica
    })
    expect(new Set(replicas).size).toBe(1)
  })

  test('an unreachable server is 502 with a code and a logged cause, and nothing ran', async () => {
    const name = await gateway.register({ replicaCount: 2 })
    for (let index = 0; index < 2; index += 1) await makeRefuse(name)
    const answer = await gateway.mcp(name, 'do=echo&tag=nowhere', { body: '{}' })
    expect(answer).toMatchObject({
      status: 502,
      headers: { 'content-type': 'application/json' },
      whole: true,
    })
    expect(JSON.parse(answer.body.toString())).toMatchObject({
      jsonrpc: '2.0',
      id: null,
      error: {
        data: {
          code: 'upstream_unreachable',
          retryable: true,
          requestId: answer.headers['x-request-id'],
        },
      },
    })
    expect(gateway.requests(name).at(-1)).toMatchObject({
      status: 502,
      err: { code: 'ECONNREFUSED' },
    })
  })

  test('a session stays with its unreachable replica, and does not move to another', async () => {
    const name = await gateway.register({ replicaCount: 2 })
    const session = (await gateway.mcp(name, 'do=initialize')).headers['mcp-session-id'] as string
    const again = join(gateway.dataDir, 'listens-again')
    await makeRefuse(name, `&until=${encodeURIComponent(again)}`, { 'mcp-session-id': session })
    const refused = await gateway.mcp(name, 'do=echo&tag=kept', {
      headers: { 'mcp-session-id': session },
    })
    expect([refused.status, codeOf(refused)]).toEqual([502, 'upstream_unreachable'])
    writeFileSync(again, '')
    await expect
      .poll(
        async () =>
          (await gateway.mcp(name, 'do=echo', { headers: { 'mcp-session-id': session } })).status,
      )
      .toBe(200)
  })

  test('the gateway waits for a replica that is still starting', async () => {
    const name = await gateway.register({ environmentVariables: { LISTEN_AFTER_MS: '500' } }, false)
    const outcomes = await Promise.all(
      Array.from({ length: 10 }, () => gateway.mcp(name, 'do=echo', { body: '{"cold":true}' })),
    )
    for (const { status, body } of outcomes)
      expect([status, body.toString()]).toEqual([200, '{"cold":true}'])
  })

  test('a replica that starts too slowly is 503 with Retry-After', async () => {
    // It never listens during the test.
    const name = await impatient.register(
      { environmentVariables: { LISTEN_AFTER_MS: '3600000' } },
      false,
    )
    const answer = await impatient.mcp(name, 'do=echo')
    expect(answer.status).toBe(503)
    expect(answer.headers['retry-after']).toMatch(/^\d+$/)
    expect(codeOf(answer)).toBe('no_ready_replica')
  })

  test('a stopped adapter is 503 at once, and the answer says that it is stopped', async () => {
    const name = await gateway.register({ replicaCount: 0 })
    const answer = await gateway.mcp(name, 'do=echo')
    expect([answer.status, codeOf(answer)]).toEqual([503, 'stopped'])
    expect(answer.body.toString()).toContain('is stopped')
    expect(answer.headers['retry-after']).toMatch(/^\d+$/)
  })
})

describe('a server that fails', () => {
  test('a server that answers too late is 504, and the request is not repeated', async () => {
    const name = await impatient.register({ replicaCount: 2 })
    const tag = newTag()
    const answer = await impatient.mcp(name, `do=late&ms=20000&tag=${tag}`)
    expect([answer.status, codeOf(answer)]).toEqual([504, 'upstream_timeout'])
    await expect.poll(() => impatient.events(tag).some(({ closed }) => closed === 'cut')).toBe(true)
    impatient.received(tag)
  })

  test('the time limit ends with the response headers', async () => {
    const parts = [base64('data: 1\n\n'), base64('data: 2\n\n')]
    const name = await impatient.register()
    const answer = await impatient.mcp(name, 'do=parts&every=4000', {
      body: JSON.stringify({ parts }),
    })
    expect([answer.status, answer.whole, answer.body.toString()]).toEqual([
      200,
      true,
      'data: 1\n\ndata: 2\n\n',
    ])
  })

  const head = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n'
  test.each([
    [
      'dies in an event stream',
      `${head}transfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n`,
      'exit',
    ],
    [
      'closes an event stream in a chunk',
      `${head}transfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n9\r\nda`,
      'end',
    ],
    [
      'closes between chunks',
      `${head}transfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n`,
      'end',
    ],
    ['resets a body of known length', `${head}content-length: 100\r\n\r\ndata: 1\n\n`, 'reset'],
    ['ends a body before its length', `${head}content-length: 100\r\n\r\ndata: 1\n\n`, 'end'],
    [
      'sends a bad chunk size',
      `${head}transfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\nzz\r\n`,
      '',
    ],
  ])(
    'a client sees an answer that breaks midway as a broken answer: it %s',
    async (_what, bytes, then) => {
      const name = await gateway.register()
      const answer = await gateway.mcp(name, `do=raw&then=${then}`, { body: rawBody(bytes) })
      expect(answer).toMatchObject({ status: 200, whole: false })
      expect(answer.body.toString()).toMatch(/^data: 1\n\n/)
      await expect
        .poll(() => gateway.requests(name).at(-1))
        .toMatchObject({ status: 502, error: 'upstream_failed' })
      await expect
        .poll(async () => (await gateway.mcp(name, 'do=echo', { body: '{}' })).status)
        .toBe(200)
    },
  )

  test('a client of HTTP/1.0, which has no chunks, sees the break too', async () => {
    const tag = newTag()
    const request = (then: string, bytes: string): string => {
      const body = rawBody(bytes)
      return (
        `POST /adapters/${adapter}/mcp?do=raw&then=${then}&tag=${tag} HTTP/1.0\r\n` +
        `host: localhost\r\ncontent-length: ${body.length}\r\n\r\n${body}`
      )
    }
    const answer = `${head}transfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n`
    using whole = gateway.connect()
    await whole.exchange(request('end', `${answer}0\r\n\r\n`))
    expect([whole.closed, whole.error, whole.text.split('\r\n\r\n')[1]]).toEqual([
      true,
      undefined,
      'data: 1\n\n',
    ])
    await untilEnded(tag)
    using broken = gateway.connect()
    broken.socket.write(request('held', answer))
    // If a reset comes together with bytes, libuv (and so this client) reports an orderly end.
    await expect.poll(() => broken.text).toContain('data: 1\n\n')
    await gateway.mcp(adapter, `do=go&of=${tag}`)
    await expect.poll(() => broken.closed).toBe(true)
    expect(broken.error).toBe('ECONNRESET')
  })

  test.each([
    ['what is not HTTP', 'SMTP ready\r\n\r\n', ''],
    ['nothing', '', 'end'],
    ['half a header', 'HTTP/1.1 200 OK\r\ncontent-ty', 'end'],
    ['a status that is none', 'HTTP/1.1 999999 OK\r\n\r\n', ''],
    ['a status below 100', 'HTTP/1.1 099 OK\r\ncontent-length: 0\r\n\r\n', ''],
    [
      'a control character in a header',
      'HTTP/1.1 200 OK\r\nx-a: a\u0001b\r\ncontent-length: 0\r\n\r\n',
      '',
    ],
    ['two lengths', 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}', ''],
    ['a length that is no number', 'HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n', ''],
    [
      'a length and chunks',
      'HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
      '',
    ],
    [
      'headers of 100 kB',
      `HTTP/1.1 200 OK\r\nx-a: ${'a'.repeat(100_000)}\r\ncontent-length: 0\r\n\r\n`,
      '',
    ],
    [
      'a session id too long to be sealed',
      `HTTP/1.1 200 OK\r\nmcp-session-id: ${'a'.repeat(9000)}\r\ncontent-length: 2\r\n\r\n{}`,
      '',
    ],
    [
      'a switch of protocols',
      'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n',
      '',
    ],
  ])(
    'a server that answers %s is 502 with a code, and the gateway lives',
    async (_what, bytes, then) => {
      const answer = await gateway.mcp(adapter, `do=raw&then=${then}`, { body: rawBody(bytes) })
      expect([answer.status, codeOf(answer)]).toEqual([502, 'upstream_failed'])
      expect((await gateway.mcp(adapter, 'do=echo', { body: '{}' })).status).toBe(200)
    },
  )

  test('a server that closes its idle connection does not fail the next request', async () => {
    for (let round = 0; round < 20; round += 1) {
      const tag = newTag()
      const answer = await gateway.mcp(adapter, `do=raw&then=end&tag=${tag}`, {
        body: rawBody('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}'),
      })
      expect(answer).toMatchObject({ status: 200, whole: true })
      // A request before the close may get no answer.
      await untilEnded(tag)
    }
  })
})

describe('what a server may do', () => {
  test('a body that ends with the connection is whole', async () => {
    const answer = await gateway.mcp(adapter, 'do=raw&then=end', {
      body: rawBody('HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n{"a":1}'),
    })
    expect([answer.status, answer.whole, answer.body.toString()]).toEqual([200, true, '{"a":1}'])
  })

  test('the gateway forwards an answer that does not wait for the body', async () => {
    for (const size of [10, 500_000]) {
      const answer = await gateway.mcp(adapter, 'do=early', { body: Buffer.alloc(size, '1') })
      expect([answer.status, answer.body.toString()]).toEqual([403, '{"early":true}'])
    }
  })

  test('the gateway does not take early hints for the answer', async () => {
    const bytes =
      'HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\n' +
      'connection: close\r\ncontent-length: 2\r\n\r\n{}'
    const answer = await gateway.mcp(adapter, 'do=raw', { body: rawBody(bytes) })
    expect([answer.status, answer.body.toString()]).toEqual([200, '{}'])
  })

  test.each([400, 403, 404, 406, 409, 429, 500, 501, 503])(
    'status %i without a session passes as it is',
    async (status) => {
      const answer = await gateway.mcp(adapter, `do=status&status=${status}`)
      expect([answer.status, answer.body.toString()]).toEqual([status, '{"from":"server"}'])
    },
  )

  test('a 401 of a server asks the caller for no credential', async () => {
    const answer = await gateway.mcp(adapter, 'do=status&status=401')
    expect(answer.status).toBe(502)
    expect(answer.headers['www-authenticate']).toBeUndefined()
    expect(JSON.parse(answer.body.toString())).toMatchObject({
      error: { data: { code: 'upstream_unauthorized', retryable: false } },
    })
  })

  test('an early second answer does not disturb a client that reads the first', async () => {
    const slow = await gateway.start(`/adapters/${adapter}/mcp?do=stream`)
    expect((await gateway.mcp(adapter, 'do=echo', { body: '[]' })).body.toString()).toBe('[]')
    slow.destroy()
    expect((await readAnswer(slow)).whole).toBe(false)
  })
})
