import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { elements } from './json/json-slice.ts'
import { LineFramer } from './framing/line-framing.ts'
import { idKey, outline } from './message.ts'
import { classify, mayBeModern, metaKey, type ModernRequest } from './modern.ts'
import {
  DuplicateMember,
  readArray,
  readMessage,
  readObject,
  readString,
  readUnambiguous,
  writeObject,
} from './json/raw-object.ts'
import { EventParser } from './framing/sse.ts'
import type { ConnectionListener } from './translate/conversation.ts'
import type { Exchange } from './translate/exchange.ts'
import { LegacyToModern } from './translate/legacy-to-modern.ts'
import { ModernToLegacy } from './translate/modern-to-legacy.ts'
import { ModernMultiplexer } from './translate/multiplexer.ts'

/** This suffices on a busy machine. */
const patient = { timeout: 120_000 }

const names = [
  ...`jsonrpc id method params result error _meta name uri arguments task taskId cursor code
    message data level requestId progressToken capabilities protocolVersion clientInfo tools
    execution taskSupport inputSchema outputSchema properties x-mcp-header type $ref
    structuredContent resultType inputRequests requestState inputResponses notifications
    resourceSubscriptions toolsListChanged listChanged subscribe resources elicitation
    sampling roots mode action extensions elicitations nextCursor __proto__ constructor`.split(
    /\s+/,
  ),
  '',
  'é"\\',
  ...Object.values(metaKey),
]
const methods =
  `initialize notifications/initialized ping tools/list tools/call prompts/get prompts/list
    resources/read resources/subscribe tasks/result resources/unsubscribe logging/setLevel
    completion/complete server/discover subscriptions/listen elicitation/create roots/list x
    sampling/createMessage notifications/cancelled notifications/progress
    notifications/message notifications/tools/list_changed notifications/resources/updated
    notifications/subscriptions/acknowledged`.split(/\s+/)
const scalar = fc.constantFrom(
  ...String.raw`0 -0 1 2 3 4 5 1.0 1e400 12345678901234567890 null true false "" "a"
    "\u0061" "\ud800" "input-1" "input-2" "state-1" "2026-07-28"
    "2025-06-18" "required" "object" "array" "url" "debug" "work" "#"
    "input_required" "complete" [] {} [1] {"a":{"a":{}}} -32020 -32021
    -32042 -32601 "accept" "string"`.split(/\s+/),
)
const { value } = fc.letrec<{ value: string; object: string }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, depthSize: 'small' },
    { arbitrary: scalar, weight: 4 },
    { arbitrary: tie('object'), weight: 4 },
    {
      arbitrary: fc.array(tie('value'), { maxLength: 3 }).map((list) => `[${list.join(' , ')}]`),
      weight: 1,
    },
  ),
  object: fc
    .array(fc.tuple(fc.constantFrom(...names), tie('value')), { maxLength: 5 })
    .map(
      (members) => `{${members.map(([name, raw]) => `${JSON.stringify(name)}:${raw}`).join(', ')}}`,
    ),
}))
/** Valid JSON that is nearly a message. */
const message = fc
  .tuple(
    fc.option(scalar, { freq: 3 }),
    fc.option(fc.constantFrom(...methods), { freq: 3 }),
    fc.option(value, { freq: 4 }),
    fc.option(value, { freq: 1 }),
    fc.option(value, { freq: 1 }),
  )
  .map(([id, method, params, result, error]) => {
    const members = [
      '"jsonrpc":"2.0"',
      ...(id === null ? [] : [`"id":${id}`]),
      ...(method === null ? [] : [`"method":${JSON.stringify(method)}`]),
      ...(params === null ? [] : [`"params":${params}`]),
      ...(result === null ? [] : [`"result":${result}`]),
      ...(error === null ? [] : [`"error":${error}`]),
    ]
    return `{${members.join(',')}}`
  })
