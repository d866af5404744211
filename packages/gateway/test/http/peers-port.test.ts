import { randomBytes } from 'node:crypto'
import { freePort } from '@mcp-gateway/testkit'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { anyPeer, Hop } from '../../src/ingress/peer-hop.ts'
import { TestGateway } from '../fixtures/gateway.ts'

const key = randomBytes(32)
let gateway: TestGateway
let peers = ''
beforeEach(async () => {
  const port = await freePort()
  peers = `http://127.0.0.1:${port}`
  gateway = await TestGateway.open({
    cluster: { port, host: '127.0.0.1' },
    sessions: { keys: [key.toString('base64')] },
  })
})
afterEach(() => gateway[Symbol.asyncDispose]())

const initialize = JSON.stringify({
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: {
    protocolVersion: '2025-06-18',
    capabilities: {},
    clientInfo: { name: 'test', version: '1' },
  },
})
const post = (url: string, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(url, {
    method: 'POST',
    body: initialize,
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      ...headers,
    },
  })

describe('the port for peers', () => {
  test('the port for peers answers probes by any name, without log lines', async () => {
    for (const path of ['/healthz', '/readyz', '/ping']) {
      const { status } = await fetch(peers + path, { headers: { host: '10.1.2.3:8001' } })
      expect([path, status]).toEqual([path, 200])
    }
    expect(gateway.log.filter(({ msg }) => msg === 'request')).toEqual([])
  })

  test('the port for peers has nothing for clients, whatever identity they claim', async () => {
    const adapter = await gateway.register()
    for (const path of ['/mcp', `/adapters/${adapter}/mcp`])
      expect([path, (await post(peers + path)).status]).toEqual([path, 404])
    for (const path of ['/adapters', '/tools', '/docs', '/api-keys', `/adapters/${adapter}/logs`])
      expect([
        path,
        (await fetch(peers + path, { headers: { 'x-dev-roles': 'mcp.admin' } })).status,
      ]).toEqual([path, 404])
    expect((await post(`${peers}/mcp`, { 'x-mcpgw-hop': 'forged.by.some.body' })).status).toBe(401)
  })

  test('the port for peers serves a peer’s request, for the caller that it names', async () => {
    await using peer = new Hop({ keys: [key], self: 'other', peers: [], now: () => Date.now() })
    const principal = { id: 'ada', issuer: 'development', name: 'Ada', roles: [] }
    const headers = {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
    }
    const signature = peer.sign({
      to: anyPeer,
      method: 'POST',
      url: '/mcp',
      headers,
      principal,
      body: Buffer.from(initialize),
    })
    const answer = await post(`${peers}/mcp`, { 'x-mcpgw-hop': signature })
    expect(answer.status).toBe(200)
    await expect
      .poll(() => gateway.log.find(({ path }) => path === '/mcp'))
      .toMatchObject({ principal: 'ada', status: 200 })
  })

  test('the port for peers closes with the gateway', async () => {
    await gateway[Symbol.asyncDispose]()
    await expect(fetch(`${peers}/readyz`)).rejects.toThrow()
  })
})
