import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, test } from 'vitest'
import { classify, metaKey, type ModernRequest } from '../modern.ts'
import type { ConnectionListener } from './conversation.ts'
import type { Exchange } from './exchange.ts'
import { ModernToLegacy, type Holding, type ModernToLegacyOptions } from './modern-to-legacy.ts'

/** A legacy server that sends the messages of a test. */
class Upstream {
  readonly listener: ConnectionListener
  readonly principal: string
  readonly got: string[] = []
  closed = false
  leaving = false

  constructor(principal: string, listener: ConnectionListener) {
    this.principal = principal
    this.listener = listener
  }

  send(message: string): void {
    this.got.push(message)
  }

  close(): void {
    this.closed = true
  }

  /** Gives the messages since the last look. */
  take(): string[] {
    return this.got.splice(0)
  }

  say(message: string, via?: string): void {
    this.listener.receive(message, via)
  }

  open(capabilities = '{"tools":{"listChanged":true}}'): this {
    this.take()
    this.say(
      '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25",' +
        `"capabilities":${capabilities},"serverInfo":{"name":"old","version":"1"}}}`,
    )
    this.take()
    return this
  }
}

/** A client's exchange, with its messages in order. */
class Heard implements Exchange {
  readonly told: string[] = []
  readonly answers: { status: number; message: string }[] = []

  tell(message: string): void {
    this.told.push(message)
  }

  answer(status: number, message: string): void {
    this.answers.push({ status, message })
  }

  get answer1(): string | undefined {
    return this.answers[0]?.message
  }
}

/** The bytes that a parked call keeps. The room for them is limited. */
class Kept implements Holding {
  static room = 100_000_000
  held = 0
  end: (() => void) | undefined

  hold(bytes: number): unknown {
    if (bytes > Kept.room) return 'caller'
    this.held = bytes
    return undefined
  }

  spare(end: () => void): void {
    this.end = end
  }

  release(): void {
    this.held = 0
  }
}

function setUp(options: Partial<ModernToLegacyOptions> & { tellsVia?: boolean } = {}) {
  const upstreams: Upstream[] = []
  const kept: Kept[] = []
  const world = { now: 0, ids: 0, refuse: undefined as string | undefined }
  const engine = new ModernToLegacy(
    {
      connect: (principal, listener) => {
        if (world.refuse !== undefined) throw new Error(world.refuse)
        const upstream = new Upstream(principal, listener)
        upstreams.push(upstream)
        return upstream
      },
      tellsVia: options.tellsVia ?? true,
      now: () => world.now,
      newState: () => `state-${(world.ids += 1)}`,
      kept: () => {
        const holding = new Kept()
        kept.push(holding)
        return holding
      },
    },
    {
      parkMs: 1000,
      maxParkedPerPrincipal: 2,
      maxConnections: 2,
      idleMs: 5000,
      clientInfo: { name: 'gateway', version: '1' },
      ...options,
    },
  )
  const ask = (text: string, principal = 'ann'): Heard => {
    const heard = new Heard()
    engine.request(principal, modern(text), heard)
    return heard
  }
  const upstream = (index = 0): Upstream => upstreams[index] as Upstream
  return { engine, upstreams, upstream, world, ask, kept }
}

/**
 * A request as a modern client posts it: `text` is `{id, method, params}` with `CAPS` for the
 * envelope.
 */
function modern(text: string): ModernRequest {
  const { method, params } = JSON.parse(text) as { method: string; params: Record<string, unknown> }
  const name = params['name'] ?? params['uri']
  const classified = classify(text, {
    'mcp-protocol-version': '2026-07-28',
    'mcp-method': method,
    ...(typeof name === 'string' ? { 'mcp-name': name } : {}),
  })
  if (classified.era !== 'modern' || 'refusal' in classified || classified.request === undefined)
    throw new Error(JSON.stringify(classified))
  return classified.request
}

function envelope(capabilities = '{}', more = ''): string {
  return (
    `"_meta":{"${metaKey.protocolVersion}":"2026-07-28",` +
    `"${metaKey.clientCapabilities}":${capabilities}${more}}`
  )
}

function call(
  id: string,
  args = '{}',
  options: { capabilities?: string; meta?: string; more?: string; name?: string } = {},
): string {
  const { capabilities, meta, more = '', name = 'work' } = options
  return (
    `{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":{"name":"${name}",` +
    `"arguments":${args}${more},${envelope(capabilities, meta)}}}`
  )
}

function request(id: string, method: string, params = ''): string {
  return (
    `{"jsonrpc":"2.0","id":${id},"method":"${method}",` +
    `"params":{${params}${params === '' ? '' : ','}${envelope()}}}`
  )
}

const server = `"_meta":{"${metaKey.serverInfo}":{"name":"old","version":"1"}}`
const elicits = '{"elicitation":{"form":{},"url":{}}}'
const question =
  '{"jsonrpc":"2.0","id":0,"method":"elicitation/create","params":{"message":"Who?",' +
  '"requestedSchema":{"type":"object"}}}'

