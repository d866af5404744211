import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { metaKey, type ModernRequest } from '../modern.ts'
import { readObject, writeObject } from '../json/raw-object.ts'
import type { ConnectionListener } from './conversation.ts'
import type { Exchange } from './exchange.ts'
import { LegacyToModern } from './legacy-to-modern.ts'
import { ModernToLegacy } from './modern-to-legacy.ts'
import { ModernMultiplexer } from './multiplexer.ts'

/** This suffices on a busy machine. */
const patient = { timeout: 120_000 }

/** One random step: the event, and its target. */
const steps = fc.array(fc.record({ what: fc.nat(99), who: fc.nat(1000), how: fc.nat(1000) }), {
  minLength: 5,
  maxLength: 80,
  size: 'max',
})
type Step = typeof steps extends fc.Arbitrary<readonly (infer T)[]> ? T : never

interface Message {
  readonly id?: unknown
  readonly method?: string
  readonly params?: Record<string, unknown>
  readonly result?: Record<string, unknown>
  readonly error?: { readonly code: number; readonly message: string }
}

function parse(text: string): Message {
  const message = JSON.parse(text) as Message & { jsonrpc: string }
  expect(message.jsonrpc).toBe('2.0')
  return message
}

function pick<T>(list: readonly T[], index: number): T | undefined {
  return list.length === 0 ? undefined : list[index % list.length]
}

/**
 * A modern client's request. It checks each message on arrival: nothing of another caller, one
 * answer, nothing after the answer.
 */
class Client implements Exchange {
  readonly request: ModernRequest
  readonly principal: string
  readonly answers: Message[] = []
  readonly told: Message[] = []
  gone = false
  retried = false

  constructor(principal: string, request: ModernRequest) {
    this.principal = principal
    this.request = request
  }

  #check(text: string): Message {
    expect(this.gone, `heard after it went: ${text}`).toBe(false)
    expect(this.answers, `heard after its answer: ${text}`).toHaveLength(0)
    for (const other of text.match(/secret-of-\w+/g) ?? [])
      expect(other).toBe(`secret-of-${this.principal}`)
    return parse(text)
  }

  tell(text: string): void {
    const message = this.#check(text)
    expect([typeof message.method, message.id]).toEqual(['string', undefined])
    this.told.push(message)
  }

  answer(_status: number, text: string): void {
    const message = this.#check(text)
    expect(JSON.stringify(message.id)).toBe(this.request.id)
    expect(message.method).toBeUndefined()
    expect([message.result, message.error].filter((each) => each === undefined)).toHaveLength(1)
    if (message.result !== undefined)
      expect(message.result['resultType']).toMatch(/^(complete|input_required)$/)
    this.answers.push(message)
  }

  get waits(): boolean {
    return !this.gone && this.answers.length === 0
  }

  get state(): string | undefined {
    return this.answers[0]?.result?.['requestState'] as string | undefined
  }
}

const principals = ['ann', 'bob', 'eve']
const capabilitySets = [
  '{}',
  '{"elicitation":{},"sampling":{},"roots":{}}',
  '{"elicitation":{"form":{},"url":{}}}',
]
const methods = [
  'tools/call',
  'tools/call',
  'tools/call',
  'resources/read',
  'tools/list',
  'server/discover',
  'subscriptions/listen',
  'vendor/x',
  'ping',
]

function modernRequest(
  id: number,
  principal: string,
  how: number,
  extra: readonly (readonly [string, string])[] = [],
): ModernRequest {
  const method = pick(methods, how) as string
  const secret = JSON.stringify(`secret-of-${principal}`)
  const meta = new Map([
    [metaKey.protocolVersion, '"2026-07-28"'],
    [metaKey.clientCapabilities, pick(capabilitySets, how >> 2) as string],
    ...(how % 3 === 0 ? ([['progressToken', secret]] as const) : []),
    ...(how % 5 === 0 ? ([[metaKey.logLevel, '"info"']] as const) : []),
  ])
  const params = new Map([
    ['name', '"work"'],
    ['uri', secret],
    ['arguments', `{"mine":${secret}}`],
    [
      'notifications',
      `{"toolsListChanged":true,"resourceSubscriptions":["secret-of-${principal}",` +
        `"shared:/${how % 3}","shared:/${how % 3}"]}`,
    ],
    ...extra,
    ['_meta', writeObject(meta)],
  ])
  return { id: String(id), method, params, meta }
}