/** Text that may have been JSON once. */
const damaged = fc
  .tuple(
    fc.oneof(message, value),
    fc.nat(),
    fc.nat(20),
    fc.constantFrom('', '"', '\\', '{', '}', '[', ']', ',', ':', '\0', '\u{1f600}', '"\\u00'),
  )
  .map(
    ([text, at, length, by]) =>
      text.slice(0, at % (text.length + 1)) + by + text.slice((at % (text.length + 1)) + length),
  )
const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 60 }),
  damaged.map((text) => Uint8Array.from(Buffer.from(text))),
)

/** `run` may throw only these errors. */
function throwsOnly(run: () => void, ...documented: (new (...args: never[]) => Error)[]): void {
  try {
    run()
  } catch (error) {
    if (!documented.some((kind) => error instanceof kind)) throw error
  }
}

describe('readers of the wire', () => {
  test('readers end, and throw their own errors, on any text', patient, () => {
    fc.assert(
      fc.property(fc.oneof(damaged, message, fc.string()), (text) => {
        throwsOnly(() => readMessage(text), SyntaxError)
        throwsOnly(() => readObject(text), SyntaxError)
        throwsOnly(() => readUnambiguous(text), SyntaxError)
        throwsOnly(() => readArray(text), SyntaxError)
        throwsOnly(() => readString(text), SyntaxError)
        throwsOnly(() => outline(Buffer.from(text)), SyntaxError)
        throwsOnly(() => elements(Buffer.from(text), { start: 0, end: text.length }), SyntaxError)
      }),
      { numRuns: 30_000 },
    )
  })

  test('readers read every valid message as JSON.parse does', patient, () => {
    fc.assert(
      fc.property(message, (text) => {
        const members = readObject(text)
        expect(JSON.parse(writeObject(members ?? []))).toEqual(JSON.parse(text))
        const { id } = outline(Buffer.from(text))
        expect(id).toBe(members?.get('id'))
        if (id !== undefined) expect(typeof idKey(id)).toBe('string')
      }),
      { numRuns: 10_000 },
    )
  })

  test('readers cut any bytes into the same bounded events and lines', patient, () => {
    fc.assert(
      fc.property(fc.array(bytes, { maxLength: 6 }), fc.nat(40), (chunks, limit) => {
        const events: string[] = []
        const parser = new EventParser(limit, ({ data }) => events.push(data))
        throwsOnly(() => chunks.forEach((chunk) => parser.push(chunk)), RangeError)
        for (const data of events) expect(data.length).toBeLessThanOrEqual(limit)
        const linesOf = (parts: readonly Uint8Array[]): string[] => {
          const lines: string[] = []
          const framer = new LineFramer(limit, {
            line: (line) => {
              expect(line.length).toBeLessThanOrEqual(limit)
              lines.push(Buffer.from(line).toString('latin1'))
            },
            tooLong: () => lines.push('too long'),
          })
          for (const part of parts) framer.push(part)
          framer.end()
          return lines
        }
        expect(linesOf([Buffer.concat(chunks)])).toEqual(linesOf(chunks))
      }),
      { numRuns: 20_000 },
    )
  })

  test('any valid message has an era or a refusal, whatever the headers', patient, () => {
    const header = fc.option(
      fc.constantFrom(
        '2026-07-28',
        '2025-11-25',
        '2027-01-01',
        'x',
        'tools/call',
        'work',
        '=?base64?d29yaw==?=',
        '=?base64?*?=',
      ),
    )
    const claim = fc
      .tuple(
        message,
        fc.constantFrom('"2026-07-28"', '"2027-01-01"', '5'),
        fc.constantFrom('{}', '5', 'null'),
      )
      .map(([text, version, capabilities]) =>
        text.replace(
          '"params":{',
          `"params":{"_meta":{"${metaKey.protocolVersion}":${version},` +
            `"${metaKey.clientCapabilities}":${capabilities}},`,
        ),
      )
    fc.assert(
      fc.property(
        fc.oneof(message, claim),
        header,
        header,
        header,
        (text, version, method, name) => {
          const headers = {
            ...(version === null ? {} : { 'mcp-protocol-version': version }),
            ...(method === null ? {} : { 'mcp-method': method }),
            ...(name === null ? {} : { 'mcp-name': [name] }),
          }
          throwsOnly(() => {
            const classified = classify(text, headers)
            if (classified.era === 'modern')
              expect(mayBeModern(Buffer.from(text), headers)).toBe(true)
            if (classified.era === 'modern' && 'refusal' in classified) {
              expect(classified.refusal.status).toBe(400)
              expect([-32600, -32602, -32020, -32022]).toContain(classified.refusal.code)
            }
          }, DuplicateMember)
        },
      ),
      { numRuns: 20_000 },
    )
  })
})