describe('a modern client of a legacy server', () => {
  test('a call gets a session, without the envelope, numbers and key order kept', () => {
    const { ask, upstream } = setUp()
    const heard = ask(call('"a"', '{"z":12345678901234567890,"a":1.0}'))
    expect(upstream().take()).toEqual([
      '{"jsonrpc":"2.0","id":1,"method":"initialize",' +
        '"params":{"protocolVersion":"2025-11-25","capabilities":{},' +
        '"clientInfo":{"name":"gateway","version":"1"}}}',
    ])

    upstream().say(
      '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{},' +
        '"serverInfo":{"name":"old","version":"1"}}}',
    )
    expect(upstream().take()).toEqual([
      '{"jsonrpc":"2.0","method":"notifications/initialized"}',
      '{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"work",' +
        '"arguments":{"z":12345678901234567890,"a":1.0}}}',
    ])

    upstream().say(
      '{"jsonrpc":"2.0","id":2,"result":{"content":[{"type":"text","text":"\\u0041"}],' +
        '"structuredContent":{"z":12345678901234567890,"a":1.0}}}',
    )
    expect(heard.answers).toEqual([
      {
        status: 200,
        message:
          '{"jsonrpc":"2.0","id":"a","result":{"content":[{"type":"text","text":"\\u0041"}],' +
          '"structuredContent":{"z":12345678901234567890,"a":1.0},"resultType":"complete",' +
          `${server}}}`,
      },
    ])
  })

  test('discovery says what the server said of itself, tasks left out', () => {
    const { ask, upstream } = setUp()
    const heard = ask(request('1', 'server/discover'))
    upstream().say(
      '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25",' +
        '"capabilities":{"tools":{},"tasks":{},"experimental":{"x":{}},"extensions":{"e":{}}},' +
        '"serverInfo":{"name":"old","version":"1"},"instructions":"Be kind."}}',
    )
    expect(heard.answer1).toBe(
      '{"jsonrpc":"2.0","id":1,"result":{"supportedVersions":["2026-07-28"],' +
        '"capabilities":{"tools":{},"experimental":{"x":{}},"extensions":{"e":{}}},' +
        '"instructions":"Be kind.","resultType":"complete","ttlMs":0,"cacheScope":"private",' +
        `${server}}}`,
    )
  })

  test.each([
    [
      'tools/list',
      '',
      '"tools":[{"name":"t","inputSchema":{},"execution":{"taskSupport":"required"}}],' +
        '"nextCursor":"c"',
      '"tools":[{"name":"t","inputSchema":{}}],"nextCursor":"c","resultType":"complete",' +
        '"ttlMs":0,"cacheScope":"private"',
    ],
    [
      'prompts/list',
      '"cursor":"c"',
      '"prompts":[]',
      '"prompts":[],"resultType":"complete","ttlMs":0,"cacheScope":"private"',
    ],
    [
      'resources/list',
      '',
      '"resources":[]',
      '"resources":[],"resultType":"complete","ttlMs":0,"cacheScope":"private"',
    ],
    [
      'resources/templates/list',
      '',
      '"resourceTemplates":[]',
      '"resourceTemplates":[],"resultType":"complete","ttlMs":0,"cacheScope":"private"',
    ],
    [
      'resources/read',
      '"uri":"x:/"',
      '"contents":[]',
      '"contents":[],"resultType":"complete","ttlMs":0,"cacheScope":"private"',
    ],
    ['prompts/get', '"name":"p"', '"messages":[]', '"messages":[],"resultType":"complete"'],
    [
      'completion/complete',
      '"ref":{}',
      '"completion":{"values":[]}',
      '"completion":{"values":[]},"resultType":"complete"',
    ],
    ['vendor/thing', '"a":1', '"b":2', '"b":2,"resultType":"complete"'],
  ])('the answer to %s gets the additions of its era', (method, params, legacy, result) => {
    const { ask, upstream } = setUp()
    const heard = ask(request('7', method, params))
    upstream().open()
    expect(upstream().got).toEqual([])
    const again = ask(request('8', method, params))
    expect(upstream().take()).toEqual([
      '{"jsonrpc":"2.0","id":3,' +
        `"method":"${method}"${params === '' ? '' : `,"params":{${params}}`}}`,
    ])
    upstream().say(`{"jsonrpc":"2.0","id":2,"result":{${legacy}}}`)
    upstream().say(`{"jsonrpc":"2.0","id":3,"result":{${legacy}}}`)
    expect(heard.answer1).toBe(`{"jsonrpc":"2.0","id":7,"result":{${result},${server}}}`)
    expect(again.answer1).toBe(`{"jsonrpc":"2.0","id":8,"result":{${result},${server}}}`)
  })

  test.each([
    [
      '{"code":-32002,"message":"none","data":{"uri":"x"}}',
      200,
      '{"code":-32602,"message":"none","data":{"uri":"x"}}',
    ],
    ['{"code":-32001,"message":"odd"}', 200, '{"code":-32603,"message":"odd"}'],
    ['{"code":-32601,"message":"no"}', 404, '{"code":-32601,"message":"no"}'],
    ['{"code":-32021,"message":"cap"}', 200, '{"code":-32603,"message":"cap"}'],
    ['{"code":-32042,"message":"no list"}', 200, '{"code":-32603,"message":"no list"}'],
    ['{"code":7,"message":"own"}', 200, '{"code":7,"message":"own"}'],
    ['{"code":"x"}', 200, '{"code":-32603,"message":"The server gave no reason."}'],
  ])('the error %s with status %i becomes %s', (legacy, status, error) => {
    const { ask, upstream } = setUp()
    const heard = ask(request('7', 'resources/read', '"uri":"x:/"'))
    upstream().open().say(`{"jsonrpc":"2.0","id":2,"error":${legacy}}`)
    expect(heard.answers).toEqual([
      { status, message: `{"jsonrpc":"2.0","id":7,"error":${error}}` },
    ])
  })

  test.each([
    '{"jsonrpc":"2.0","id":2}',
    '{"jsonrpc":"2.0","id":2,"result":5}',
    '{"jsonrpc":"2.0","id":2,"error":"boom"}',
  ])('the malformed answer %s is one error', (answer) => {
    const { ask, upstream } = setUp()
    const heard = ask(call('1'))
    upstream().open().say(answer)
    expect(heard.answers).toEqual([
      {
        status: 502,
        message:
          '{"jsonrpc":"2.0","id":1,"error":{"code":-32603,' +
          '"message":"The answer of the server is malformed."}}',
      },
    ])
  })

  test('an error that names no request goes to the only one it can be about', () => {
    const { ask, upstream } = setUp()
    const first = ask(call('1'))
    upstream().open()
    const second = ask(call('2'))
    const error = '{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"What?"}}'
    upstream().say(error)
    expect([first.answers, second.answers]).toEqual([[], []])
    upstream().say(error, '3')
    expect(second.answers).toEqual([
      {
        status: 400,
        message: '{"jsonrpc":"2.0","id":2,"error":{"code":-32700,"message":"What?"}}',
      },
    ])
    upstream().say(error)
    expect(first.answers).toEqual([
      {
        status: 400,
        message: '{"jsonrpc":"2.0","id":1,"error":{"code":-32700,"message":"What?"}}',
      },
    ])
  })

  test('an answer in which a member stands twice is an answer', () => {
    const { ask, upstream, engine } = setUp()
    const heard = ask(call('1'))
    upstream().open().say('{"jsonrpc":"2.0","id":2,"result":{"content":[],"_meta":{"a":1,"a":2}}}')
    expect(heard.answer1).toBe(
      '{"jsonrpc":"2.0","id":1,"result":{"content":[],"_meta":{"a":2,' +
        `"${metaKey.serverInfo}":{"name":"old","version":"1"}},"resultType":"complete"}}`,
    )
    expect(engine.open).toBe(0)
  })

  test.each([
    'initialize',
    'ping',
    'logging/setLevel',
    'resources/subscribe',
    'resources/unsubscribe',
    'tasks/get',
    'tasks/list',
  ])('the removed method %s does not exist', (method) => {
    const { ask, upstreams } = setUp()
    expect(ask(request('1', method)).answers).toEqual([
      {
        status: 404,
        message:
          '{"jsonrpc":"2.0","id":1,"error":{"code":-32601,' +
          `"message":"Method not found: ${method}"}}`,
      },
    ])
    expect(upstreams).toEqual([])
  })

  test('the server learns the client’s abilities: roots without changes, no tasks', () => {
    const { ask, upstream } = setUp()
    ask(
      call('1', '{}', {
        capabilities:
          '{"roots":{"listChanged":true},"sampling":{"tools":{}},"elicitation":{"form":{}},' +
          '"tasks":{},"other":{},"experimental":{"e":{}},' +
          '"extensions":{"io.modelcontextprotocol/tasks":{},"x":{}}}',
      }),
    )
    expect(upstream().got[0]).toContain(
      '"capabilities":{"elicitation":{"form":{}},"sampling":{"tools":{}},' +
        '"experimental":{"e":{}},"roots":{},"extensions":{"x":{}}}',
    )
  })

  test('a caller’s clients with equal capabilities share a session, in any order', () => {
    const { ask, upstreams } = setUp()
    ask(call('1', '{}', { capabilities: '{"sampling":{},"elicitation":{"form":{},"url":{}}}' }))
    ask(call('2', '{}', { capabilities: '{"elicitation":{"url":{},"form":{}},"sampling":{}}' }))
    expect(upstreams).toHaveLength(1)
    ask(call('3', '{}', { capabilities: '{"sampling":{}}' }))
    ask(call('1', '{}', { capabilities: '{"sampling":{}}' }), 'bob')
    expect(upstreams.map(({ principal }) => principal)).toEqual(['ann', 'ann', 'bob'])
  })

  test('a question becomes input_required, and the retry answers the server', () => {
    const { ask, upstream, engine } = setUp()
    const first = ask(call('1', '{"b":1,"a":2}', { capabilities: elicits }))
    upstream().open().say(question, '2')
    expect(first.answer1).toBe(
      '{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required",' +
        '"inputRequests":{"input-1":{"method":"elicitation/create","params":{"message":"Who?",' +
        '"requestedSchema":{"type":"object"},"mode":"form"}}},"requestState":"state-1",' +
        `${server}}}`,
    )
    expect(engine.parked).toBe(1)
    const retry = ask(
      call('2', '{"a":2,"b":1}', {
        capabilities: elicits,
        more:
          ',"requestState":"state-1","inputResponses":{"input-1":{"action":"accept",' +
          '"content":{"n":12345678901234567890}},"input-9":{}}',
      }),
    )
    expect(upstream().take()).toEqual([
      '{"jsonrpc":"2.0","id":0,"result":{"action":"accept","content":{"n":12345678901234567890}}}',
    ])
    upstream().say('{"jsonrpc":"2.0","id":2,"result":{"content":[]}}')
    expect(retry.answer1).toBe(
      `{"jsonrpc":"2.0","id":2,"result":{"content":[],"resultType":"complete",${server}}}`,
    )
    expect([engine.parked, engine.open]).toEqual([0, 0])
  })

  test.each([
    ['elicitation/create', '{"action":"perhaps"}'],
    ['sampling/createMessage', '{"role":"assistant","content":{}}'],
    ['roots/list', '{"roots":{}}'],
    ['roots/list', 'null'],
  ])('a client is asked %s again when it answers %s', (method, answer) => {
    const { ask, upstream } = setUp()
    const capabilities = '{"elicitation":{},"sampling":{},"roots":{}}'
    ask(call('1', '{}', { capabilities }))
    upstream().open().say(`{"jsonrpc":"2.0","id":"q","method":"${method}"}`, '2')
    const retry = ask(
      call('2', '{}', {
        capabilities,
        more: `,"requestState":"state-1","inputResponses":{"input-1":${answer}}`,
      }),
    )
    expect(upstream().take()).toEqual([])
    expect(retry.answer1).toContain(`"requestState":"state-2"`)
    expect(retry.answer1).toContain(`"inputRequests":{"input-1":{"method":"${method}"`)
  })

  test('every unusable state gets the same error: unknown, expired, used or foreign', () => {
    const { ask, upstream, world, engine } = setUp()
    const capabilities = elicits
    const retry = (state: string, id = '9'): string =>
      call(id, '{}', {
        capabilities,
        more: `,"requestState":${state},"inputResponses":{"input-1":{"action":"cancel"}}`,
      })
    ask(call('1', '{}', { capabilities }))
    upstream().open().say(question, '2')
    const heard = [
      ask(retry('"nobody"')),
      ask(retry('{"no":"string"}')),
      ask(retry('"state-1"'), 'bob'),
      ask(retry('"state-1"').replace('"arguments":{}', '"arguments":{"a":1}')),
    ]
    expect(upstream().take()).toEqual([])

    ask(retry('"state-1"'))
    upstream().say('{"jsonrpc":"2.0","id":2,"result":{"content":[]}}')
    heard.push(ask(retry('"state-1"')))
    ask(call('2', '{}', { capabilities }))
    upstream().say(question, '3')
    world.now = 2000
    engine.tick()
    expect(upstream().got.slice(-2)).toEqual([
      '{"jsonrpc":"2.0","id":0,"error":{"code":-32603,"message":"The client did not come back."}}',
      '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3,' +
        '"reason":"The client did not come back."}}',
    ])

    heard.push(ask(retry('"state-2"')))
    expect(new Set(heard.map(({ answers }) => JSON.stringify(answers)))).toEqual(
      new Set([
        JSON.stringify([
          {
            status: 200,
            message:
              '{"jsonrpc":"2.0","id":9,"error":{"code":-32602,' +
              '"message":"requestState is unknown or has expired. Send the request again ' +
              'without it."}}',
          },
        ]),
      ]),
    )
  })

  test('an answer that came while the client was away is given once', () => {
    const { ask, upstream } = setUp()
    ask(call('1', '{}', { capabilities: elicits }))
    upstream().open().say(question, '2')
    upstream().say('{"jsonrpc":"2.0","id":2,"result":{"content":[]}}')
    const retry = call('2', '{}', { capabilities: elicits, more: ',"requestState":"state-1"' })
    expect(ask(retry).answer1).toBe(
      `{"jsonrpc":"2.0","id":2,"result":{"content":[],"resultType":"complete",${server}}}`,
    )
    expect(ask(retry).answer1).toContain('-32602')
  })

  test('a call is refused when too many of its caller wait, and the server learns it', () => {
    const { ask, upstream, engine } = setUp()
    const heard = ['1', '2', '3'].map((id) => ask(call(id, '{}', { capabilities: elicits })))
    upstream().open()
    for (const via of ['2', '3', '4']) upstream().say(question, via)
    expect(heard[2]?.answers).toEqual([
      {
        status: 429,
        message:
          '{"jsonrpc":"2.0","id":3,"error":{"code":-32603,' +
          '"message":"2 calls of this caller wait for its input, which is the limit."}}',
      },
    ])
    expect(upstream().take()).toEqual([
      '{"jsonrpc":"2.0","id":0,"error":{"code":-32603,' +
        '"message":"2 calls of this caller wait for its input, which is the limit."}}',
      '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":4,' +
        '"reason":"2 calls of this caller wait for its input, which is the limit."}}',
    ])
    expect(engine.open).toBe(0)
  })

  test.each([
    ['arguments', 'a', ''],
    ['questions', '', 'q'],
  ])('a call is refused when the waiting ones have too long %s', (_what, text, asked) => {
    const { ask, upstream } = setUp({ maxParkedPerPrincipal: 100 })
    const long = 6 * 1024 * 1024
    const args = JSON.stringify({ text: text.repeat(long) })
    const heard = ['1', '2', '3'].map((id) => ask(call(id, args, { capabilities: elicits })))
    upstream().open()
    const longer = question.replace('"message":"', `"message":"${asked.repeat(long)}`)
    for (const via of ['2', '3', '4']) upstream().say(longer, via)

    expect(heard.map(({ answers }) => answers[0]?.status)).toEqual([200, 200, 429])
    expect(heard[2]?.answer1).toMatch(/longer than 16777216 characters, which is the limit/)
  })

  test('a waiting call keeps a share of memory, and is given up for others', () => {
    const { ask, upstream, kept, engine } = setUp()
    ask(call('1', '{"text":"long"}', { capabilities: elicits }))
    upstream().open().say(question, '2')
    expect(kept.map(({ held }) => held > 20)).toEqual([true])

    kept[0]?.end?.()
    expect([engine.parked, kept[0]?.held]).toEqual([0, 0])
    ask(call('2', '{}', { capabilities: elicits }))
    upstream().say(question, '3')
    engine.close('The end.')
    expect(kept.map(({ held }) => held)).toEqual([0, 0])
  })

  test('a client learns of an answer for which there was no room', () => {
    const { ask, upstream } = setUp()
    ask(call('1', '{}', { capabilities: elicits }))
    upstream().open().say(question, '2')
    const text = 'x'.repeat(17 * 1024 * 1024)
    upstream().say(`{"jsonrpc":"2.0","id":2,"result":{"content":[],"text":"${text}"}}`)

    const retry = call('2', '{}', { capabilities: elicits, more: ',"requestState":"state-1"' })
    expect(ask(retry).answer1).toMatch(/has answered, but there was no room to keep the answer/)
  })

  test('a client that says too much of its capabilities is refused', () => {
    const { ask, upstreams } = setUp()
    const capabilities = `{"experimental":{"x":{"text":"${'x'.repeat(130 * 1024)}"}}}`

    expect(ask(call('1', '{}', { capabilities })).answer1).toMatch(/131072 are the limit/)
    expect(upstreams).toEqual([])
  })

  test('a server that asks without end does not keep its client', () => {
    const { ask, upstream } = setUp()
    ask(call('1', '{}', { capabilities: elicits }))
    upstream().open()
    for (let id = 0; id < 101; id += 1)
      upstream().say(question.replace('"id":0', `"id":${id}`), '2')
    expect(upstream().take()).toEqual([
      '{"jsonrpc":"2.0","id":100,"error":{"code":-32603,' +
        '"message":"100 questions of this call are open, which is the limit."}}',
    ])
  })

  test('a caller has a bounded number of sets of capabilities at a time', () => {
    const { ask, upstreams, upstream } = setUp()
    const one = (index: number): Heard =>
      ask(call('1', '{}', { capabilities: `{"experimental":{"e${index}":{}}}` }))
    for (let index = 0; index < 16; index += 1) one(index)
    expect(one(16).answers).toEqual([
      {
        status: 429,
        message:
          '{"jsonrpc":"2.0","id":1,"error":{"code":-32603,' +
          '"message":"16 sets of client capabilities of this caller are in use,' +
          ' which is the limit."}}',
      },
    ])
    upstream(3).open().say('{"jsonrpc":"2.0","id":2,"result":{"content":[]}}')
    expect(one(16).answers).toEqual([])
    expect(upstreams).toHaveLength(17)
    expect(upstreams.map(({ closed }) => closed).indexOf(true)).toBe(3)
  })

  test('a page to visit goes to the client, and its retry is a new call', () => {
    const { ask, upstream, engine } = setUp()
    const heard = ask(call('1', '{}', { capabilities: elicits }))
    upstream()
      .open()
      .say(
        '{"jsonrpc":"2.0","id":2,"error":{"code":-32042,"message":"Visit.",' +
          '"data":{"elicitations":[{"mode":"url","elicitationId":"e","url":"https://a.test/",' +
          '"message":"Log in"}]}}}',
      )
    expect(heard.answer1).toBe(
      '{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required",' +
        '"inputRequests":{"input-1":{"method":"elicitation/create","params":{"mode":"url",' +
        '"url":"https://a.test/","message":"Log in"}}}}}',
    )
    expect(engine.parked).toBe(0)
    ask(
      call('2', '{}', {
        capabilities: elicits,
        more: ',"inputResponses":{"input-1":{"action":"accept"}}',
      }),
    )
    expect(upstream().take()).toEqual([
      '{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"work","arguments":{}}}',
    ])
  })

  test('progress comes under the token of the call, and under no other', () => {
    const { ask, upstream } = setUp()
    const [a, b] = ['1', '2'].map((id) =>
      ask(call(id, '{}', { meta: ',"progressToken":"same","traceparent":"t"' })),
    ) as [Heard, Heard]
    upstream().open()
    const c = ask(call('3', '{}', { meta: ',"progressToken":"same","traceparent":"t"' }))
    expect(upstream().take()).toEqual([
      '{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"work","arguments":{},' +
        '"_meta":{"progressToken":4,"traceparent":"t"}}}',
    ])
    upstream().say(
      '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":3,' +
        '"progress":0.10,"total":1}}',
    )
    for (const token of ['"same"', '9', 'null'])
      upstream().say(
        `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":${token}}}`,
      )
    expect([a.told, b.told, c.told]).toEqual([
      [],
      [
        '{"jsonrpc":"2.0","method":"notifications/progress",' +
          '"params":{"progressToken":"same","progress":0.10,"total":1}}',
      ],
      [],
    ])
  })

  test('a client hears logs at its level and above, and none unasked', () => {
    const { ask, upstream } = setUp()
    const level = (name: string): string => `,"${metaKey.logLevel}":"${name}"`
    const warned = ask(call('1', '{}', { meta: level('warning') }))
    upstream().open('{"logging":{}}')
    expect(upstream().got).toEqual([])

    upstream().say('{"jsonrpc":"2.0","id":2,"result":{}}')
    const quiet = ask(call('2'))
    const debugged = ask(call('3', '{}', { meta: level('debug') }))
    const errors = ask(call('4', '{}', { meta: level('error') }))
    expect(upstream().take()).toEqual([
      '{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"work","arguments":{}}}',
      '{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"work","arguments":{}}}',
      '{"jsonrpc":"2.0","id":5,"method":"logging/setLevel","params":{"level":"debug"}}',
      '{"jsonrpc":"2.0","id":6,"method":"tools/call","params":{"name":"work","arguments":{}}}',
    ])

    upstream().say('{"jsonrpc":"2.0","id":5,"error":{"code":-32601,"message":"no"}}')
    expect(upstream().take()).toEqual([
      '{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"work","arguments":{}}}',
    ])

    for (const via of ['3', '4', '6', '7'])
      upstream().say(
        '{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"warning","data":1}}',
        via,
      )
    const message =
      '{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"warning","data":1}}'
    expect([warned.told, quiet.told, debugged.told, errors.told]).toEqual([
      [message],
      [],
      [message],
      [],
    ])
  })

  test.each([
    ['where the transport does not say whose they are', false],
    ['on the stream of the server, beside the calls', true],
  ])('a client hears each log message once in one of its calls: %s', (_where, tellsVia) => {
    const { ask, upstream } = setUp({ tellsVia })
    const level = (name: string): string => `,"${metaKey.logLevel}":"${name}"`
    const older = ask(call('1', '{}', { meta: level('info') }))
    upstream().open('{"logging":{}}')
    upstream().say('{"jsonrpc":"2.0","id":2,"result":{}}')
    const newer = ask(call('2', '{}', { meta: level('warning') }))
    const quiet = ask(call('3'))
    const other = ask(call('4', '{}', { meta: level('debug') }), 'bob')
    const message = (name: string): string =>
      `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"${name}","data":1.0}}`
    for (const name of ['debug', 'info', 'error']) upstream().say(message(name))
    expect([older.told, newer.told, quiet.told, other.told]).toEqual([
      [message('info')],
      [message('error')],
      [],
      [],
    ])
  })

  test('a client hears news of the other stream before the answer', () => {
    const { ask, upstream, engine } = setUp()
    const waiting: (() => void)[] = []
    const level = `,"${metaKey.logLevel}":"info"`
    const heard = ask(call('1', '{}', { meta: level }))
    Object.assign(upstream(), { afterOthers: (read: () => void) => waiting.push(read) })
    upstream().open('{"logging":{}}')
    upstream().say('{"jsonrpc":"2.0","id":2,"result":{}}')
    const answer = (id: number): string => `{"jsonrpc":"2.0","id":${id},"result":{"content":[]}}`
    const message =
      '{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1.0}}'
    upstream().say(answer(3), '3')
    upstream().say(message)
    expect([heard.told, heard.answers]).toEqual([[message], []])

    for (const read of waiting.splice(0)) read()
    expect(heard.answers).toHaveLength(1)

    // A client that asks for no log messages does not wait. A client that has gone does not wait
    // either.
    const quiet = ask(call('2'))
    upstream().say(answer(4), '4')
    expect([quiet.answers.length, waiting.length]).toEqual([1, 0])

    const gone = ask(call('3', '{}', { meta: level }))
    upstream().say(answer(5), '5')
    engine.gone(gone)
    for (const read of waiting.splice(0)) read()
    expect(gone.answers).toEqual([])

    // A waiting answer reaches its client although the connection is lost.
    const last = ask(call('4', '{}', { meta: level }))
    upstream().say(answer(6), '6')
    upstream().listener.lost('It broke.')
    expect(last.answers[0]?.message).toContain('"content":[]')
  })

  test('a call does not wait at a server whose log messages come with it', () => {
    const { ask, upstream } = setUp()
    const waiting: (() => void)[] = []
    const meta = `,"${metaKey.logLevel}":"info"`
    const heard = ask(call('1', '{}', { meta }))
    Object.assign(upstream(), { afterOthers: (read: () => void) => waiting.push(read) })
    upstream().open('{"logging":{}}')
    upstream().say('{"jsonrpc":"2.0","id":2,"result":{}}')
    const message =
      '{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1.0}}'
    upstream().say(message, '3')
    upstream().say('{"jsonrpc":"2.0","id":3,"result":{"content":[]}}', '3')
    expect([heard.told, heard.answers.length, waiting.length]).toEqual([[message], 1, 0])
  })

  test('a client that leaves cancels its call, and hears nothing later', () => {
    const { ask, upstream, engine } = setUp()
    const heard = ask(call('1'))
    upstream().open()
    engine.gone(heard)
    expect(upstream().take()).toEqual([
      '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2,' +
        '"reason":"The client has gone."}}',
    ])
    upstream().say('{"jsonrpc":"2.0","id":2,"result":{"content":[]}}')
    engine.gone(heard)
    expect([heard.answers, upstream().take(), engine.open]).toEqual([[], [], 0])
  })

  test('a call whose client leaves before the session opens is not sent', () => {
    const { ask, upstream, engine } = setUp()
    engine.gone(ask(call('1')))
    upstream().say('{"jsonrpc":"2.0","id":1,"result":{"capabilities":{}}}')
    expect(upstream().got.map((text) => (JSON.parse(text) as { method: string }).method)).toEqual([
      'initialize',
      'notifications/initialized',
    ])
  })

  test('a call that must be a task is driven to its end', () => {
    const { ask, upstream, engine } = setUp()
    const options = { capabilities: elicits, meta: ',"progressToken":"p"' }
    const heard = ask(call('1', '{}', options))
    upstream().open('{"tools":{},"tasks":{"requests":{"tools":{"call":{}}}}}')
    // The list says which tools require a task.
    upstream().say('{"jsonrpc":"2.0","id":2,"result":{"tools":[],"nextCursor":"c"}}')
    expect(upstream().take()).toEqual([
      '{"jsonrpc":"2.0","id":3,"method":"tools/list","params":{"cursor":"c"}}',
    ])

    upstream().say(
      '{"jsonrpc":"2.0","id":3,"result":{"tools":[{"name":"work",' +
        '"execution":{"taskSupport":"required"}}]}}',
    )
    expect(upstream().take()).toEqual([
      '{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"work","arguments":{},' +
        '"task":{"ttl":3600000},"_meta":{"progressToken":4}}}',
    ])

    upstream().say(
      '{"jsonrpc":"2.0","id":4,"result":{"task":{"taskId":"t\\u0031","status":"working"}}}',
    )
    expect(upstream().take()).toEqual([
      '{"jsonrpc":"2.0","id":5,"method":"tasks/result","params":{"taskId":"t\\u0031"}}',
    ])

    upstream().say(
      '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":4,' +
        '"progress":1}}',
    )
    expect(heard.told).toEqual([
      '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p",' +
        '"progress":1}}',
    ])

    upstream().say(question, '5')
    expect(heard.answer1).toContain('"requestState":"state-1"')

    const retry = ask(
      call('2', '{}', {
        ...options,
        more: ',"requestState":"state-1","inputResponses":{"input-1":{"action":"decline"}}',
      }),
    )
    expect(upstream().take()).toEqual(['{"jsonrpc":"2.0","id":0,"result":{"action":"decline"}}'])

    upstream().say('{"jsonrpc":"2.0","id":5,"result":{"content":[]}}')
    expect(retry.answer1).toBe(
      `{"jsonrpc":"2.0","id":2,"result":{"content":[],"resultType":"complete",${server}}}`,
    )

    const other = ask(call('3'.repeat(1), '{}', options))
    upstream().say('{"jsonrpc":"2.0","id":6,"result":{"task":{"taskId":"u"}}}')
    upstream().take()
    engine.gone(other)
    expect(upstream().take()).toEqual([
      '{"jsonrpc":"2.0","id":8,"method":"tasks/cancel","params":{"taskId":"u"}}',
    ])
    expect(engine.open).toBe(0)
  })

  test('the engine refuses questions outside of calls, and answers a ping', () => {
    const { ask, upstream } = setUp()
    ask(call('1', '{}', { capabilities: '{"roots":{}}' }))
    upstream().open()
    upstream().say('{"jsonrpc":"2.0","id":"r","method":"roots/list"}')
    upstream().say(question, '2')
    upstream().say('{"jsonrpc":"2.0","id":"p","method":"ping"}')
    // If the transport does not link a question to a call, the engine asks the only open call.
    expect(upstream().take()).toEqual([
      '{"jsonrpc":"2.0","id":0,"error":{"code":-32601,' +
        '"message":"The client does not offer elicitation/create."}}',
      '{"jsonrpc":"2.0","id":"p","result":{}}',
    ])
    upstream().say('{"jsonrpc":"2.0","id":"r","method":"roots/list"}', '99')
    expect(upstream().take()).toEqual([
      '{"jsonrpc":"2.0","id":"r","error":{"code":-32601,' +
        '"message":"No call of a client is open that this could belong to,' +
        ' and the client can be asked within a call only."}}',
    ])
  })

  test('a call whose headers and arguments differ is refused', () => {
    const { ask, upstream, engine } = setUp()
    ask(request('1', 'tools/list'))
    upstream()
      .open()
      .say(
        '{"jsonrpc":"2.0","id":2,"result":{"tools":[{"name":"work",' +
          '"inputSchema":{"properties":{"r":{"type":"string","x-mcp-header":"Region"}}}}]}}',
      )
    const heard = new Heard()
    let asked: unknown
    const differing = {
      ...modern(call('2', '{"r":"eu"}')),
      paramHeaderMistake: (declared: unknown) => ((asked = declared), 'they differ.'),
    }
    engine.request('ann', differing, heard)
    expect(asked).toEqual([{ header: 'mcp-param-region', path: ['r'] }])
    expect(heard.answers).toEqual([
      {
        status: 400,
        message:
          '{"jsonrpc":"2.0","id":2,"error":{"code":-32020,"message":"Bad Request: they differ."}}',
      },
    ])
    expect(upstream().take()).toEqual([])
  })
})