/** A legacy server's end of one connection. */
class Server {
  readonly principal: string
  readonly listener: ConnectionListener
  /** Open requests by raw id. */
  readonly open = new Map<string, { method: string; params: Record<string, unknown> }>()
  readonly asked = new Set<string>()
  initialized = false
  over = false

  constructor(principal: string, listener: ConnectionListener) {
    this.principal = principal
    this.listener = listener
  }

  send(text: string): void {
    expect(this.over, `sent after the end: ${text}`).toBe(false)
    for (const other of text.match(/secret-of-\w+/g) ?? [])
      expect(other).toBe(`secret-of-${this.principal}`)
    expect(text).not.toContain('io.modelcontextprotocol/')
    const { id, method, params = {} } = parse(text)
    if (method === 'notifications/initialized') this.initialized = true
    else if (method === 'notifications/cancelled')
      this.open.delete(JSON.stringify(params['requestId']))
    else if (method === undefined)
      expect(this.asked.delete(JSON.stringify(id)), `answers what was not asked: ${text}`).toBe(
        true,
      )
    else {
      expect(this.initialized || method === 'initialize').toBe(true)
      expect(this.open.has(JSON.stringify(id))).toBe(false)
      this.open.set(JSON.stringify(id), { method, params })
    }
  }

  close(): void {
    this.over = true
  }

  lose(): void {
    this.over = true
    this.listener.lost('The connection was lost.')
  }

  say(message: object, via?: string): void {
    if (!this.over) this.listener.receive(JSON.stringify({ jsonrpc: '2.0', ...message }), via)
  }

  /** Answers a request in one of many ways, some of them wrong. */
  answer(id: string, how: number): void {
    const request = this.open.get(id)
    if (request === undefined) return
    this.open.delete(id)
    const secret = `secret-of-${this.principal}`
    if (request.method === 'initialize') {
      if (how % 10 === 9)
        return this.say({ id: JSON.parse(id) as number, error: { code: -1, message: 'No.' } })
      const tasks = how % 2 === 0 ? { tasks: { requests: { tools: { call: {} } } } } : {}
      const capabilities = {
        tools: { listChanged: true },
        resources: { subscribe: true, listChanged: true },
        logging: {},
        ...tasks,
      }
      return this.say({
        id: JSON.parse(id) as number,
        result: {
          protocolVersion: '2025-11-25',
          capabilities,
          serverInfo: { name: 'x', version: '1' },
        },
      })
    }
    const answers: object[] = [
      { result: { content: [], secret } },
      {
        result: {
          tools: [
            { name: 'work', execution: { taskSupport: 'required' }, inputSchema: { secret } },
          ],
        },
      },
      { result: { task: { taskId: secret } } },
      { error: { code: -32603, message: secret } },
      { error: { code: -32042, message: secret, data: { elicitations: [{ url: secret }] } } },
      { result: 5 },
      {},
    ]
    const chosen = pick(answers, how) as object
    this.say({ id: JSON.parse(id) as number, ...chosen })
    if (how % 4 === 0) this.say({ id: JSON.parse(id) as number, ...chosen })
  }

  /** Asks a question for a request, or for none. */
  ask(via: string | undefined, how: number): void {
    const id = `q${how % 50}`
    if (this.asked.has(JSON.stringify(id))) return
    this.asked.add(JSON.stringify(id))
    const method = pick(
      ['elicitation/create', 'sampling/createMessage', 'roots/list', 'ping', 'odd/thing'],
      how,
    )
    this.say({ id, method, params: { message: `secret-of-${this.principal}` } }, via)
  }

