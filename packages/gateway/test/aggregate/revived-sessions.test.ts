import { randomBytes } from 'node:crypto'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestGateway, type Exchange } from '../fixtures/gateway.ts'
import { initialize } from '../fixtures/mcp-requests.ts'

const key = randomBytes(32).toString('base64')
const json = { 'content-type': 'application/json' }
const accept = { ...json, accept: 'application/json, text/event-stream' }
const path = '/servers/work/mcp'

/** Stands for another gateway, and notes what it is asked. */
let other: Server
let asked: string[] = []
/** True while the other gateway breaks off in the middle of each request. */
let breaks = false
let gateway: TestGateway

const settings = (name: string) => ({
  cluster: {
    name,
    peers: { other: `http://127.0.0.1:${(other.address() as AddressInfo).port}` },
  },
  sessions: { keys: [key] },
})

beforeAll(async () => {
  other = createServer((request, response) => {
    asked.push(`${request.method} ${String(request.headers['mcp-session-id'])}`)
    if (breaks) return void request.on('data', () => request.destroy())
    response.writeHead(200, json).end('{"from":"other"}')
  })
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
  gateway = await TestGateway.open(settings('first'))
  const body = JSON.stringify({ members: [] })
  const made = await gateway.send('/servers/work', { method: 'PUT', headers: json, body })
  expect(made.status).toBe(201)
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await new Promise((resolve) => other.close(resolve))
})

async function open(): Promise<string> {
  const { headers, status } = await gateway.send(path, { headers: accept, body: initialize })
  expect(status).toBe(200)
  return String(headers['mcp-session-id'])
}

function ask(session: string, method: string, params: object = {}): Promise<Exchange> {
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })
  return gateway.send(path, { headers: { ...accept, 'mcp-session-id': session }, body })
}

const end = (session: string): Promise<Exchange> =>
  gateway.send(path, { method: 'DELETE', headers: { ...accept, 'mcp-session-id': session } })

describe('legacy sessions after their gateway has gone', () => {
  test('a session goes on after a restart, unless its client would lose something', async () => {
    const [plain, levelled, subscribed, batched, ended] = [
      await open(),
      await open(),
      await open(),
      await open(),
      await open(),
    ]
    expect((await ask(levelled, 'logging/setLevel', { level: 'error' })).status).toBe(200)
    await ask(subscribed, 'resources/subscribe', { uri: 'x:1' })
    await gateway.send(path, {
      headers: { ...accept, 'mcp-session-id': batched },
      body: '[{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"error"}}]',
    })
    expect((await end(ended)).status).toBeLessThan(300)

    gateway = await gateway.reopen(settings('first'))
    const lists = await ask(plain, 'tools/list')
    expect([lists.status, lists.body.toString()]).toEqual([
      200,
      expect.stringContaining('"tools":[]'),
    ])
    for (const session of [levelled, subscribed, batched, ended]) {
      const answer = await ask(session, 'tools/list')
      expect([answer.status, answer.body.toString()]).toEqual([
        404,
        expect.stringContaining('session_not_found'),
      ])
    }
  })

  test('a session that its client ended stays ended', async () => {
    const session = await open()
    expect((await end(session)).status).toBeLessThan(300)
    expect((await ask(session, 'tools/list')).status).toBe(404)
  })

  test('requests of one session go to one of the gateways that are left', async () => {
    const sessions: string[] = []
    for (let n = 0; n < 12; n += 1) sessions.push(await open())
    gateway = await gateway.reopen(settings('second'))
    asked = []
    const places = await Promise.all(
      sessions.map(async (session) => {
        const answers = [await ask(session, 'tools/list'), await ask(session, 'tools/list')]
        expect(answers.map(({ status }) => status)).toEqual([200, 200])
        const theirs = answers.map(({ body }) => body.toString() === '{"from":"other"}')
        expect(theirs[0]).toBe(theirs[1])
        return theirs[0]
      }),
    )
    expect(new Set(places)).toEqual(new Set([true, false]))
  })

  test('a request that may run twice goes on here when its gateway breaks off', async () => {
    const sessions: string[] = []
    for (let n = 0; n < 12; n += 1) sessions.push(await open())
    gateway = await gateway.reopen(settings('third'))
    asked = []
    breaks = true
    try {
      for (const session of sessions)
        expect((await ask(session, 'tools/list')).body.toString()).toContain('"tools":[]')
      expect(asked.length).toBeGreaterThan(0)
      const calls = await Promise.all(
        sessions.map((session) => ask(session, 'tools/call', { name: 'none' })),
      )
      const codes = calls.map(({ body }) => /upstream_failed/.exec(body.toString())?.[0])
      expect(new Set(codes)).toEqual(new Set([undefined, 'upstream_failed']))
    } finally {
      breaks = false
    }
  })

  test('a stream that a client resumes begins anew where its events are not kept', async () => {
    // The session's own gateway comes back, so no other one gets the requests.
    gateway = await gateway.reopen(settings('own'))
    const session = await open()
    gateway = await gateway.reopen(settings('own'))
    const headers = { ...accept, 'mcp-session-id': session, 'last-event-id': '3' }
    const answer = await gateway.send(path, { method: 'GET', headers })
    expect(answer.status).toBe(404)
    expect((await ask(session, 'tools/list')).status).toBe(200)
  })
})
