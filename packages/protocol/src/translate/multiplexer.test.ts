import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { metaKey, type ModernRequest } from '../modern.ts'
import { readObject } from '../json/raw-object.ts'
import type { Exchange } from './exchange.ts'
import { ModernMultiplexer } from './multiplexer.ts'

function setUp(newId?: () => string) {
  const sent: string[] = []
  let ids = 0
  const multiplexer = new ModernMultiplexer(
    (text) => sent.push(text),
    newId ?? (() => `id-${(ids += 1)}`),
  )
  const ask = (
    method: string,
    params: string,
    extra: Partial<ModernRequest> = {},
    caller = 'ann',
  ) => {
    const heard = { told: [] as string[], answers: [] as [number, string][] }
    const exchange: Exchange = {
      tell: (text) => heard.told.push(text),
      answer: (status, text) => heard.answers.push([status, text]),
    }
    const members = readObject(params) ?? new Map<string, string>()
    const meta = readObject(members.get('_meta')) ?? new Map<string, string>()
    multiplexer.request(caller, { id: '"mine"', method, params: members, meta, ...extra }, exchange)
    return { ...heard, exchange }
  }
  return { multiplexer, ask, take: () => sent.splice(0) }
}

test('clients with the same ids share a server, each with its own answers', () => {
  const { multiplexer, ask, take } = setUp()
  const params =
    '{"name":"t","arguments":{"z":12345678901234567890,"a":1.0},' +
    '"_meta":{"progressToken":"p","x":1.0}}'
  const [a, b] = [ask('tools/call', params), ask('tools/call', params)]
  expect(take()).toEqual(
    [1, 2].map(
      (id) =>
        `{"jsonrpc":"2.0","id":"id-${id}","method":"tools/call","params":{"name":"t",` +
        `"arguments":{"z":12345678901234567890,"a":1.0},"_meta":{"progressToken":"id-${id}",` +
        '"x":1.0}}}',
    ),
  )

  multiplexer.receive(
    '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"id-2",' +
      '"progress":0.10}}',
  )
  multiplexer.receive(
    '{"jsonrpc":"2.0","id":"\\u0069d-2","result":{"n":12345678901234567890,' +
      '"resultType":"complete"}}',
  )
  multiplexer.receive('{"jsonrpc":"2.0","id":"id-2","result":{}}')
  multiplexer.receive(
    '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"id-2"}}',
  )
  multiplexer.receive(
    '{"jsonrpc":"2.0","id":"id-1","error":{"code":-32021,"message":"cap",' +
      '"data":{"requiredCapabilities":{}}}}',
  )
  expect([b.told, b.answers, a.told, a.answers]).toEqual([
    [
      '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p",' +
        '"progress":0.10}}',
    ],
    [
      [
        200,
        '{"jsonrpc":"2.0","id":"mine","result":{"n":12345678901234567890,"resultType":"complete"}}',
      ],
    ],
    [],
    [
      [
        400,
        '{"jsonrpc":"2.0","id":"mine","error":{"code":-32021,"message":"cap",' +
          '"data":{"requiredCapabilities":{}}}}',
      ],
    ],
  ])
  expect(multiplexer.busy).toBe(false)
})

test('a client that leaves cancels its request, and a server that asks is refused', () => {
  const { multiplexer, ask, take } = setUp()
  const { exchange, answers } = ask('tools/call', '{"name":"t"}')
  take()
  multiplexer.gone(exchange)
  multiplexer.gone(exchange)
  multiplexer.receive('{"jsonrpc":"2.0","id":"id-1","result":{}}')
  multiplexer.receive('{"jsonrpc":"2.0","id":"q","method":"roots/list"}')
  expect([take(), answers]).toEqual([
    [
      '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"id-1",' +
        '"reason":"The client has gone."}}',
      '{"jsonrpc":"2.0","id":"q","error":{"code":-32601,' +
        '"message":"A server of 2026-07-28 asks by input_required results."}}',
    ],
    [],
  ])
})