  tell(how: number, via: string | undefined): void {
    const secret = `secret-of-${this.principal}`
    const messages: object[] = [
      { method: 'notifications/tools/list_changed' },
      { method: 'notifications/resources/updated', params: { uri: `shared:/${how % 3}` } },
      { method: 'notifications/resources/updated', params: { uri: secret } },
      { method: 'notifications/message', params: { level: 'error', data: secret } },
      { method: 'notifications/progress', params: { progressToken: how % 20, data: secret } },
      { method: 'notifications/cancelled', params: { requestId: `q${how % 50}` } },
      { id: how % 20, result: {} },
      { id: secret, error: { code: 1, message: secret } },
    ]
    const message = pick(messages, how) as {
      id?: number
      method?: string
      params?: { requestId?: string }
    }
    // The engine may take this as the answer to something open.
    if (message.id !== undefined) this.open.delete(JSON.stringify(message.id))
    if (message.method === 'notifications/cancelled') return
    this.say(message, via)
  }
}

function answersFor(client: Client, how: number): string {
  const asked = (client.answers[0]?.result?.['inputRequests'] ?? {}) as Record<
    string,
    { method: string }
  >
  return JSON.stringify(
    Object.fromEntries(
      Object.entries(asked).flatMap(([key, { method }], index): [string, object][] => {
        if (how % 4 === 1 && index === 0) return []
        if (how % 4 === 2) return [[key, { wrong: true }]]
        const secret = `secret-of-${client.principal}`
        if (method === 'roots/list') return [[key, { roots: [{ uri: secret }] }]]
        if (method === 'sampling/createMessage')
          return [[key, { role: 'assistant', model: 'm', content: { text: secret } }]]
        return [[key, { action: 'accept', content: { secret } }]]
      }),
    ),
  )
}

/** Random modern clients of three principals, and random legacy servers, over one engine. */
class LegacyWorld {
  readonly clients: Client[] = []
  readonly servers: Server[] = []
  readonly tellsVia: boolean
  readonly engine: ModernToLegacy
  readonly maxParked = 3
  now = 0
  refuses = false
  #ids = 0

  constructor(tellsVia: boolean) {
    this.tellsVia = tellsVia
    this.engine = new ModernToLegacy(
      {
        connect: (principal, listener) => {
          if (this.refuses) throw new Error('There is no server now.')
          const server = new Server(principal, listener)
          this.servers.push(server)
          return server
        },
        tellsVia,
        now: () => this.now,
        newState: () => `state-${(this.#ids += 1)}`,
      },
      {
        parkMs: 1000,
        maxParkedPerPrincipal: this.maxParked,
        maxConnections: 2,
        idleMs: 3000,
        clientInfo: { name: 'gateway', version: '1' },
      },
    )
  }

  start(principal: string, request: ModernRequest): Client {
    const client = new Client(principal, request)
    this.clients.push(client)
    this.engine.request(principal, request, client)
    return client
  }

  retry(client: Client, principal: string, how: number): Client {
    const { request } = client
    const params = new Map(request.params)
      .set('requestState', JSON.stringify(how % 13 === 12 ? 'made-up' : client.state))
      .set('inputResponses', answersFor(client, how))
    if (how % 11 === 10) params.set('arguments', '{"other":1}')
    const again = this.start(principal, { ...request, id: String(this.clients.length + 1), params })
    const fits = principal === client.principal && how % 13 !== 12 && how % 11 !== 10
    if (!fits) {
      expect(again.answers.map(({ error }) => error)).toEqual([
        {
          code: -32602,
          message: 'requestState is unknown or has expired. Send the request again without it.',
        },
      ])
    } else client.retried = true
    return again
  }

