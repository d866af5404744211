import { brokenAnswers, RawAnswers, sneakyAnswers } from '@mcp-gateway/testkit'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { TestGateway, type Exchange } from '../fixtures/gateway.ts'

let gateway: TestGateway
let server: RawAnswers
beforeAll(async () => {
  gateway = await TestGateway.open()
  server = await RawAnswers.start()
  const toolRules = [{ effect: 'allow', tools: '*' }]
  for (const [name, more] of [
    ['plain', {}],
    ['ruled', { toolRules }],
  ] as const) {
    const endpoint = `${server.origin}/mcp`
    const adapter = { name, endpoint, eras: 'passthrough', ...more }
    const { status } = await gateway.send('/adapters', {
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(adapter),
    })
    expect(status).toBe(201)
  }
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

const call = '{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"a"}}'
const send = (adapter: string, answer = ''): Promise<Exchange> =>
  gateway.send(`/adapters/${adapter}/mcp?answer=${encodeURIComponent(answer)}`, {
    headers: { 'content-type': 'application/json' },
    body: call,
  })
const cases = (answers: object): readonly (readonly [string, string])[] =>
  Object.keys(answers).flatMap((name) => [['plain', name] as const, ['ruled', name] as const])

test.each(cases(brokenAnswers))(
  'at the %s adapter an answer with %s is one well-formed error for its client',
  async (adapter, name) => {
    const answer = await send(adapter, name)
    expect([answer.status, JSON.parse(answer.body.toString())]).toMatchObject([
      502,
      { id: 7, error: { data: { code: 'upstream_failed' } } },
    ])
    expect(answer.headers).not.toHaveProperty('set-cookie')
    expect((await send(adapter)).body.toString()).toBe('{}')
  },
)

test.each(cases(sneakyAnswers))(
  'at the %s adapter an answer with %s brings nothing of that to its client or to the next one',
  async (adapter, name) => {
    for (const answer of [await send(adapter, name), await send(adapter)]) {
      expect([answer.status, answer.whole, answer.body.toString()]).toEqual([200, true, '{}'])
      const { 'x-request-id': requestId, 'mcp-session-id': session, ...rest } = answer.headers
      expect([requestId, session]).not.toContain('forged')
      expect(session).not.toBe('raw')
      expect(answer.headers['content-security-policy']).toMatch(/^sandbox/)
      expect(Object.keys(rest).join(' ')).not.toMatch(/cookie|accel|refresh|authenticate|alt-svc/i)
      expect(
        answer.rawHeaders.filter((part) => /^mcp-session-id$/i.test(part)).length,
      ).toBeLessThan(2)
    }
  },
)
