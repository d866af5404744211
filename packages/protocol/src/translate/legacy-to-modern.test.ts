import { describe, expect, test } from 'vitest'
import { metaKey, paramsWithMeta, type ModernRequest } from '../modern.ts'
import type { Exchange } from './exchange.ts'
import { LegacyToModern } from './legacy-to-modern.ts'

interface Asked {
  readonly request: ModernRequest
  readonly exchange: Exchange
}

const clientInfo = '{"name":"c","version":"1"}'
const serverInfo = '{"name":"new","version":"1"}'

/** An engine whose server and client are lists of this test. */
function createEngine() {
  const asked: Asked[] = []
  const gone: Exchange[] = []
  const told: string[] = []
  const related: (string | undefined)[] = []
  /** Bytes of calls that wait for the list of tools. */
  const waiting = { bytes: 0 }
  const timers: { ms: number; callback: () => void }[] = []
  const engine = new LegacyToModern({
    server: {
      request: (request, exchange) => asked.push({ request, exchange }),
      gone: (exchange) => gone.push(exchange),
    },
    send: (message, to) => {
      told.push(message)
      related.push(to)
    },
    answer(id, message) {
      this.send(message, id)
    },
    newId: () => 'new-id',
    later: (ms, callback) => timers.push({ ms, callback }),
    waits: (bytes) => void (waiting.bytes += bytes),
  })
  return { engine, asked, gone, told, related, waiting, timers }
}

function setUp(capabilities = '{}', version = '2025-11-25') {
  const created = createEngine()
  const { engine, asked, told } = created

  /** Gives the last request to the server. */
  const last = (): Asked => asked.at(-1) as Asked
  const answer = (result: string, to = last()): void =>
    to.exchange.answer(200, `{"jsonrpc":"2.0","id":${to.request.id},"result":${result}}`)
  const fail = (error: string, to = last()): void =>
    to.exchange.answer(200, `{"jsonrpc":"2.0","id":${to.request.id},"error":${error}}`)
  const say = (id: string, method: string, params = '{}'): void =>
    engine.receive(`{"jsonrpc":"2.0","id":${id},"method":"${method}","params":${params}}`)
  const notify = (method: string, params = '{}'): void =>
    engine.receive(`{"jsonrpc":"2.0","method":"${method}","params":${params}}`)
  const open = (server = '{"tools":{}}'): void => {
    say(
      '0',
      'initialize',
      `{"protocolVersion":"${version}","capabilities":${capabilities},"clientInfo":${clientInfo}}`,
    )
    answer(
      `{"supportedVersions":["2026-07-28"],"capabilities":${server},` +
        `"_meta":{"${metaKey.serverInfo}":${serverInfo}}}`,
    )
    told.splice(0)
  }
  /** Calls a tool that the list of tools shows. */
  const call = (
    id = '1',
    params = '{"name":"work","arguments":{}}',
    tool = '{"name":"work","inputSchema":{}}',
  ): Asked => {
    say(id, 'tools/call', params)
    if (last().request.method === 'tools/list')
      answer(`{"tools":[${tool}],"resultType":"complete"}`)
    return last()
  }
  const take = (): string[] => told.splice(0)

  return { ...created, last, answer, fail, say, notify, open, call, take }
}

function envelope(capabilities = '{}', more = '', level = `,"${metaKey.logLevel}":"info"`): string {
  return (
    `"_meta":{${more}"${metaKey.protocolVersion}":"2026-07-28",` +
    `"${metaKey.clientCapabilities}":${capabilities},` +
    `"${metaKey.clientInfo}":${clientInfo}${level}}`
  )
}