test('listen streams carry their client’s id, and end when the server ends them', () => {
  const { multiplexer, ask } = setUp()
  const streams = [1, 2, 3].map(() =>
    ask('subscriptions/listen', '{"notifications":{"toolsListChanged":true}}'),
  )
  for (const id of [1, 2, 99])
    multiplexer.receive(
      '{"jsonrpc":"2.0","method":"notifications/tools/list_changed",' +
        `"params":{"_meta":{"${metaKey.subscriptionId}":"id-${id}","y":1.0}}}`,
    )
  multiplexer.receive(
    '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"id-1"}}',
  )
  multiplexer.receive(
    '{"jsonrpc":"2.0","id":"id-2","result":{"resultType":"complete",' +
      `"_meta":{"${metaKey.subscriptionId}":"id-2"}}}`,
  )
  multiplexer.lost('It broke.')
  const told =
    '{"jsonrpc":"2.0","method":"notifications/tools/list_changed",' +
    `"params":{"_meta":{"${metaKey.subscriptionId}":"mine","y":1.0}}}`
  const ended = [
    200,
    '{"jsonrpc":"2.0","id":"mine","result":{"resultType":"complete",' +
      `"_meta":{"${metaKey.subscriptionId}":"mine"}}}`,
  ]
  expect(streams.map((each) => [each.told, each.answers])).toEqual([
    [[told], [ended]],
    [[told], [ended]],
    [[], [ended]],
  ])
})

describe('log messages of a modern server on stdio, which name no request,', () => {
  const asking = (level: string): string =>
    `{"name":"t","_meta":{"${metaKey.logLevel}":"${level}"}}`
  const message = (level: string): string =>
    `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"${level}","data":1.0}}`

  test('log messages go to the only request that asked for them, and to nobody else', () => {
    const { multiplexer, ask } = setUp()
    const quiet = ask('tools/call', '{"name":"t"}')
    const loud = ask('tools/call', asking('info'))
    multiplexer.receive(message('info'))
    multiplexer.receive(message('debug'))
    expect([quiet.told, loud.told]).toEqual([[], [message('info')]])
  })

  test('log messages go once to their caller, though several requests asked', () => {
    const { multiplexer, ask, take } = setUp()
    const older = ask('tools/call', asking('info'))
    const newer = ask('tools/call', asking('info'))
    take()
    // A stream would stay open for long, so the multiplexer does not ask for messages in its name.
    const stream = ask('subscriptions/listen', asking('debug'), {}, 'bob')
    expect(take().join()).not.toContain(metaKey.logLevel)
    multiplexer.receive(message('info'))
    multiplexer.gone(newer.exchange)
    multiplexer.receive(message('error'))
    multiplexer.receive(message('debug'))
    expect([older.told, newer.told, stream.told]).toEqual([
      [message('error')],
      [message('info')],
      [],
    ])
  })

  test('log messages never reach another caller, and both learn that some are missing', () => {
    const { multiplexer, ask } = setUp()
    const ann = ask('tools/call', asking('info'))
    const bob = ask('tools/call', asking('warning'), {}, 'bob')
    // Messages of this level can only belong to the first caller.
    multiplexer.receive(message('info'))
    for (let time = 0; time < 3; time += 1) multiplexer.receive(message('warning'))
    const { params: notice } = JSON.parse(bob.told[0] ?? '{}') as { params?: object }
    expect(notice).toEqual({
      level: 'warning',
      logger: 'mcp-gateway',
      data: expect.stringContaining('does not say to which call'),
    })
    expect([ann.told, bob.told]).toEqual([[message('info'), bob.told[0]], [bob.told[0]]])

    multiplexer.gone(ann.exchange)
    multiplexer.receive(message('warning'))
    expect(bob.told.slice(1)).toEqual([message('warning')])
  })
})

test.each([
  '{"jsonrpc":"2.0","id":"id-1"}',
  '{"jsonrpc":"2.0","id":"id-1","result":null}',
  '{"jsonrpc":"2.0","id":"id-1","error":"boom"}',
])('the malformed answer %s is one error', (answer) => {
  const { multiplexer, ask } = setUp()
  const { answers } = ask('tools/call', '{"name":"t"}')
  multiplexer.receive(answer)
  expect(answers).toEqual([
    [
      502,
      '{"jsonrpc":"2.0","id":"mine","error":{"code":-32603,' +
        '"message":"The answer of the server is malformed."}}',
    ],
  ])
})

