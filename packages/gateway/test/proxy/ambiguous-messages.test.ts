import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openAudited, type AuditedGateway } from '../fixtures/audited-gateway.ts'
import type { TestGateway } from '../fixtures/gateway.ts'

let opened: AuditedGateway
let gateway: TestGateway
let adapter: string
let file: string
beforeAll(async () => {
  opened = await openAudited()
  ;({ gateway, adapter, file } = opened)
})
afterAll(() => opened[Symbol.asyncDispose]())

const call = '"jsonrpc":"2.0","id":1,"method":"tools/call"'
const note = '"params":{"name":"read_note"}'
const cases: readonly (readonly [string, string])[] = [
  ['a name twice', `{${call},"params":{"name":"read_note","name":"delete_all"}}`],
  ['a name in two cases', `{${call},"params":{"name":"read_note","Name":"delete_all"}}`],
  ['a name in another case alone', `{${call},"params":{"NAME":"delete_all"}}`],
  ['a name that is escaped once', `{${call},"params":{"name":"read_note","n\\u0061me":"x"}}`],
  ['params twice', `{${call},${note},"params":{"name":"delete_all"}}`],
  ['params in two cases', `{${call},${note},"Params":{"name":"delete_all"}}`],
  ['params with a long s', `{${call},${note},"param\u017f":{"name":"delete_all"}}`],
  ['a method twice', `{${call},${note},"method":"ping"}`],
  ['a method in another case', `{"jsonrpc":"2.0","id":1,"Method":"tools/call",${note}}`],
  ['an id in two cases', `{${call},${note},"ID":7}`],
  [
    'a request twice in a cancellation',
    '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"RequestId":2}}',
  ],
  ['a token twice', `{${call},"params":{"_meta":{"progressToken":1,"progressToken":2}}}`],
  ['such a message in a batch', `[{${call},${note}},{${call},${note},"Params":{}}]`],
]

test.each(
  cases.flatMap(([what, body]) => ['adapter', '/mcp'].map((where) => [what, where, body] as const)),
)(
  'the gateway refuses a message with %s before any server sees it, at %s',
  async (what, where, body) => {
    const tag = `${what}-${where}`.replaceAll(/[^a-z]/g, '-')
    const path = where === '/mcp' ? '/mcp' : `/adapters/${adapter}/mcp?tag=${tag}`
    const answer = await gateway.send(path, {
      headers: { 'content-type': 'application/json', 'x-request-id': tag },
      body,
    })
    expect(answer.status).toBe(400)
    expect(JSON.parse(answer.body.toString())).toMatchObject({
      id: null,
      error: { code: -32600, data: { code: 'ambiguous_message' } },
    })
    expect(gateway.events(tag)).toEqual([])

    const records = (): Record<string, unknown>[] =>
      readFileSync(file, 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Record<string, unknown>)
        .filter(({ requestId }) => requestId === tag)
    await expect.poll(records).toMatchObject([{ action: 'mcp.request' }])
    expect(records()[0]).not.toHaveProperty('tool')
  },
)

test('the gateway forwards a message whose arguments hold a member in two cases', async () => {
  const body = `{${call},"params":{"name":"a","arguments":{"name":1,"Name":2,"name":3}}}`
  const answer = await gateway.mcp(adapter, 'do=echo&tag=fine', { body })
  expect(answer.body.toString()).toBe(body)
})

test.each(['adapter', '/mcp'])(
  'the gateway refuses a batch of 101 messages, whose calls would have no record, at %s',
  async (where) => {
    const ping = '{"jsonrpc":"2.0","id":1,"method":"ping"}'
    const batch = (length: number): string => `[${Array.from({ length }, () => ping).join(',')}]`
    const send = (length: number): ReturnType<TestGateway['send']> =>
      gateway.send(where === '/mcp' ? '/mcp' : `/adapters/${adapter}/mcp?do=echo&tag=b${length}`, {
        headers: { 'content-type': 'application/json' },
        body: batch(length),
      })
    const refused = await send(101)
    expect(refused.status).toBe(400)
    expect(refused.body.toString()).toMatch(/more than 100 messages/)
    expect(gateway.events('b101')).toEqual([])

    expect((await send(100)).body.toString()).not.toMatch(/more than 100 messages/)
  },
)

const many = 100_001
const members = Array.from({ length: many }, (_, index) => `"k${index}":1`).join(',')
const costly: readonly (readonly [string, string])[] = [
  ['arrays in arrays', '['.repeat(many) + ']'.repeat(many)],
  ['objects', `[${'{},'.repeat(many)}1]`],
  ['members', `{${members}}`],
]

test.each(
  costly.flatMap(([what, text]) => ['adapter', '/mcp', '/adapters'].map((w) => [what, w, text])),
)(
  'the gateway refuses a body of 100,001 %s before it reads it, at %s',
  async (_what, where, text) => {
    const tag = `costly-${_what}-${where}`.replaceAll(/[^a-z]/g, '-')
    const path = where === 'adapter' ? `/adapters/${adapter}/mcp?tag=${tag}` : where
    const answer = await gateway.send(path, {
      headers: { 'content-type': 'application/json' },
      body: `{${call},"params":{"name":"a","arguments":{"x":${text}}}}`,
    })

    expect(answer.status).toBe(413)
    const { id, detail } = JSON.parse(answer.body.toString()) as Record<string, unknown>
    expect(answer.body.toString()).toContain('more than 100000 objects, arrays and members')
    // The gateway did not read its id.
    if (detail === undefined) expect(id).toBeNull()
    expect(gateway.events(tag)).toEqual([])
  },
)