describe('a legacy client of a modern server', () => {
  test.each([
    ['2024-11-05', '2024-11-05'],
    ['2025-03-26', '2025-03-26'],
    ['2025-06-18', '2025-06-18'],
    ['2025-11-25', '2025-11-25'],
    ['2026-07-28', '2025-11-25'],
    ['1', '2025-11-25'],
  ])('a request for version %s gets %s, with what the server says of itself', (wanted, given) => {
    const { say, last, answer, take } = setUp()
    say(
      '"i"',
      'initialize',
      `{"protocolVersion":"${wanted}","capabilities":{"roots":{"listChanged":true},` +
        `"tasks":{}},"clientInfo":${clientInfo}}`,
    )
    expect([last().request.method, paramsWithMeta(last().request)]).toEqual([
      'server/discover',
      `{${envelope('{"roots":{}}', '', '')}}`,
    ])
    answer(
      '{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{},' +
        '"extensions":{"io.modelcontextprotocol/tasks":{}}},"instructions":"Be kind.",' +
        '"resultType":"complete","ttlMs":5,"cacheScope":"public",' +
        `"_meta":{"${metaKey.serverInfo}":${serverInfo}}}`,
    )
    expect(take()).toEqual([
      `{"jsonrpc":"2.0","id":"i","result":{"protocolVersion":"${given}",` +
        `"capabilities":{"tools":{}},"serverInfo":${serverInfo},"instructions":"Be kind."}}`,
    ])
  })

  test('a server without a name gets one', () => {
    const { say, answer, take } = setUp()
    say('1', 'initialize')
    answer('{"supportedVersions":["2026-07-28"]}')
    expect(take()).toEqual([
      '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{},' +
        '"serverInfo":{"name":"mcp-server","version":"0"}}}',
    ])
  })

  test('a call is sent in the envelope, numbers and key order kept, and its result without', () => {
    const { open, call, answer, take, related } = setUp()
    open()
    const { request } = call(
      '"1"',
      '{"name":"work","arguments":{"z":12345678901234567890,"a":1.0},"task":{"ttl":1},' +
        '"_meta":{"progressToken":7}}',
    )
    expect([request.method, paramsWithMeta(request)]).toEqual([
      'tools/call',
      '{"name":"work","arguments":{"z":12345678901234567890,"a":1.0},' +
        `${envelope('{}', '"progressToken":7,')}}`,
    ])
    answer(
      '{"content":[{"type":"text","text":"\\u0041"}],' +
        '"structuredContent":{"z":12345678901234567890,"a":1.0},"resultType":"complete",' +
        `"ttlMs":0,"cacheScope":"private","_meta":{"${metaKey.serverInfo}":${serverInfo}}}`,
    )
    expect(take()).toEqual([
      '{"jsonrpc":"2.0","id":"1","result":{"content":[{"type":"text","text":"\\u0041"}],' +
        '"structuredContent":{"z":12345678901234567890,"a":1.0}}}',
    ])
    expect(related.at(-1)).toBe('"1"')
  })

  test('other members of a result are kept', () => {
    const { open, say, answer, take } = setUp()
    open()
    say('1', 'vendor/thing')
    answer(`{"a":1,"resultType":"complete","_meta":{"x":1,"${metaKey.serverInfo}":{}}}`)
    expect(take()).toEqual(['{"jsonrpc":"2.0","id":1,"result":{"a":1,"_meta":{"x":1}}}'])
  })

  test('structured content that is no object becomes the member of one', () => {
    const { open, call, say, answer, take, asked } = setUp()
    open()
    const schema =
      '{"$schema":"d","type":"array","items":{"$ref":"#/$defs/n"},' +
      '"$defs":{"n":{"anyOf":[{"$ref":"#"},{"const":{"$ref":"#"}},{"$id":"other",' +
      '"$ref":"#/x"}]},"$ref":{"type":"null"}}}'
    const tool = `{"name":"work","inputSchema":{},"outputSchema":${schema}}`
    call('1', '{"name":"work"}', tool)
    answer('{"content":[],"structuredContent":[12345678901234567890],"resultType":"complete"}')
    say('2', 'tools/list')
    answer(
      `{"tools":[${tool},{"name":"plain","inputSchema":{},"outputSchema":{"type":"object",` +
        '"n":1.0}}]}',
    )
    call('3', '{"name":"work"}')
    answer('{"content":[],"structuredContent":{"also":1}}')
    call('4', '{"name":"plain"}')
    answer('{"content":[],"structuredContent":{"as":"is"}}')
    expect(take()).toEqual([
      '{"jsonrpc":"2.0","id":1,"result":{"content":[],' +
        '"structuredContent":{"result":[12345678901234567890]}}}',
      '{"jsonrpc":"2.0","id":2,"result":{"tools":[{"name":"work","inputSchema":{},' +
        '"outputSchema":{"$schema":"d","type":"object","properties":{"result":{"$schema":"d",' +
        '"type":"array","items":{"$ref":"#/properties/result/$defs/n"},' +
        '"$defs":{"n":{"anyOf":[{"$ref":"#/properties/result"},{"const":{"$ref":"#"}},' +
        '{"$id":"other","$ref":"#/x"}]},"$ref":{"type":"null"}}}},"required":["result"]}},' +
        '{"name":"plain","inputSchema":{},"outputSchema":{"type":"object","n":1.0}}]}}',
      '{"jsonrpc":"2.0","id":3,"result":{"content":[],"structuredContent":{"result":{"also":1}}}}',
      '{"jsonrpc":"2.0","id":4,"result":{"content":[],"structuredContent":{"as":"is"}}}',
    ])
    expect(asked.filter(({ request }) => request.method === 'tools/list')).toHaveLength(2)
  })

  test('arguments become headers, and tools that misdeclare them are hidden', () => {
    const { open, call, say, answer, take } = setUp()
    open()
    const schema = '{"properties":{"r":{"type":"string","x-mcp-header":"Region"}}}'
    const { request } = call(
      '1',
      '{"name":"work","arguments":{"r":"eu"}}',
      `{"name":"work","inputSchema":${schema}}`,
    )
    expect(request.declaredHeaders).toEqual([{ header: 'mcp-param-region', path: ['r'] }])
    say('2', 'tools/list')
    take()
    const deep = `${'{"properties":{"a":'.repeat(20_000)}{"x-mcp-header":"A"}${'}}'.repeat(20_000)}`
    answer(
      '{"tools":[{"name":"bad","inputSchema":{"x-mcp-header":"A"}},{"name":"deep",' +
        `"inputSchema":${deep}},{"name":"deeper",` +
        `"outputSchema":${'{"items":'.repeat(50_000)}{}${'}'.repeat(50_000)}},` +
        '{"name":"good"}]}',
    )
    expect(take()).toEqual(['{"jsonrpc":"2.0","id":2,"result":{"tools":[{"name":"good"}]}}'])
  })

  test('a call is sent again, once, with new tools when the server misses headers', () => {
    const { open, call, fail, answer, take, last, asked } = setUp()
    open()
    call()
    fail('{"code":-32020,"message":"The header is missing."}')
    expect(last().request.method).toBe('tools/list')
    answer(
      '{"tools":[{"name":"work","inputSchema":{"properties":{"r":{"type":"string",' +
        '"x-mcp-header":"R"}}}}]}',
    )
    expect([last().request.method, last().request.declaredHeaders]).toEqual([
      'tools/call',
      [{ header: 'mcp-param-r', path: ['r'] }],
    ])
    expect(take()).toEqual([])
    fail('{"code":-32020,"message":"The header is missing."}')
    expect(take()).toEqual([
      '{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"The header is missing."}}',
    ])
    expect(asked).toHaveLength(5)
  })

  test.each([
    [
      '{"code":-32602,"message":"no","data":{"a":1.0}}',
      '{"code":-32602,"message":"no","data":{"a":1.0}}',
    ],
    ['{"code":-32022,"message":"version"}', '{"code":-32603,"message":"version"}'],
    ['{"code":-32021,"message":"cap"}', '{"code":-32603,"message":"cap"}'],
    ['{"code":"x"}', '{"code":-32603,"message":"The server gave no answer."}'],
    ['5', '{"code":-32603,"message":"The server gave no answer."}'],
  ])('the error %s becomes %s', (modern, legacy) => {
    const { open, say, fail, take } = setUp()
    open()
    say('1', 'prompts/get', '{"name":"p"}')
    fail(modern)
    expect(take()).toEqual([`{"jsonrpc":"2.0","id":1,"error":${legacy}}`])
  })

  test('the model learns which capability a tool misses', () => {
    const { open, call, fail, take } = setUp()
    open()
    call()
    fail('{"code":-32021,"message":"No.","data":{"requiredCapabilities":{"sampling":{}}}}')
    expect(take()).toEqual([
      '{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text",' +
        '"text":"No. The client did not declare what this needs: {\\"sampling\\":{}}"}],' +
        '"isError":true}}',
    ])
  })

  test('a client hears server logs until it sets a level, and unknown levels are refused', () => {
    const { open, say, last, take } = setUp()
    open()
    say('1', 'logging/setLevel', '{"level":"loud"}')
    say('2', 'logging/setLevel', '{}')
    say('3', 'prompts/list')
    expect(last().request.meta.get(metaKey.logLevel)).toBe('"info"')
    say('4', 'logging/setLevel', '{"level":"warning"}')
    say('5', 'prompts/list')
    expect(last().request.meta.get(metaKey.logLevel)).toBe('"warning"')
    const refused = '"error":{"code":-32602,"message":"Invalid params: level is no log level."}'
    expect(take()).toEqual([
      `{"jsonrpc":"2.0","id":1,${refused}}`,
      `{"jsonrpc":"2.0","id":2,${refused}}`,
      '{"jsonrpc":"2.0","id":4,"result":{}}',
    ])
  })

  test('a ping is answered, and modern methods and tasks do not exist', () => {
    const { open, say, take, asked } = setUp()
    open()
    say('1', 'ping')
    for (const method of ['server/discover', 'subscriptions/listen', 'tasks/get']) say('2', method)
    expect(take()).toEqual([
      '{"jsonrpc":"2.0","id":1,"result":{}}',
      '{"jsonrpc":"2.0","id":2,"error":{"code":-32601,' +
        '"message":"Method not found: server/discover"}}',
      '{"jsonrpc":"2.0","id":2,"error":{"code":-32601,' +
        '"message":"Method not found: subscriptions/listen"}}',
      '{"jsonrpc":"2.0","id":2,"error":{"code":-32601,"message":"Method not found: tasks/get"}}',
    ])
    expect(asked).toHaveLength(1)
  })

  test('a client hears what the server says of its request, until it is answered', () => {
    const { open, call, answer, take, related } = setUp()
    open()
    const { exchange } = call('"c"', '{"name":"work","_meta":{"progressToken":"p"}}')
    const progress =
      '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p",' +
      '"progress":0.10}}'
    exchange.tell(progress)
    expect([take(), related.at(-1)]).toEqual([[progress], '"c"'])
    answer('{"content":[]}')
    take()
    exchange.tell(progress)
    answer('{"content":[]}')
    expect(take()).toEqual([])
  })

  test('a cancellation ends the request at the server and its questions, unanswered', () => {
    const { open, call, answer, notify, take, gone } = setUp('{"elicitation":{}}')
    open()
    const { exchange, request } = call()
    notify('notifications/cancelled', '{"requestId":1.0}')
    expect(gone).toEqual([exchange])
    answer('{"content":[]}', { exchange, request })
    expect(take()).toEqual([])
    const second = call('2')
    answer(
      '{"resultType":"input_required","inputRequests":{"k":{"method":"elicitation/create",' +
        '"params":{"message":"?"}}}}',
    )
    const asked = (JSON.parse(take()[0] as string) as { id: string }).id
    notify('notifications/cancelled', '{"requestId":2}')
    expect(take()).toEqual([
      `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"${asked}"}}`,
    ])
    expect(gone).toEqual([exchange, second.exchange])
    notify('notifications/cancelled', '{"requestId":99}')
    notify('notifications/roots/list_changed')
    notify('notifications/progress', '{"progressToken":1}')
    expect(take()).toEqual([])
  })
})