  step({ what, who, how }: Step): void {
    const server = pick(
      this.servers.filter(({ over }) => !over),
      who,
    )
    const via = this.tellsVia ? pick([...(server?.open.keys() ?? [])], how) : undefined
    const waiting = this.clients.filter((each) => each.state !== undefined && !each.retried)
    if (what < 25)
      this.start(
        pick(principals, who) as string,
        modernRequest(this.clients.length + 1, pick(principals, who) as string, how),
      )
    else if (what < 33) {
      const client = pick(
        this.clients.filter(({ waits }) => waits),
        who,
      )
      if (client === undefined) return
      client.gone = true
      this.engine.gone(client)
    } else if (what < 60) {
      const id = pick([...(server?.open.keys() ?? [])], how >> 3)
      if (id !== undefined) server?.answer(id, how)
    } else if (what < 72) server?.ask(via, how)
    else if (what < 80) server?.tell(how, via)
    else if (what < 92) {
      const client = pick(waiting, who)
      if (client !== undefined)
        this.retry(
          client,
          how % 7 === 6 ? (pick(principals, how) as string) : client.principal,
          how,
        )
    } else if (what < 95) {
      this.now += how
      this.engine.tick()
    } else if (what < 97) server?.lose()
    else if (what < 98) this.engine.endListeners()
    else this.refuses = how % 3 === 0
    this.check()
  }

  check(): void {
    expect(this.engine.open).toBe(this.clients.filter(({ waits }) => waits).length)
    expect(this.engine.parked).toBeLessThanOrEqual(this.maxParked * principals.length)
  }

  /** Answers or gives up everything. Nothing may be open afterwards. */
  finish(): void {
    this.refuses = false
    for (let round = 0; round < 200; round += 1) {
      const open = this.servers.flatMap((server) =>
        server.over ? [] : [...server.open.keys()].map((id) => [server, id] as const),
      )
      if (open.length === 0) break
      for (const [server, id] of open) server.answer(id, 10)
    }
    for (const client of this.clients.filter(
      ({ waits, request }) => waits && request.method === 'subscriptions/listen',
    )) {
      client.gone = true
      this.engine.gone(client)
    }
    this.now += 1001
    this.engine.tick()
    for (const server of this.servers)
      if (!server.over) for (const id of server.open.keys()) server.answer(id, 0)
    this.check()
    expect(this.clients.filter(({ waits }) => waits).map(({ request }) => request.method)).toEqual(
      [],
    )
    expect([this.engine.open, this.engine.parked]).toEqual([0, 0])
    for (const after of [0, 3001]) {
      this.now += after
      this.engine.tick()
    }
    expect(this.servers.filter(({ over }) => !over)).toHaveLength(0)
  }
}

describe('modern clients in front of legacy servers, in any order of events', () => {
  test.each([true, false])(
    'modern clients get one answer each, and leave nothing behind (requests name theirs: %s)',
    patient,
    (tellsVia) => {
      fc.assert(
        fc.property(steps, (random) => {
          const world = new LegacyWorld(tellsVia)
          for (const step of random) world.step(step)
          world.finish()
        }),
        { numRuns: 600 },
      )
    },
  )

  test('modern clients are all answered when the engine closes midway', patient, () => {
    fc.assert(
      fc.property(steps, fc.boolean(), (random, tellsVia) => {
        const world = new LegacyWorld(tellsVia)
        for (const step of random) world.step(step)
        const connections = world.servers.length
        world.engine.close('Good night.')
        expect([world.engine.open, world.engine.parked]).toEqual([0, 0])
        expect(world.clients.filter(({ waits }) => waits)).toEqual([])
        expect(world.servers.filter(({ over }) => !over)).toEqual([])
        expect(world.servers).toHaveLength(connections)
      }),
      { numRuns: 300 },
    )
  })
})

/** One legacy client in front of a random modern server. */
class ModernWorld {
  readonly engine: LegacyToModern
  readonly served: { request: ModernRequest; exchange: Exchange; over: boolean }[] = []
  readonly timers: (() => void)[] = []
  /** Requests of the client by id, with the number of answers to each. */
  readonly requests = new Map<number, { answers: number; cancelled: boolean }>()
  readonly questions = new Set<string>()
  #ids = 0
  #asked = 0

