import { GatewayProcess, programs } from '@mcp-gateway/testkit'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

let gateway: GatewayProcess

beforeAll(async () => {
  gateway = await GatewayProcess.start({
    config: { runtime: { images: { echo: { command: [process.execPath, programs.echoHttp] } } } },
  })
  await gateway.api('POST', '/adapters', {
    name: 'echo',
    imageName: 'echo',
    imageVersion: '1.0.0',
    replicaCount: 3,
    requiredRoles: [' mcp.engineer'],
  })
  await gateway.untilStatus('echo', ({ replicaStatus }) => replicaStatus === 'Healthy')
})
afterAll(() => gateway[Symbol.asyncDispose]())

interface Told {
  readonly replica: string
  readonly session: string
  readonly headers: Record<string, string>
  readonly url: string
}

async function post(
  session: string | undefined,
  message: unknown,
  options: { headers?: Record<string, string>; query?: string; adapter?: string } = {},
): Promise<Response> {
  return fetch(
    `${gateway.origin}/adapters/${options.adapter ?? 'echo'}/mcp${options.query ?? ''}`,
    {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
        ...(session === undefined ? {} : { 'mcp-session-id': session }),
        ...options.headers,
      },
      body: typeof message === 'string' ? message : JSON.stringify(message),
      redirect: 'manual',
    },
  )
}

const initialize = {
  jsonrpc: '2.0',
  id: 0,
  method: 'initialize',
  params: {
    protocolVersion: '2025-11-25',
    capabilities: {},
    clientInfo: { name: 'e2e', version: '1' },
  },
}
const call = (name: string, args: unknown = {}): unknown => ({
  jsonrpc: '2.0',
  id: 1,
  method: 'tools/call',
  params: { name, arguments: args },
})

async function open(headers: Record<string, string> = {}): Promise<string> {
  const response = await post(undefined, initialize, { headers })
  expect(response.status).toBe(200)
  await response.text()
  return response.headers.get('mcp-session-id') ?? ''
}

async function where(
  session: string | undefined,
  options: Parameters<typeof post>[2] = {},
): Promise<Told> {
  const response = await post(session, call('where'), options)
  expect(response.status).toBe(200)
  return ((await response.json()) as { result: { structuredContent: Told } }).result
    .structuredContent
}