describe('questions of a modern server to a legacy client', () => {
  const required = (requests: string, state = ',"requestState":"s\\u0031"'): string =>
    `{"resultType":"input_required","inputRequests":{${requests}}${state}}`

  test('each question is a request, and the retry carries all answers and the state', () => {
    const { engine, open, call, answer, take, related, last, asked } = setUp(
      '{"elicitation":{},"sampling":{},"roots":{"listChanged":true}}',
    )
    open()
    const first = call('7', '{"name":"work","arguments":{"z":12345678901234567890,"a":1}}')
    answer(
      required(
        '"a":{"method":"elicitation/create","params":{"mode":"form","message":"?"}},' +
          '"b":{"method":"sampling/createMessage","params":{"maxTokens":1}},' +
          '"c":{"method":"roots/list"}',
      ),
    )
    expect(related.slice(-3)).toEqual(['7', '7', '7'])

    const questions = take()
    expect(questions).toEqual([
      '{"jsonrpc":"2.0","id":"input-4","method":"elicitation/create",' +
        '"params":{"mode":"form","message":"?"}}',
      '{"jsonrpc":"2.0","id":"input-5","method":"sampling/createMessage","params":{"maxTokens":1}}',
      '{"jsonrpc":"2.0","id":"input-6","method":"roots/list","params":{}}',
    ])

    // The client may write the ids in any form, in any order, and more than once.
    engine.receive('{"jsonrpc":"2.0","id":"input\\u002d6","result":{"roots":[]}}')
    engine.receive('{"jsonrpc":"2.0","id":"input-6","result":{"roots":[1]}}')
    engine.receive(
      '{"jsonrpc":"2.0","id":"input-4","result":{"action":"accept",' +
        '"content":{"n":12345678901234567890}}}',
    )
    engine.receive('{"jsonrpc":"2.0","id":"input-99","result":{}}')
    expect(last()).toBe(first)

    engine.receive('{"jsonrpc":"2.0","id":"input-5","result":{"role":"assistant"}}')
    expect([asked.length, last().request.id === first.request.id]).toEqual([4, false])
    expect(paramsWithMeta(last().request)).toBe(
      '{"name":"work","arguments":{"z":12345678901234567890,"a":1},' +
        '"inputResponses":{"c":{"roots":[]},"a":{"action":"accept",' +
        '"content":{"n":12345678901234567890}},"b":{"role":"assistant"}},' +
        `"requestState":"s\\u0031",${envelope('{"elicitation":{},"sampling":{},"roots":{}}')}}`,
    )

    answer('{"content":[],"resultType":"complete"}')
    expect(take()).toEqual(['{"jsonrpc":"2.0","id":7,"result":{"content":[]}}'])
  })

  test('a second round asks again, and its retry carries its own answers alone', () => {
    const { engine, open, call, answer, last } = setUp('{"roots":{},"sampling":{}}')
    open()
    call()
    answer(required('"first":{"method":"roots/list"}'))
    engine.receive('{"jsonrpc":"2.0","id":"input-4","result":{"roots":[]}}')
    answer(required('"second":{"method":"sampling/createMessage"}', ',"requestState":"later"'))
    engine.receive('{"jsonrpc":"2.0","id":"input-6","result":{"role":"assistant"}}')
    const { params } = last().request
    expect([params.get('inputResponses'), params.get('requestState')]).toEqual([
      '{"second":{"role":"assistant"}}',
      '"later"',
    ])
  })

  test('a question has no mode for old clients, and pages go to those that open them', () => {
    const form = '"k":{"method":"elicitation/create","params":{"mode":"form","message":"?"}}'
    const url =
      '"k":{"method":"elicitation/create","params":{"mode":"url","url":"https://a.test/",' +
      '"message":"?"}}'
    const asked = (capabilities: string, version: string, request: string): string => {
      const { open, call, answer, take } = setUp(capabilities, version)
      open()
      call()
      answer(required(request))
      return take().join()
    }
    expect(asked('{"elicitation":{}}', '2025-06-18', form)).toBe(
      '{"jsonrpc":"2.0","id":"input-4","method":"elicitation/create","params":{"message":"?"}}',
    )
    expect(asked('{"elicitation":{"url":{}}}', '2025-11-25', url)).toBe(
      '{"jsonrpc":"2.0","id":"input-4","method":"elicitation/create","params":{"mode":"url",' +
        '"url":"https://a.test/","message":"?","elicitationId":"new-id"}}',
    )
    const refused =
      '{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text",' +
      '"text":"The server needs the client to open a page (elicitation in URL mode),' +
      ' which it did not declare."}],"isError":true}}'
    expect([
      asked('{"elicitation":{}}', '2025-11-25', url),
      asked('{"elicitation":{"url":{}}}', '2025-06-18', url),
    ]).toEqual([refused, refused])
  })

  test('a declined question goes to the model, or is an error where there is none', () => {
    const { engine, open, call, say, answer, take } = setUp('{"elicitation":{}}')
    open()
    call()
    answer(required('"k":{"method":"elicitation/create"},"l":{"method":"elicitation/create"}'))
    take()
    engine.receive('{"jsonrpc":"2.0","id":"input-4","error":{"code":-1,"message":"Busy."}}')
    say('2', 'prompts/get', '{"name":"p"}')
    answer(required('"k":{"method":"sampling/createMessage"}'))
    expect(take()).toEqual([
      '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"input-5"}}',
      '{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text",' +
        '"text":"The client did not answer what the server needs: Busy."}],"isError":true}}',
      '{"jsonrpc":"2.0","id":2,"error":{"code":-32603,' +
        '"message":"The server needs sampling/createMessage of the client,' +
        ' which did not declare it."}}',
    ])
  })

  test('a lone state is waited for, but not without end', () => {
    const { open, call, answer, take, timers, asked, last } = setUp()
    open()
    call()
    for (let round = 1; round <= 10; round += 1) {
      answer('{"resultType":"input_required","requestState":"s"}')
      expect(timers.at(-1)?.ms).toBe(250)
      timers.at(-1)?.callback()
      expect([asked.length, last().request.params.get('requestState')]).toEqual([3 + round, '"s"'])
    }
    answer('{"resultType":"input_required","requestState":"s"}')
    expect(take()).toEqual([
      '{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text",' +
        '"text":"The server asked for input 10 times, which is the limit."}],"isError":true}}',
    ])
    expect(timers).toHaveLength(10)
  })
})