describe('a listen stream over a legacy server', () => {
  const listen = (id: string, filter: string): string =>
    request(id, 'subscriptions/listen', `"notifications":{${filter}}`)
  const both = '{"tools":{"listChanged":true},"resources":{"subscribe":true}}'

  test('a listen stream begins with what is honoured of its filter', () => {
    const { ask, upstream } = setUp()
    const heard = ask(
      listen(
        '"l"',
        '"toolsListChanged":true,"promptsListChanged":true,"resourceSubscriptions":["a:/",' +
          '"a:/","b:/"]',
      ),
    )
    upstream().open(both)
    expect(heard.told).toEqual([])

    upstream().say('{"jsonrpc":"2.0","id":2,"result":{}}')
    upstream().say('{"jsonrpc":"2.0","id":3,"error":{"code":-32002,"message":"no"}}')
    upstream().say('{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}')
    upstream().say('{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}')
    upstream().say(
      '{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:/",' +
        '"_meta":{"x":1}}}',
    )
    upstream().say(
      '{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"b:/"}}',
    )
    const id = `"${metaKey.subscriptionId}":"l"`
    expect(heard.told).toEqual([
      '{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged",' +
        '"params":{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["a:/"]},' +
        `"_meta":{${id}}}}`,
      `{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{${id}}}}`,
      '{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:/",' +
        `"_meta":{"x":1,${id}}}}`,
    ])
  })

  test('a listen stream subscribes once for all, and unsubscribes with the last', () => {
    const { ask, upstream, engine } = setUp()
    const filter = '"resourceSubscriptions":["a:/"]'
    const first = ask(listen('1', filter))
    upstream().open(both)
    const second = ask(listen('2', filter))
    // The server has not agreed yet.
    expect([first.told, second.told]).toEqual([[], []])
    upstream().say('{"jsonrpc":"2.0","id":2,"result":{}}')
    expect([first.told.length, second.told.length]).toEqual([1, 1])
    engine.gone(first)
    expect(upstream().take()).toEqual([])
    engine.gone(second)
    expect(upstream().take()).toEqual([
      '{"jsonrpc":"2.0","id":3,"method":"resources/unsubscribe","params":{"uri":"a:/"}}',
    ])
    expect(engine.open).toBe(0)
  })

  test('a listen stream does not confirm a resource that the server refuses', () => {
    const { ask, upstream } = setUp()
    ask(listen('1', '"resourceSubscriptions":["a:/"]'))
    upstream().open(both)
    const second = ask(listen('2', '"resourceSubscriptions":["a:/"],"toolsListChanged":true'))
    upstream().say('{"jsonrpc":"2.0","id":2,"error":{"code":-32602,"message":"no"}}')
    expect(second.told[0]).toContain('"params":{"notifications":{"toolsListChanged":true},')
  })

  test.each([
    ['is honoured when the server subscribes though it says that it does not', '"result":{}', true],
    [
      'is not honoured when the server refuses',
      '"error":{"code":-32601,"message":"Method not found"}',
      false,
    ],
  ])('a listen stream that names resources %s', (_what, said, honoured) => {
    const { ask, upstream } = setUp()
    const heard = ask(listen('1', '"resourceSubscriptions":["a:/"],"toolsListChanged":true'))
    upstream().open('{"tools":{"listChanged":true},"resources":{"subscribe":false}}')
    upstream().say(`{"jsonrpc":"2.0","id":2,${said}}`)
    expect(heard.told[0]?.includes('"resourceSubscriptions":["a:/"]')).toBe(honoured)
    upstream().say(
      '{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:/"}}',
    )
    expect(heard.told.length).toBe(honoured ? 2 : 1)
  })

  test('a listen stream asks a server without resources for no subscription', () => {
    const { ask, upstream } = setUp()
    const heard = ask(listen('1', '"resourceSubscriptions":["a:/"]'))
    upstream().open('{"tools":{}}')
    expect(heard.answers).toHaveLength(1)
  })

  test('a listen stream ends with a result, or the reason if it had not begun', () => {
    const { ask, upstream, engine } = setUp()
    const begun = ask(listen('1', '"toolsListChanged":true'))
    upstream().open(both)
    const waiting = ask(listen('2', '"resourceSubscriptions":["a:/"]'))
    const early = ask(listen('3', '"toolsListChanged":true'), 'bob')
    upstream().listener.lost('It broke.')
    upstream(1).listener.lost('It broke.')
    expect(begun.answers).toEqual([
      {
        status: 200,
        message:
          '{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete",' +
          `"_meta":{"${metaKey.subscriptionId}":1,"${metaKey.serverInfo}":{"name":"old",` +
          '"version":"1"}}}}',
      },
    ])
    const reason = (id: number) => [
      {
        status: 502,
        message: `{"jsonrpc":"2.0","id":${id},"error":{"code":-32603,"message":"It broke."}}`,
      },
    ]
    expect([waiting.answers, early.answers]).toEqual([reason(2), reason(3)])
    expect(engine.open).toBe(0)
  })

  test('a listen stream ends at once when nothing of its filter is honoured', () => {
    const { ask, upstream, engine } = setUp()
    const heard = ask(listen('1', '"promptsListChanged":true'))
    upstream().open(both)
    expect(heard.answers).toHaveLength(1)
    expect(engine.open).toBe(0)
  })

  test('a listen stream ends when the server goes away, and leaves nothing behind', () => {
    const { ask, upstream, engine } = setUp()
    const heard = ask(listen('1', '"resourceSubscriptions":["a:/"]'))
    upstream().open(both).say('{"jsonrpc":"2.0","id":2,"result":{}}')
    const early = ask(listen('2', '"toolsListChanged":true'), 'bob')
    engine.endListeners()
    expect(heard.answers[0]?.message).toContain('"resultType":"complete"')
    expect(early.answers[0]?.status).toBe(502)
    expect(upstream().take()).toEqual([
      '{"jsonrpc":"2.0","id":3,"method":"resources/unsubscribe","params":{"uri":"a:/"}}',
    ])
    expect(engine.open).toBe(0)
  })

  test('a listen stream names a bounded number of resources', () => {
    const { ask } = setUp()
    const uris = JSON.stringify(Array.from({ length: 1001 }, (_, index) => `x:/${index}`))
    expect(ask(listen('1', `"resourceSubscriptions":${uris}`)).answer1).toBe(
      '{"jsonrpc":"2.0","id":1,"error":{"code":-32602,' +
        '"message":"Invalid params: resourceSubscriptions names 1001 resources,' +
        ' where 1000 are the limit."}}',
    )
  })

  describe('a client that leaves', () => {
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void

    const tasks = '{"tools":{},"tasks":{"requests":{"tools":{"call":{}}}}}'
    const log = `,"${metaKey.logLevel}":"info"`
    const uris = listen('1', '"resourceSubscriptions":["a:/"]')

    test.each([
      ['initialize, for a call', undefined, call('1'), 'initialize'],
      ['initialize, for a stream', undefined, uris, 'initialize'],
      ['tools/list', tasks, call('1'), 'tools/list'],
      ['logging/setLevel', '{"logging":{}}', call('1', '{}', { meta: log }), 'logging/setLevel'],
      ['a call', '{}', call('1'), 'tools/call'],
      ['resources/subscribe', '{"resources":{}}', uris, 'resources/subscribe'],
    ])(
      'a client that leaves a server that never answers %s leaves nothing behind',
      async (_what, capabilities, text, last) => {
        const { ask, upstream, upstreams, engine } = setUp()
        const left: WeakRef<Heard>[] = []

        const leave = (): void => {
          const heard = ask(text)
          if (capabilities !== undefined && left.length === 0)
            upstream().say(
              '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25",' +
                `"capabilities":${capabilities}}}`,
            )
          engine.gone(heard)
          left.push(new WeakRef(heard))
        }
        leave()
        leave()

        // A weak reference holds its target until the current job ends.
        await new Promise((resolve) => setImmediate(resolve))
        collect()
        expect(upstreams[0]?.got.join('\n')).toContain(`"method":"${last}"`)
        expect(left.map((each) => each.deref())).toEqual([undefined, undefined])
        expect(engine.open).toBe(0)
      },
    )

    test('a client that leaves before its subscription is agreed withdraws for itself alone', () => {
      const { ask, upstream, engine } = setUp()
      const first = ask(listen('1', '"resourceSubscriptions":["a:/"]'))
      upstream().open(both)
      const second = ask(listen('2', '"resourceSubscriptions":["a:/"]'))
      engine.gone(first)
      expect(
        upstream()
          .take()
          .filter((text) => text.includes('cancelled')),
      ).toEqual([])
      upstream().say('{"jsonrpc":"2.0","id":2,"result":{}}')
      expect([first.told.length, second.told.length]).toEqual([0, 1])

      const third = ask(listen('3', '"resourceSubscriptions":["b:/"]'))
      upstream().take()
      engine.gone(third)
      expect(upstream().take()).toEqual([
        '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3,' +
          '"reason":"The client has gone."}}',
      ])
    })
  })
})

