import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Hop } from '../../src/ingress/peer-hop.ts'
import { createSessionSealer } from '../../src/ingress/session-sealer.ts'
import { routerUid } from '../../src/tools/feed/remote-router.ts'
import { TestGateway, type Exchange } from '../fixtures/gateway.ts'

const key = randomBytes(32)
const now = (): number => Date.now()
const principal = { id: 'ada', issuer: 'development', name: 'ada', roles: [] }
const sealer = createSessionSealer({ keys: [key], maxAgeMs: 3_600_000, now })
const peer = new Hop({ keys: [key], self: 'one', peers: [], now })

/** The process `three`, and its requests. */
let third: Server
let reached: string[] = []
/** If true, it takes requests and closes their connections. */
let breaksOff = false
/** The process `two`. */
let gateway: TestGateway
let adapter = ''

beforeAll(async () => {
  third = createServer((request, response) => {
    reached.push(`${request.method} ${request.url}`)
    if (breaksOff) return void request.socket.destroy()
    response.writeHead(200, { 'content-type': 'application/json' }).end('{"from":"three"}')
  })
  await new Promise<void>((resolve) => third.listen(0, '127.0.0.1', resolve))
  const { port } = third.address() as AddressInfo
  gateway = await TestGateway.open({
    cluster: { name: 'two', peers: { three: `http://127.0.0.1:${port}` } },
    sessions: { keys: [key.toString('base64')] },
  })
  gateway.credentials = { 'x-dev-userid': principal.id }
  adapter = await gateway.register()
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await peer[Symbol.asyncDispose]()
  await new Promise((resolve) => third.close(resolve))
})

/** Gives the incarnation of the adapter, from the audit log. */
async function uidOfAdapter(): Promise<string> {
  const records = (): string => readFileSync(join(gateway.dataDir, 'audit.log'), 'utf8')
  await expect.poll(records).toContain(adapter)
  return new RegExp(`"name":"${adapter}","uid":"([^"]+)"`).exec(records())?.[1] ?? ''
}

/** Sends a request of a session whose state one process keeps, as a client or as a peer. */
async function inSessionOf(
  owner: string,
  at: 'router' | 'adapter',
  from: 'client' | 'peer',
  method = 'ping',
): Promise<Exchange> {
  const [url, uid, replica] =
    at === 'router'
      ? ['/mcp', routerUid, owner]
      : [`/adapters/${adapter}/mcp`, await uidOfAdapter(), `@${owner}`]
  const body = Buffer.from(
    JSON.stringify({ jsonrpc: '2.0', id: 5, method, params: { name: 'add' } }),
  )
  const headers = {
    'content-type': 'application/json',
    'mcp-session-id': sealer.seal({ upstreamId: 'u', replica, uid, issuedAt: now() }, principal),
    'x-request-id': 'of-the-test',
  }
  const hop = peer.sign({ to: 'two', method: 'POST', url, headers, principal, body })
  const credentials = from === 'peer' ? { 'x-mcpgw-hop': hop } : gateway.credentials
  return gateway.send(url, { headers: { ...headers, ...credentials }, body })
}

test.each(['router', 'adapter'] as const)(
  'a peer does not hand a request to the %s on to a third process',
  async (at) => {
    reached = []
    const fromClient = await inSessionOf('three', at, 'client')
    expect([fromClient.body.toString(), reached.length]).toEqual(['{"from":"three"}', 1])

    const fromPeer = await inSessionOf('three', at, 'peer')
    expect([fromPeer.status, fromPeer.body.toString()]).toEqual([
      404,
      expect.stringContaining('"code":"session_not_found"'),
    ])
    expect(reached).toHaveLength(1)
  },
)

test.each(['router', 'adapter'] as const)(
  'a client is not told to repeat a request to the %s whose process broke off midway',
  async (at) => {
    breaksOff = true
    const answer = await inSessionOf('three', at, 'client', 'tools/call')
    breaksOff = false
    expect([answer.status, answer.body.toString()]).toEqual([
      502,
      expect.stringMatching(/may have run.*"code":"upstream_failed".*"retryable":false/),
    ])
  },
)

test.each(['router', 'adapter'] as const)(
  'a client begins a new session if the process broke off while it listed for the %s',
  async (at) => {
    breaksOff = true
    const answer = await inSessionOf('three', at, 'client', 'tools/list')
    breaksOff = false
    expect([answer.status, answer.body.toString()]).toEqual([
      404,
      expect.stringContaining('"code":"session_not_found"'),
    ])
  },
)