describe('news of a modern server outside of requests', () => {
  const acknowledge = (to: Asked): void =>
    to.exchange.tell(
      '{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged",' +
        '"params":{"notifications":{}}}',
    )
  const updated = (uri: string): string =>
    `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"${uri}",` +
    `"_meta":{"${metaKey.subscriptionId}":1}}}`
  const heard = (uri: string): string =>
    `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"${uri}"}}`

  test('one listen stream brings all news of the server, without its subscription', () => {
    const { open, notify, last, take, related, asked } = setUp()
    open('{"tools":{"listChanged":true},"prompts":{},"resources":{"listChanged":true}}')
    notify('notifications/initialized')
    expect([last().request.method, last().request.params.get('notifications')]).toEqual([
      'subscriptions/listen',
      '{"toolsListChanged":true,"resourcesListChanged":true}',
    ])
    acknowledge(last())
    last().exchange.tell(
      '{"jsonrpc":"2.0","method":"notifications/tools/list_changed",' +
        `"params":{"_meta":{"${metaKey.subscriptionId}":2}}}`,
    )
    last().exchange.tell(
      '{"jsonrpc":"2.0","method":"notifications/x","params":{"n":1.0,' +
        `"_meta":{"${metaKey.subscriptionId}":2,"y":1}}}`,
    )
    expect(take()).toEqual([
      '{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}',
      '{"jsonrpc":"2.0","method":"notifications/x","params":{"n":1.0,"_meta":{"y":1}}}',
    ])
    expect([related.at(-1), asked.length]).toEqual([undefined, 2])
  })

  test('the engine opens no stream when there is no news to have', () => {
    const { open, notify, asked } = setUp()
    open()
    notify('notifications/initialized')
    expect(asked).toHaveLength(1)
  })

  test('the old stream ends when one for another resource stands', () => {
    const { open, say, last, take, gone } = setUp()
    open('{"resources":{"subscribe":true}}')
    say('1', 'resources/subscribe', '{"uri":"a:/"}')
    const first = last()
    expect([first.request.params.get('notifications'), take()]).toEqual([
      '{"resourceSubscriptions":["a:/"]}',
      [],
    ])

    acknowledge(first)
    say('2', 'resources/subscribe', '{"uri":"b:/"}')
    const second = last()
    expect(second.request.params.get('notifications')).toBe(
      '{"resourceSubscriptions":["a:/","b:/"]}',
    )

    first.exchange.tell(updated('a:/'))
    expect([take(), gone]).toEqual([['{"jsonrpc":"2.0","id":1,"result":{}}', heard('a:/')], []])

    acknowledge(second)
    first.exchange.tell(updated('a:/'))
    second.exchange.tell(updated('b:/'))
    expect([take(), gone]).toEqual([
      ['{"jsonrpc":"2.0","id":2,"result":{}}', heard('b:/')],
      [first.exchange],
    ])

    say('3', 'resources/unsubscribe', '{"uri":"a:/"}')
    acknowledge(last())
    say('4', 'resources/unsubscribe', '{"uri":"b:/"}')
    expect(take()).toEqual([
      '{"jsonrpc":"2.0","id":3,"result":{}}',
      '{"jsonrpc":"2.0","id":4,"result":{}}',
    ])
    expect(gone).toHaveLength(3)
  })

  test('every subscription is answered, though streams stand in another order', () => {
    const { open, say, asked, take, gone } = setUp()
    open('{"resources":{"subscribe":true}}')
    for (const id of [1, 2, 3]) say(`${id}`, 'resources/subscribe', `{"uri":"r:/${id}"}`)
    acknowledge(asked[3] as Asked)
    expect(take()).toEqual([1, 2, 3].map((id) => `{"jsonrpc":"2.0","id":${id},"result":{}}`))
    expect(new Set(gone)).toEqual(new Set([asked[1]?.exchange, asked[2]?.exchange]))
  })

  test('news continues when the server refuses a new resource, which is reported', () => {
    const { open, say, last, take, fail, timers } = setUp()
    open('{"resources":{"subscribe":true}}')
    say('1', 'resources/subscribe', '{"uri":"a:/"}')
    const first = last()
    acknowledge(first)
    say('2', 'resources/subscribe', '{"uri":"bad"}')
    fail('{"code":-32602,"message":"No such resource."}')
    first.exchange.tell(updated('a:/'))
    say('3', 'resources/subscribe', '{"uri":"c:/"}')
    expect(last().request.params.get('notifications')).toBe(
      '{"resourceSubscriptions":["a:/","c:/"]}',
    )
    expect(take()).toEqual([
      '{"jsonrpc":"2.0","id":1,"result":{}}',
      '{"jsonrpc":"2.0","id":2,"error":{"code":-32602,"message":"No such resource."}}',
      heard('a:/'),
    ])
    expect(timers).toEqual([])
  })

  test('the stream is opened again, after a while, when it ends', () => {
    const { open, notify, last, timers, asked, answer } = setUp()
    open('{"tools":{"listChanged":true}}')
    notify('notifications/initialized')
    acknowledge(last())
    answer('{"resultType":"complete"}')
    expect(timers.map(({ ms }) => ms)).toEqual([1000])
    timers[0]?.callback()
    expect(asked.map(({ request }) => request.method)).toEqual([
      'server/discover',
      'subscriptions/listen',
      'subscriptions/listen',
    ])
  })

  test('the stream is not opened again where the server knows no such thing', () => {
    const { open, notify, fail, timers, say, take } = setUp()
    open('{"tools":{"listChanged":true}}')
    notify('notifications/initialized')
    fail('{"code":-32601,"message":"Method not found"}')
    expect(timers).toEqual([])
    say('1', 'resources/subscribe', '{"uri":"a:/"}')
    fail('{"code":-32601,"message":"Method not found"}')
    expect(take()).toEqual([
      '{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Method not found"}}',
    ])
  })

  test('subscriptions have a bounded number of resources, each with a name', () => {
    const { open, say, last, take } = setUp()
    open('{"resources":{"subscribe":true}}')
    say('"x"', 'resources/subscribe', '{}')
    for (let id = 0; id < 1001; id += 1) {
      say(`${id}`, 'resources/subscribe', `{"uri":"r:/${id}"}`)
      if (id < 1000) acknowledge(last())
    }
    const heardLast = take()
    expect([heardLast[0], heardLast.at(-1)]).toEqual([
      '{"jsonrpc":"2.0","id":"x","error":{"code":-32602,' +
        '"message":"Invalid params: uri is required."}}',
      '{"jsonrpc":"2.0","id":1000,"error":{"code":-32603,' +
        '"message":"The session is subscribed to 1000 resources, which is the limit."}}',
    ])
  })
})