  constructor() {
    this.engine = new LegacyToModern({
      server: {
        request: (request, exchange) => {
          const { meta, method } = request
          expect(meta.get(metaKey.protocolVersion), method).toBe('"2026-07-28"')
          this.served.push({ request, exchange, over: false })
        },
        gone: (exchange) => {
          const served = this.served.find((each) => each.exchange === exchange)
          if (served !== undefined) served.over = true
        },
      },
      send: (text, related) => this.#heard(text, related),
      answer: (id, text) => this.#heard(text, id),
      newId: () => `id-${(this.#ids += 1)}`,
      later: (_ms, callback) => this.timers.push(callback),
    })
    this.request('initialize', {
      protocolVersion: '2025-11-25',
      capabilities: { elicitation: { form: {}, url: {} }, roots: {} },
    })
    this.answer(0, {
      result: { capabilities: { tools: { listChanged: true }, resources: { subscribe: true } } },
    })
  }

  #heard(text: string, related: string | undefined): void {
    const { id, method, params = {}, result, error } = parse(text)
    expect(text).not.toContain('io.modelcontextprotocol/')
    if (method === undefined) {
      const request = this.requests.get(id as number)
      expect(request, `answers what was not asked: ${text}`).toBeDefined()
      expect([result, error].filter((each) => each === undefined)).toHaveLength(1)
      if (request === undefined) return
      expect(request.cancelled, `answered though cancelled: ${text}`).toBe(false)
      request.answers += 1
      expect(request.answers).toBe(1)
      expect(related).toBe(String(id))
    } else if (id !== undefined) {
      expect(this.requests.get(Number(related))).toEqual({ answers: 0, cancelled: false })
      this.questions.add(id as string)
    } else if (method === 'notifications/cancelled')
      expect(this.questions.delete(params['requestId'] as string)).toBe(true)
    else
      expect(method).toMatch(
        /^notifications\/(progress|message|resources\/updated|tools\/list_changed)$/,
      )
  }

  request(method: string, params: object): number {
    const id = this.requests.size
    this.requests.set(id, { answers: 0, cancelled: false })
    this.engine.receive(JSON.stringify({ jsonrpc: '2.0', id, method, params }))
    return id
  }

  answer(index: number, message: object): void {
    const served = this.served[index]
    if (served === undefined || served.over) return
    served.over = true
    served.exchange.answer(
      200,
      JSON.stringify({ jsonrpc: '2.0', id: Number(served.request.id), ...message }),
    )
  }

  step({ what, who, how }: Step): void {
    const open = this.served.flatMap((each, index) => (each.over ? [] : [index]))
    const index = pick(open, who)
    const served = index === undefined ? undefined : this.served[index]
    const listens = served?.request.method === 'subscriptions/listen'
    const question = pick([...this.questions], who)

    if (what < 25) this.#ask(who, how)
    else if (what < 30) this.#withdraw(who, how)
    else if (what < 33)
      this.engine.receive('{"jsonrpc":"2.0","method":"notifications/initialized"}')
    else if (what < 65 && index !== undefined && served !== undefined) {
      if (listens && how % 3 !== 0)
        served.exchange.tell(ofSubscription('notifications/subscriptions/acknowledged'))
      else this.answer(index, this.#anAnswer(how))
    } else if (what < 72 && served !== undefined) {
      const method = pick(['notifications/progress', 'notifications/message'], how)
      served.exchange.tell(
        listens
          ? ofSubscription('notifications/resources/updated')
          : JSON.stringify({ jsonrpc: '2.0', method, params: {} }),
      )
    } else if (what < 88 && question !== undefined) this.#reply(question, how)
    else if (what < 92)
      this.engine.receive(JSON.stringify({ jsonrpc: '2.0', id: `input-${how}-x`, result: {} }))
    else this.timers.splice(0, 1 + (how % 3)).forEach((callback) => callback())
  }

  #ask(who: number, how: number): void {
    const methods = [
      'tools/call',
      'tools/call',
      'prompts/get',
      'tools/list',
      'resources/subscribe',
      'resources/unsubscribe',
      'ping',
      'tasks/get',
    ]
    this.request(pick(methods, how) as string, {
      name: `tool-${how % 3}`,
      uri: `r:/${who % 4}`,
      _meta: { progressToken: how },
    })
  }

  #withdraw(who: number, how: number): void {
    const waiting = [...this.requests].filter(
      ([, { answers, cancelled }]) => answers === 0 && !cancelled,
    )
    const [id, request] = pick(waiting, who) ?? []
    // The client cannot withdraw a request that the engine answers itself.
    if (id === undefined || request === undefined || how % 2 === 0)
      return this.engine.receive(
        '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":-1}}',
      )

    if (this.served.some(({ over, request: { method } }) => !over && method === 'tools/call'))
      this.#cancel(id, request)
  }

  #reply(question: string, how: number): void {
    this.questions.delete(question)
    const outcome = how % 4 === 0 ? { error: { code: 1, message: 'No.' } } : { result: {} }
    this.engine.receive(JSON.stringify({ jsonrpc: '2.0', id: question, ...outcome }))
    if (how % 3 === 0)
      this.engine.receive(JSON.stringify({ jsonrpc: '2.0', id: question, result: {} }))
  }

  #cancel(id: number, request: { cancelled: boolean; answers: number }): void {
    // The engine answers a subscription and an `initialize` all the same.
    if (this.#uncancellable.has(id)) return
    request.cancelled = true
    this.engine.receive(
      JSON.stringify({
        jsonrpc: '2.0',
        method: 'notifications/cancelled',
        params: { requestId: id },
      }),
    )
  }
  readonly #uncancellable = {
    has: (id: number): boolean => id === 0 || this.subscriptions.has(id),
  }
  readonly subscriptions = new Set<number>()

  #anAnswer(how: number): object {
    const asks = (count: number): object =>
      Object.fromEntries(
        Array.from({ length: count }, () => [
          `k${(this.#asked += 1)}`,
          pick(
            [
              { method: 'elicitation/create', params: { mode: 'url' } },
              { method: 'roots/list' },
              { method: 'sampling/createMessage' },
            ],
            how % 8 === 7 ? 2 : how % 2,
          ),
        ]),
      )
    const answers: object[] = [
      { result: { content: [], resultType: 'complete' } },
      { result: { tools: [{ name: `tool-${how % 3}`, inputSchema: {} }], resultType: 'complete' } },
      {
        result: {
          resultType: 'input_required',
          inputRequests: asks(1 + (how % 3)),
          requestState: 's',
        },
      },
      { result: { resultType: 'input_required', inputRequests: asks(2) } },
      { result: { resultType: 'input_required', requestState: 's' } },
      { error: { code: -32020, message: 'x' } },
      { error: { code: pick([-32601, -32602, -32021, -32603], how), message: 'x' } },
      { error: 'x' },
      {},
    ]
    return pick(answers, how) as object
  }

  finish(): void {
    for (let round = 0; round < 100; round += 1) {
      for (const question of this.questions) {
        this.questions.delete(question)
        this.engine.receive(JSON.stringify({ jsonrpc: '2.0', id: question, result: {} }))
      }
      for (const [index, { over, request, exchange }] of this.served.entries()) {
        if (over) continue
        if (request.method === 'subscriptions/listen')
          exchange.tell(
            '{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{}}',
          )
        else this.answer(index, { result: { resultType: 'complete' } })
      }
      this.timers.splice(0).forEach((callback) => callback())
    }
    expect(
      [...this.requests].filter(([, { answers, cancelled }]) => answers === 0 && !cancelled),
    ).toEqual([])
    expect(this.questions.size).toBe(0)
    // At most one stream is left, and it ends with the session.
    expect(this.served.filter(({ over }) => !over).length).toBeLessThanOrEqual(1)
    this.engine.close()
    expect(this.served.filter(({ over }) => !over)).toEqual([])
    const served = this.served.length
    this.timers.splice(0).forEach((callback) => callback())
    expect(this.served).toHaveLength(served)
  }
}