describe('a legacy session that is lost', () => {
  test('a lost session opens again, once, for requests that may run twice', () => {
    const { ask, upstream, upstreams, engine } = setUp()
    const [list, tool] = [ask(request('1', 'tools/list')), ask(call('2'))]
    upstream().open().listener.lost('The session ended.')
    expect(tool.answers).toEqual([
      {
        status: 502,
        message: '{"jsonrpc":"2.0","id":2,"error":{"code":-32603,"message":"The session ended."}}',
      },
    ])
    upstream(1).open().listener.lost('The session ended again.')
    expect(list.answers).toEqual([
      {
        status: 502,
        message:
          '{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"The session ended again."}}',
      },
    ])
    expect([upstreams.length, engine.open]).toEqual([2, 0])
  })

  test('a lost session opens again for calls that were not taken, or waited for it', () => {
    const { ask, upstream, upstreams } = setUp()
    const waited = ask(call('1'))
    upstream().listener.lost('No session.')
    const taken = ask(call('2'))
    upstream(1).open()
    const refused = ask(call('3'))
    upstream(1).listener.lost('The session is not known.', '4')
    expect(taken.answers[0]?.status).toBe(502)
    // The first call has used its second chance.
    expect(waited.answers[0]?.status).toBe(502)
    expect(refused.answers).toEqual([])
    upstream(2).open().say('{"jsonrpc":"2.0","id":2,"result":{"content":[]}}')
    expect(refused.answers).toHaveLength(1)
    expect(upstreams).toHaveLength(3)
  })

  test('a lost session tells every call, though the server stays away', () => {
    const { ask, upstream, world, engine } = setUp()
    const heard = [request('1', 'tools/list'), request('2', 'prompts/list'), call('3')].map(
      (text) => ask(text),
    )
    upstream().open()
    world.refuse = 'There is no server now.'
    upstream().listener.lost('It broke.')
    expect(heard.map(({ answers }) => answers.map(({ status }) => status))).toEqual([
      [503],
      [503],
      [502],
    ])
    expect(ask(call('4')).answers).toEqual([
      {
        status: 503,
        message:
          '{"jsonrpc":"2.0","id":4,"error":{"code":-32603,"message":"There is no server now."}}',
      },
    ])
    expect(ask(request('5', 'subscriptions/listen', '"notifications":{}')).answers).toHaveLength(1)
    expect(engine.open).toBe(0)
  })

  test('a session whose server is about to end leaves new calls to another', () => {
    const { ask, upstream, upstreams, engine } = setUp()
    const first = ask(call('1'))
    const listener = ask(request('2', 'subscriptions/listen', '"notifications":{}'))
    upstream().open().leaving = true

    const second = ask(call('3'))
    upstream(1).open().say('{"jsonrpc":"2.0","id":2,"result":{"content":[]}}')
    engine.tick()
    expect([first.answers, second.answers.length, listener.answers.length]).toEqual([[], 1, 1])
    expect(upstream().closed).toBe(false)

    upstream().say('{"jsonrpc":"2.0","id":2,"result":{"content":[]}}')
    engine.tick()
    expect(first.answers[0]?.status).toBe(200)
    expect([upstream().closed, upstream(1).closed, upstreams.length]).toEqual([true, false, 2])
  })

  test('a lost session gives its place to calls that waited for one', () => {
    const { ask, upstream, upstreams } = setUp({ tellsVia: false, maxConnections: 1 })
    const [first, second, third] = ['1', '2', '3'].map((id) =>
      ask(call(id, '{}', { capabilities: elicits })),
    ) as [Heard, Heard, Heard]
    upstream().open().listener.lost('It broke.')
    expect([first.answers.length, second.answers.length, upstreams.length]).toEqual([1, 0, 2])
    upstream(1).open().say('{"jsonrpc":"2.0","id":2,"result":{"content":[]}}')
    upstream(1).say('{"jsonrpc":"2.0","id":3,"result":{"content":[]}}')
    expect([second.answers.length, third.answers.length, upstreams.length]).toEqual([1, 1, 2])
  })

  test('a lost session does not open again in an engine that closes', () => {
    const { ask, upstream, upstreams, engine } = setUp()
    const heard = [ask(request('1', 'tools/list')), ask(call('2'))]
    upstream().open()
    engine.close('Good night.')
    expect(heard.map(({ answers }) => answers.map(({ message }) => message))).toEqual([
      ['{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Good night."}}'],
      ['{"jsonrpc":"2.0","id":2,"error":{"code":-32603,"message":"Good night."}}'],
    ])
    expect([upstreams.length, upstream().closed, engine.open]).toEqual([1, true, 0])
  })

  test('a session that never opened says why', () => {
    const { ask, upstream, engine } = setUp()
    const heard = ask(call('1'))
    upstream().say('{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"Go away."}}')
    upstream(1).say('{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"Go away."}}')
    expect(heard.answers).toEqual([
      {
        status: 502,
        message:
          '{"jsonrpc":"2.0","id":1,"error":{"code":-32603,' +
          '"message":"The server refused to initialize: Go away."}}',
      },
    ])
    expect(engine.open).toBe(0)
  })
})