/** A client's exchange that accepts only messages of its own. */
class Heard implements Exchange {
  readonly id: string
  answers = 0

  constructor(id: string) {
    this.id = id
  }

  tell(text: string): void {
    expect(this.answers).toBe(0)
    const { method, id } = JSON.parse(text) as { method?: unknown; id?: unknown }
    expect([typeof method, id]).toEqual(['string', undefined])
  }

  answer(status: number, text: string): void {
    expect((this.answers += 1)).toBe(1)
    expect([200, 400, 404, 429, 502, 503]).toContain(status)
    const { id, result, error } = JSON.parse(text) as {
      id: unknown
      result?: object
      error?: { code: unknown; message: unknown }
    }
    expect(JSON.stringify(id)).toBe(JSON.stringify(JSON.parse(this.id)))
    if (error === undefined) expect(typeof result).toBe('object')
    else expect([Number.isInteger(error.code), typeof error.message]).toEqual([true, 'string'])
  }
}

/** A request in whose params anything may stand. */
function modernRequest(id: string, text: string): ModernRequest | undefined {
  const members = readObject(text)
  const method = readString(members?.get('method'))
  if (method === undefined) return undefined
  const params = readObject(members?.get('params')) ?? new Map<string, string>()
  const meta = readObject(params.get('_meta')) ?? new Map<string, string>()
  meta.set(metaKey.clientCapabilities, '{"elicitation":{},"roots":{}}')
  return { id, method, params, meta }
}

const conversation = fc.array(message, { minLength: 5, maxLength: 15 })
const oneOf = (id: string): string =>
  `{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":{"name":"work",` +
  '"_meta":{"progressToken":"p"}}}'