describe('sessions', () => {
  test('requests of 200 sessions at once stay on their replicas over a restart', async () => {
    const sessions = await Promise.all(Array.from({ length: 200 }, () => open()))
    const first = await Promise.all(sessions.map((session) => where(session)))
    for (const { replica, session } of first) expect(session.startsWith(`${replica}_`)).toBe(true)
    const share = (replica: string): number =>
      first.filter((told) => told.replica === replica).length
    for (const replica of ['echo-0', 'echo-1', 'echo-2']) expect(share(replica)).toBeGreaterThan(40)

    expect(await gateway.end('SIGTERM')).toBe(0)
    await gateway.startAgain()
    await gateway.untilStatus('echo', ({ replicaStatus }) => replicaStatus === 'Healthy')

    for (let round = 0; round < 3; round += 1) {
      const again = await Promise.all(sessions.map((session) => where(session)))
      expect(again.map(({ replica, session }) => ({ replica, session }))).toEqual(
        first.map(({ replica, session }) => ({ replica, session })),
      )
    }
  })

  test('the server learns the caller, and nothing of the way to the gateway', async () => {
    const session = await open({ 'x-dev-userid': 'ada, countess', 'x-dev-roles': 'mcp.engineer' })
    const { headers, url } = await where(session, {
      headers: {
        'x-dev-userid': 'ada, countess',
        'x-dev-roles': 'mcp.engineer',
        authorization: 'Bearer secret',
        cookie: 'a=b',
        'x-mcp-userid': 'root',
        'x-tenant': 'kept',
        'mcp-param-x': 'kept',
      },
      query: '?a=1&session_id=ignored&b=2',
    })
    expect(headers).toMatchObject({
      'x-mcp-userid': 'ada%2C%20countess',
      'x-mcp-roles': 'mcp.engineer',
      'x-tenant': 'kept',
      'mcp-param-x': 'kept',
    })
    for (const name of ['authorization', 'cookie', 'x-dev-userid', 'origin'])
      expect(headers).not.toHaveProperty(name)
    expect(headers['forwarded']).toMatch(/^for=127\.0\.0\.1;proto=http;host="127\.0\.0\.1:\d+"$/)
    expect(url).toBe('/mcp?a=1&b=2')
  })

  test('a session id in the query counts as in the original', async () => {
    const session = await open()
    const { replica } = await where(session)
    expect((await where(undefined, { query: `?session_id=${session}` })).replica).toBe(replica)
  })

  test('unknown, malformed and foreign ids are answered alike, with 404', async () => {
    const session = await open()
    const answers = await Promise.all([
      post('nonsense', call('where')),
      post(`${session}x`, call('where')),
      post('"; DROP TABLE', call('where')),
      post(session, call('where'), {
        headers: { 'x-dev-userid': 'mallory', 'x-dev-roles': 'mcp.admin' },
      }),
    ])
    for (const answer of answers) {
      expect(answer.status).toBe(404)
      expect(await answer.json()).toMatchObject({
        jsonrpc: '2.0',
        error: { code: -32001, data: { code: 'session_not_found' } },
      })
    }
  })

  test('a hidden adapter does not exist', async () => {
    const hidden = await post(undefined, initialize, { headers: { 'x-dev-userid': 'stranger' } })
    const missing = await post(undefined, initialize, { adapter: 'nothing' })
    expect([hidden.status, missing.status]).toEqual([404, 404])
    const [a, b] = (await Promise.all([hidden.json(), missing.json()])) as {
      error: { data: { requestId?: string } }
    }[]
    delete a?.error.data.requestId
    delete b?.error.data.requestId
    expect(a).toEqual(b)
  })

  test('redirects, cookies and challenges of a server stop at the gateway', async () => {
    const answer = await post(await open(), call('redirect'))
    expect(answer.status).toBe(502)
    expect(answer.headers.get('set-cookie')).toBeNull()
    expect(answer.headers.get('www-authenticate')).toBeNull()
  })

  test('a server that breaks off is 502, and the answer says that it may have run', async () => {
    const answer = await post(await open(), call('break'))
    expect(answer.status).toBe(502)
    expect(await answer.json()).toMatchObject({
      error: { data: { code: 'upstream_failed', retryable: false } },
    })
  })

  test('a scale-in ends the sessions of the replicas that go, and no others', async () => {
    const sessions = await Promise.all(Array.from({ length: 30 }, () => open()))
    const told = await Promise.all(sessions.map((session) => where(session)))
    await gateway.api('PATCH', '/adapters/echo', { replicaCount: 2 })
    await gateway.untilStatus(
      'echo',
      ({ replicaStatus, replicas }) => replicaStatus === 'Healthy' && replicas.length === 2,
    )
    const statuses = await Promise.all(
      sessions.map(async (session) => (await post(session, call('where'))).status),
    )
    expect(statuses).toEqual(told.map(({ replica }) => (replica === 'echo-2' ? 404 : 200)))
  })

  test('a stopped adapter says so', async () => {
    await gateway.api('PATCH', '/adapters/echo', { replicaCount: 0 })
    await gateway.untilStatus('echo', ({ replicaStatus }) => replicaStatus === 'Stopped')
    const answer = await post(undefined, initialize)
    expect(answer.status).toBe(503)
    expect(answer.headers.get('retry-after')).toBe('30')
    expect(await answer.json()).toMatchObject({ error: { data: { code: 'stopped' } } })
  })

  test('the first request to a cold adapter waits until it is ready', async () => {
    await gateway.api('PATCH', '/adapters/echo', { replicaCount: 1 })
    expect((await post(undefined, initialize)).status).toBe(200)
  })
})