test('a legacy client gets one answer to each request in any order of events', patient, () => {
  fc.assert(
    fc.property(steps, (random) => {
      const world = new ModernWorld()
      for (const step of random) {
        const before = world.requests.size
        world.step(step)
        // The engine answers subscriptions itself, whatever the server does.
        if (world.requests.size > before && [4, 5].includes(step.how % 8))
          world.subscriptions.add(before)
      }
      world.finish()
    }),
    { numRuns: 600 },
  )
})

/** A notification on the one subscription of this world. */
function ofSubscription(method: string): string {
  const params = { _meta: { [metaKey.subscriptionId]: 1 } }
  return JSON.stringify({ jsonrpc: '2.0', method, params })
}

/** Modern clients that share one random server on stdio. */
class StdioWorld {
  /** Requests that the server has not answered, by the id that it sees. */
  readonly open = new Map<string, Message>()
  readonly clients: Client[] = []
  #ids = 0
  readonly multiplexer = new ModernMultiplexer(
    (text) => this.#take(parse(text)),
    () => `id-${(this.#ids += 1)}`,
  )

  #take(message: Message): void {
    if (message.method === 'notifications/cancelled')
      this.open.delete(message.params?.['requestId'] as string)
    else if (message.method !== undefined) {
      expect(this.open.has(message.id as string)).toBe(false)
      this.open.set(message.id as string, message)
    }
  }

  #say(message: object): void {
    this.multiplexer.receive(JSON.stringify({ jsonrpc: '2.0', ...message }))
  }

  step({ what, who, how }: Step): void {
    const id = pick([...this.open.keys()], who)
    const waits = this.clients.filter((client) => client.waits)
    const waiting = pick(waits, who)

    if (what < 30) this.#request(who, how)
    else if (what < 40 && waiting !== undefined) {
      waiting.gone = true
      this.multiplexer.gone(waiting)
    } else if (what < 65 && id !== undefined) this.#answer(id, how)
    else if (what < 85 && id !== undefined) this.#tell(id, how)
    else if (what > 97) {
      this.open.clear()
      this.multiplexer.lost('It broke.')
    }
    expect(this.multiplexer.busy).toBe(this.clients.some((client) => client.waits))
  }

  #request(who: number, how: number): void {
    const principal = pick(principals, who) as string
    // Clients choose their ids, so ids are often equal.
    const client = new Client(principal, modernRequest(how % 4, principal, how))
    this.clients.push(client)
    this.multiplexer.request(principal, client.request, client)
  }

  #secretOf(id: string): string | undefined {
    return /secret-of-\w+/.exec(JSON.stringify(this.open.get(id)))?.[0]
  }

  #answer(id: string, how: number): void {
    const secret = this.#secretOf(id)
    this.open.delete(id)
    const answers = [
      { result: { resultType: 'complete', secret } },
      { error: { code: -32602, message: secret } },
      {},
      { result: 1 },
    ]
    this.#say({ id, ...pick(answers, how) })
    if (how % 3 === 0) this.#say({ id, result: {} })
  }

  #tell(id: string, how: number): void {
    const secret = this.#secretOf(id)
    const listens = this.open.get(id)?.method === 'subscriptions/listen'
    const told = [
      { method: 'notifications/progress', params: { progressToken: id, secret } },
      {
        method: 'notifications/tools/list_changed',
        params: { secret, _meta: { [metaKey.subscriptionId]: id } },
      },
      { method: 'notifications/cancelled', params: { requestId: id } },
      { id: 'server', method: 'roots/list' },
      { id: 9999, result: {} },
    ]
    if (how % 5 === 2 && listens) this.open.delete(id)
    this.#say(pick(told, how) as object)
  }

  /** Answers everything. Then no client may wait, and each heard only of its own subscription. */
  finish(): void {
    for (const [id] of this.open) this.#say({ id, result: { resultType: 'complete' } })
    expect(this.multiplexer.busy).toBe(false)
    expect(this.clients.filter(({ waits }) => waits)).toEqual([])

    for (const { told, request } of this.clients)
      for (const { params } of told) {
        const meta = readObject(JSON.stringify(params?.['_meta'] ?? {}))
        if (meta?.has(metaKey.subscriptionId) === true)
          expect(meta.get(metaKey.subscriptionId)).toBe(request.id)
      }
  }
}

test(
  'many modern clients over one stdio server get their own answers in any order',
  patient,
  () => {
    fc.assert(
      fc.property(steps, (random) => {
        const world = new StdioWorld()
        for (const step of random) world.step(step)
        world.finish()
      }),
      { numRuns: 600 },
    )
  },
)
