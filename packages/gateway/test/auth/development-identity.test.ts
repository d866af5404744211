import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestGateway } from '../fixtures/gateway.ts'
import { initialize } from '../fixtures/mcp-requests.ts'

let gateway: TestGateway
let adapter = ''
const json = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' }
const root = { 'x-dev-userid': 'root', 'x-dev-roles': 'mcp.admin' }

beforeAll(async () => {
  gateway = await TestGateway.open()
  adapter = await gateway.register()
})
afterAll(() => gateway[Symbol.asyncDispose]())

describe.each([
  { 'x-forwarded-for': '203.0.113.7' },
  { Forwarded: 'for=203.0.113.7' },
  { VIA: '' },
])('a request that a proxy forwards with %j', (added) => {
  test('the control plane refuses a forwarded request, whatever identity it claims', async () => {
    for (const claim of [{}, root]) {
      const { status, body } = await gateway.send('/adapters', {
        method: 'GET',
        headers: { ...claim, ...added },
      })
      expect([status, JSON.parse(body.toString())]).toMatchObject([
        403,
        { code: 'forwarded_request', detail: expect.stringContaining('API key') as string },
      ])
    }
  })

  test('the data plane refuses a forwarded request, and no server sees it', async () => {
    for (const path of [`/adapters/${adapter}/mcp`, '/mcp']) {
      const before = gateway.requests(adapter).length
      const { status, body } = await gateway.send(path, {
        headers: { ...json, ...root, ...added },
        body: initialize,
      })
      expect([status, JSON.parse(body.toString())]).toMatchObject([
        403,
        { error: { data: { code: 'forwarded_request' } } },
      ])
      expect(gateway.requests(adapter)).toHaveLength(before)
    }
  })

  test('the gateway admits a forwarded request with an API key as proof', async () => {
    const made = await gateway.send('/api-keys', { headers: json, body: '{"name":"mine"}' })
    const { key } = JSON.parse(made.body.toString()) as { key: string }
    const { status } = await gateway.send('/adapters', {
      method: 'GET',
      headers: { ...added, authorization: `Bearer ${key}` },
    })
    expect(status).toBe(200)
  })
})