test('a retry whose arguments nest deeper than the stack is compared all the same', () => {
  const { ask, upstream } = setUp()
  const args = `{"a":${'['.repeat(50_000)}${']'.repeat(50_000)}}`
  ask(call('1', args, { capabilities: elicits }))
  upstream().open().say(question, '2')
  const retry = call('2', args, {
    capabilities: elicits,
    more: ',"requestState":"state-1","inputResponses":{"input-1":{"action":"cancel"}}',
  })
  expect(ask(retry).answers).toEqual([])
  expect(upstream().take()).toEqual(['{"jsonrpc":"2.0","id":0,"result":{"action":"cancel"}}'])
})

test('a call whose client came back in time is not given up, however long it takes', () => {
  const { ask, upstream, engine, world } = setUp()
  ask(call('1', '{}', { capabilities: elicits }))
  upstream().open().say(question, '2')
  const retry = ask(
    call('2', '{}', {
      capabilities: elicits,
      more: ',"requestState":"state-1","inputResponses":{"input-1":{"action":"cancel"}}',
    }),
  )
  upstream().take()
  world.now = 2000
  engine.tick()
  expect([upstream().take(), retry.answers]).toEqual([[], []])
  upstream().say('{"jsonrpc":"2.0","id":2,"result":{"content":[]}}')
  expect(retry.answers).toHaveLength(1)
})