describe('the translation between clients and servers that break the rules', () => {
  test(
    'the translation answers each modern request once, and never throws at a legacy server',
    patient,
    () => {
      fc.assert(
        fc.property(
          conversation,
          conversation,
          fc.boolean(),
          (fromServer, fromClients, tellsVia) => {
            const servers: ConnectionListener[] = []
            let states = 0
            const engine = new ModernToLegacy(
              {
                connect: (_principal, listener) => {
                  servers.push(listener)
                  return { send: (text) => void JSON.parse(text), close: () => undefined }
                },
                tellsVia,
                now: () => 0,
                newState: () => `state-${(states += 1)}`,
              },
              {
                parkMs: 1,
                maxParkedPerPrincipal: 3,
                maxConnections: 2,
                idleMs: 1,
                clientInfo: { name: 'g', version: '1' },
              },
            )
            const heard: Heard[] = []
            const ask = (text: string): void => {
              const exchange = new Heard(`"c${heard.length}"`)
              const request = modernRequest(exchange.id, text)
              if (request === undefined) return
              heard.push(exchange)
              engine.request('ann', request, exchange)
            }
            ask(oneOf('1'))
            const capabilities =
              '{"tools":{"listChanged":true},"resources":{"subscribe":true},"logging":{},' +
              '"tasks":{"requests":{"tools":{}}}}'
            servers[0]?.receive(`{"id":1,"result":{"capabilities":${capabilities}}}`)
            servers[0]?.receive('{"id":2,"result":{"tools":[]}}')
            for (const [index, text] of fromServer.entries()) {
              ask(fromClients[index] ?? oneOf('1'))
              for (const server of servers)
                server.receive(text, tellsVia ? String(index % 5) : undefined)
            }
            engine.close('It is over.')
            expect([engine.open, engine.parked]).toEqual([0, 0])
            expect(heard.filter(({ answers }) => answers !== 1)).toEqual([])
          },
        ),
        { numRuns: 1500 },
      )
    },
  )

  test(
    'the translation throws at a legacy client only for a member that stands twice',
    patient,
    () => {
      fc.assert(
        fc.property(conversation, conversation, (fromServer, fromClient) => {
          const open: { exchange: Exchange }[] = []
          const answered = new Map<string, number>()
          const engine = new LegacyToModern({
            server: {
              request: ({ params }, exchange) => {
                JSON.parse(writeObject(params))
                open.push({ exchange })
              },
              gone: () => undefined,
            },
            send: (text) => {
              const { id, method, result, error } = JSON.parse(text) as {
                id?: unknown
                method?: string
                result?: unknown
                error?: { code: unknown; message: unknown }
              }
              if (method !== undefined) return
              if (typeof id === 'string' && id.startsWith('own-'))
                answered.set(id, (answered.get(id) ?? 0) + 1)
              if (error === undefined) expect(typeof result).toBe('object')
              else
                expect([Number.isInteger(error.code), typeof error.message]).toEqual([
                  true,
                  'string',
                ])
            },
            answer(id, text) {
              this.send(text, id)
            },
            newId: () => 'id',
            later: (_ms, callback) => callback(),
          })
          engine.receive(
            '{"id":"own-0","method":"initialize",' +
              '"params":{"capabilities":{"elicitation":{"url":{}},"roots":{}}}}',
          )
          open
            .shift()
            ?.exchange.answer(
              200,
              '{"id":1,"result":{"capabilities":{"tools":{"listChanged":true}}}}',
            )
          engine.receive('{"method":"notifications/initialized"}')
          engine.receive(oneOf('"own-1"'))
          for (const [index, text] of fromClient.entries()) {
            throwsOnly(() => engine.receive(text), DuplicateMember)
            const place = (index * 7) % Math.max(open.length, 1)
            const said = fromServer[index] ?? '{}'
            if (readObject(said)?.has('method') === true) open[place]?.exchange.tell(said)
            else open.splice(place, 1)[0]?.exchange.answer(200, said)
          }
          engine.close()
          for (const [id, count] of answered) expect([id, count]).toEqual([id, 1])
        }),
        { numRuns: 1500 },
      )
    },
  )

  test('the translation never throws where modern clients share a modern server', patient, () => {
    fc.assert(
      fc.property(conversation, conversation, (fromServer, fromClients) => {
        let ids = 0
        const multiplexer = new ModernMultiplexer(
          (text) => void JSON.parse(text),
          () => `input-${(ids += 1)}`,
        )
        const heard: Heard[] = []
        for (const [index, text] of fromServer.entries()) {
          const request = modernRequest(`"c${index}"`, fromClients[index] ?? oneOf('1'))
          if (request !== undefined) {
            heard.push(new Heard(request.id))
            multiplexer.request(`caller-${index % 2}`, request, heard.at(-1) as Heard)
          }
          multiplexer.receive(text)
        }
        multiplexer.lost('It is over.')
        expect(heard.filter(({ answers }) => answers !== 1)).toEqual([])
        expect(multiplexer.busy).toBe(false)
      }),
      { numRuns: 1500 },
    )
  })
})

test('a long event in small pieces takes time that grows with its length', () => {
  const measure = (length: number): number => {
    let got = 0
    const parser = new EventParser(64 * 1024 * 1024, ({ data }) => (got = data.length))
    const piece = Buffer.alloc(1024, 'x')
    const before = process.cpuUsage().user
    parser.push(Buffer.from('data: '))
    for (let sent = 0; sent < length; sent += piece.length) parser.push(piece)
    parser.push(Buffer.from('\n\n'))
    expect(got).toBe(length)
    return process.cpuUsage().user - before
  }
  measure(1024 * 1024)
  // A new search for each piece would take 32,768 times 16 MB.
  expect(measure(32 * 1024 * 1024)).toBeLessThan(5_000_000)
})

test('a stream of empty data lines does not grow without bound', () => {
  const parser = new EventParser(1000, () => undefined)
  expect(() => parser.push(Buffer.from('data:\n'.repeat(2000)))).toThrow(RangeError)
})