describe('a legacy session in front of a modern server', () => {
  test('a session is refused to a client that says too much of itself', () => {
    const { asked, say, take } = setUp()
    const long = JSON.stringify({ name: 'x'.repeat(130 * 1024), version: '1' })
    say('0', 'initialize', `{"protocolVersion":"2025-11-25","clientInfo":${long}}`)

    expect(take()[0]).toMatch(/"code":-32602,.*where 131072 are the limit/)
    expect(asked).toEqual([])
  })

  test('a session does not keep URIs of any length', () => {
    const { asked, open, say, take } = setUp()
    open('{"resources":{"subscribe":true}}')
    const before = asked.length
    say('1', 'resources/subscribe', JSON.stringify({ uri: `r:/${'x'.repeat(130 * 1024)}` }))

    expect(take()[0]).toMatch(/longer than 131072 characters together, which is the limit/)
    expect(asked).toHaveLength(before)
  })

  test('a session forgets tools that a server keeps changing, and reads them again', () => {
    const { open, say, answer, last } = setUp()
    open()
    for (let round = 0; round < 5; round += 1) {
      say(String(round), 'tools/list')
      const tools = Array.from({ length: 2000 }, (_, n) => ({ name: `tool-${round}-${n}` }))
      answer(JSON.stringify({ tools, resultType: 'complete' }))
    }

    say('11', 'tools/call', '{"name":"tool-4-1999"}')
    expect(last().request.method).toBe('tools/call')
    say('12', 'tools/call', '{"name":"tool-0-0"}')
    expect(last().request.method).toBe('tools/list')
  })

  test('a session refuses messages with a repeated member, and keeps nothing of them', () => {
    const { engine, open, asked } = setUp()
    open()
    const before = asked.length
    for (const text of [
      '{"id":1,"id":2,"method":"ping"}',
      '{"id":1,"method":"tools/call","params":{"name":"a","name":"b"}}',
    ])
      expect(() => engine.receive(text)).toThrow('stands twice')
    expect(asked).toHaveLength(before)
  })

  test('a session reports the bytes of calls that wait for the list of tools', () => {
    const { engine, open, say, notify, answer, fail, last, asked, waiting } = setUp()
    open()
    const params = JSON.stringify({ name: 'work', arguments: { text: 'é'.repeat(1000) } })
    const size = 2000
    const ask = (id: string) => {
      say(id, 'tools/call', params)
      return last()
    }
    const [first, second] = [ask('1'), ask('2')]
    ask('3')
    expect(waiting.bytes).toBeGreaterThan(3 * size)

    fail('{"code":1,"message":"no"}', first)
    expect([waiting.bytes < 3 * size, waiting.bytes > 2 * size]).toEqual([true, true])
    notify('notifications/cancelled', '{"requestId":2}')
    expect([waiting.bytes < 2 * size, waiting.bytes > size]).toEqual([true, true])
    const before = asked.length
    answer('{"tools":[]}', second)
    expect(asked).toHaveLength(before)

    engine.close()
    expect(waiting.bytes).toBe(0)
  })

  test('a session ends everything when it ends', () => {
    const { engine, open, call, say, notify, answer, asked, gone, take, timers, last } =
      setUp('{"elicitation":{}}')
    open('{"tools":{"listChanged":true},"resources":{"subscribe":true}}')
    notify('notifications/initialized')
    const listening = last()
    const waiting = call('1')
    answer('{"resultType":"input_required","requestState":"s"}')
    const asking = call('2')
    answer('{"resultType":"input_required","inputRequests":{"k":{"method":"elicitation/create"}}}')
    const running = call('3')
    say('4', 'tools/call', '{"name":"unknown"}')
    const learning = last()
    say('5', 'initialize')
    const discovering = last()
    take()
    engine.close()
    const count = asked.length
    expect(gone).toEqual([waiting.exchange, asking.exchange, running.exchange, listening.exchange])
    for (const { callback } of timers) callback()
    for (const each of [listening, running, learning, discovering]) answer('{"tools":[]}', each)
    engine.receive('{"jsonrpc":"2.0","id":"input-5","result":{}}')
    say('6', 'ping')
    expect([take(), asked.length]).toEqual([[], count])
  })
})