test('an answer in which a member stands twice is an answer all the same', () => {
  const { multiplexer, ask } = setUp()
  const { answers } = ask('tools/call', '{"name":"t"}')
  multiplexer.receive('{"jsonrpc":"2.0","id":"id-1","id":"id-1","result":{"a":1,"a":2}}')
  expect(answers).toEqual([[200, '{"jsonrpc":"2.0","id":"mine","result":{"a":1,"a":2}}']])
})

test('a call whose headers and arguments differ is refused once the tools are known', () => {
  const { multiplexer, ask, take } = setUp()
  ask('tools/list', '{}')
  multiplexer.receive(
    '{"jsonrpc":"2.0","id":"id-1","result":{"tools":[{"name":"t",' +
      '"inputSchema":{"properties":{"r":{"type":"string","x-mcp-header":"R"}}}}]}}',
  )
  take()
  const { answers } = ask('tools/call', '{"name":"t"}', {
    paramHeaderMistake: (declared) => `${declared[0]?.header} differs.`,
  })
  expect([take(), answers]).toEqual([
    [],
    [
      [
        400,
        '{"jsonrpc":"2.0","id":"mine","error":{"code":-32020,' +
          '"message":"Bad Request: mcp-param-r differs."}}',
      ],
    ],
  ])
})

test('a caller of a shared server cannot guess the id of another caller to answer the call', () => {
  const { multiplexer, ask, take } = setUp(randomUUID)
  const params = '{"name":"t","_meta":{"progressToken":"p"}}'
  const calls = [1, 2].map(() => ask('tools/call', params))
  const sent = take().map((text) => JSON.parse(text) as Sent)
  const ids = sent.map(({ id }) => id)

  for (const guess of [...Array(100).keys(), '"1"', '"mine"', '"p"', 'null']) {
    multiplexer.receive(`{"jsonrpc":"2.0","id":${guess},"result":{"forged":true}}`)
    multiplexer.receive(
      `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":${guess}}}`,
    )
  }
  for (const { exchange } of calls) multiplexer.gone(exchange)

  expect(calls.map(({ told, answers }) => [told, answers])).toEqual([
    [[], []],
    [[], []],
  ])
  expect(sent.map(({ params: { _meta } }) => _meta.progressToken)).toEqual(ids)
  expect(take().map((text) => (JSON.parse(text) as Sent).params.requestId)).toEqual(ids)
  expect(new Set(ids).size).toBe(2)
})

interface Sent {
  readonly id: string
  readonly params: {
    readonly requestId: string
    readonly _meta: { readonly progressToken: string }
  }
}

describe('a task of a server that all callers share', () => {
  const made = '{"jsonrpc":"2.0","id":"id-1","result":{"resultType":"task","taskId":"t1"}}'

  test.each([
    ['tasks/get', '{"taskId":"t1"}'],
    ['tasks/update', '{"taskId":"t1","inputResponses":{}}'],
    ['tasks/cancel', '{"taskId":"t1"}'],
    ['subscriptions/listen', '{"notifications":{"taskIds":["t1"]}}'],
  ])('a task exists for its caller, and not for another who names it in %s', (method, params) => {
    const { multiplexer, ask, take } = setUp()
    ask('tools/call', '{"name":"long"}')
    multiplexer.receive(made)
    take()

    const foreign = ask(method, params, {}, 'mallory')
    expect(take()).toEqual([])
    const unknown = ask(method, params.replace('t1', 'none'), {}, 'mallory')
    expect(foreign.answers).toEqual(unknown.answers)
    expect(foreign.answers).toMatchObject([[200, expect.stringContaining('-32602')]])

    ask(method, params)
    expect(take()).toHaveLength(1)
  })

  test('a task stays with its first caller, whoever is answered with it later', () => {
    const { multiplexer, ask, take } = setUp()
    ask('tools/call', '{"name":"long"}')
    multiplexer.receive(made)
    ask('tools/call', '{"name":"long"}', {}, 'mallory')
    multiplexer.receive(made.replace('id-1', 'id-2'))
    take()

    ask('tasks/get', '{"taskId":"t1"}', {}, 'mallory')
    expect(take()).toEqual([])
  })
})
