import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'

/**
 * The misbehaviours of the hostile fixtures, by tool name. Each breaks one rule and keeps the
 * others. The argument `framing` breaks the framing of messages separately.
 */

export interface Exchange {
  /** The request's id as written in the JSON, so that large integers return unchanged. */
  readonly id: string
  /** The progress token as written in the JSON, if there is one. */
  readonly progressToken: string | undefined
  readonly arguments: Readonly<Record<string, unknown>>
  /** True for a request of the modern era, whose results have a type. */
  readonly modern: boolean
  /** Sends one message in the frame of the binding. */
  send(message: string | Buffer): Promise<void>
  /** Sends a part of a message, without the end of the frame. */
  raw(bytes: string | Buffer): Promise<void>
  /** Sends a request to the client, and resolves with the client's raw answer. `id` is JSON. */
  ask(id: string, method: string, params: string): Promise<string>
  /** Ends the exchange after its last message. */
  end(): void
  /** Breaks the connection, or ends the process. */
  cut(): void
}

type Behaviour = (exchange: Exchange) => Promise<void>

const text = (value: string): string => JSON.stringify({ type: 'text', text: value })

/** A result with one text, in the form of the request's era. */
const resultOf = (exchange: Exchange, value: string): string =>
  `{"content":[${text(value)}]${exchange.modern ? ',"resultType":"complete"' : ''}}`

const response = (id: string, result: string): string =>
  `{"jsonrpc":"2.0","id":${id},"result":${result}}`

const failure = (id: string, code: number, message: string, data?: string): string =>
  `{"jsonrpc":"2.0","id":${id},"error":{"code":${code},"message":"${message}"` +
  (data === undefined ? '}}' : `,"data":${data}}}`)

async function answer(exchange: Exchange, value = 'ok'): Promise<void> {
  await exchange.send(response(exchange.id, resultOf(exchange, value)))
  exchange.end()
}

/** Sends one message in place of the answer, and nothing else. */
const only =
  (message: (exchange: Exchange) => string | Buffer): Behaviour =>
  async (exchange) => {
    await exchange.send(message(exchange))
    exchange.end()
  }

/** Sends one message first, and then a proper answer. */
const first =
  (message: (exchange: Exchange) => string | Buffer): Behaviour =>
  async (exchange) => {
    await exchange.send(message(exchange))
    await answer(exchange)
  }

const notification = (method: string, params: string): string =>
  `{"jsonrpc":"2.0","method":"${method}","params":${params}}`
const progress = (token: string, value: number): string =>
  notification('notifications/progress', `{"progressToken":${token},"progress":${value},"total":3}`)
const elicitation = JSON.stringify({
  mode: 'form',
  message: '?',
  requestedSchema: { type: 'object', properties: { a: { type: 'string' } } },
})
const inputRequired = (exchange: Exchange, members: string): string =>
  response(exchange.id, `{"resultType":"input_required"${members}}`)
const number = (value: unknown, otherwise: number): number =>
  typeof value === 'number' ? value : otherwise

const behaviours = {
  // A proper answer, so that a test can break the framing alone.
  echo: (exchange) => answer(exchange, JSON.stringify(exchange.arguments)),
  numbers: only((exchange) =>
    response(
      exchange.id,
      '{"content":[],"structuredContent":{"big":12345678901234567890,"one":1.0,"small":1e-7},' +
        '"resultType":"complete"}',
    ),
  ),

  // Faults in the envelope of the answer.
  wrong_id: only((exchange) => response('"not yours"', resultOf(exchange, 'for nobody'))),
  id_as_other_type: only((exchange) =>
    response(exchange.id.startsWith('"') ? '0' : `"${exchange.id}"`, resultOf(exchange, 'almost')),
  ),
  no_id: only((exchange) => `{"jsonrpc":"2.0","result":${resultOf(exchange, 'for nobody')}}`),
  null_id_error: only(() => '{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no"}}'),
  result_and_error: only(
    (exchange) =>
      `{"jsonrpc":"2.0","id":${exchange.id},"result":{},"error":{"code":1,"message":"both"}}`,
  ),
  neither: only((exchange) => `{"jsonrpc":"2.0","id":${exchange.id}}`),
  wrong_version: only((exchange) => `{"jsonrpc":"1.0","id":${exchange.id},"result":{}}`),
  duplicate_keys: only(
    (exchange) =>
      '{"jsonrpc":"2.0","id":"not ' +
      `yours","id":${exchange.id},"result":{},"result":${resultOf(exchange, 'last')}}`,
  ),
  odd_error: only((exchange) => `{"jsonrpc":"2.0","id":${exchange.id},"error":"it broke"}`),
  odd_error_code: only(
    (exchange) =>
      `{"jsonrpc":"2.0","id":${exchange.id},"error":{"code":1e99,"message":null,"data":{"a":[]}}}`,
  ),
  error: only(({ id, arguments: { code } }) =>
    failure(id, number(code, -32000), 'refused', '{"secret":"of this hop"}'),
  ),
  scalar_result: only((exchange) => response(exchange.id, '"text"')),
  null_result: only((exchange) => response(exchange.id, 'null')),
  batch: only((exchange) => `[${response(exchange.id, resultOf(exchange, 'in a list'))}]`),
  unknown_result_type: only((exchange) =>
    response(exchange.id, '{"resultType":"surprise","content":[]}'),
  ),
  wrong_content: only((exchange) =>
    response(exchange.id, '{"content":"text","isError":"no","resultType":"complete"}'),
  ),

  // Faults in the number and timing of answers.
  never: async () => undefined,
  late: async (exchange) => {
    await sleep(number(exchange.arguments['milliseconds'], 500))
    await answer(exchange)
  },
  duplicate_answer: async (exchange) => {
    await exchange.send(response(exchange.id, resultOf(exchange, 'first')))
    await exchange.send(response(exchange.id, resultOf(exchange, 'second')))
    exchange.end()
  },
  end_without_answer: async (exchange) => exchange.end(),
  cut: async (exchange) => exchange.cut(),
  cut_inside: async (exchange) => {
    await exchange.raw(`{"jsonrpc":"2.0","id":${exchange.id},"resu`)
    exchange.cut()
  },
  cut_after_notification: async (exchange) => {
    await exchange.send(
      notification('notifications/message', '{"level":"info","data":"about to break"}'),
    )
    exchange.cut()
  },

  // Texts that are no message.
  not_json: first(() => '<html>busy</html>'),
  empty_message: first(() => ''),
  json_but_no_message: first(() => '42'),
  truncated_json: first(() => '{"jsonrpc":"2.0","method":"notifications/mess'),
  bad_utf8: only((exchange) =>
    Buffer.concat([
      Buffer.from(
        `{"jsonrpc":"2.0","id":${exchange.id},"result":{"content":[{"type":"text","text":"`,
      ),
      Buffer.from([0xc3, 0x28, 0xff]),
      Buffer.from('"}]}}'),
    ]),
  ),
  lone_surrogate: only((exchange) =>
    response(
      exchange.id,
      `{"content":[{"type":"text","text":"\\ud800 alone, ` +
        `\\u0000 and \\u2028"}],"resultType":"complete"}`,
    ),
  ),
  prototype_keys: only((exchange) =>
    response(
      exchange.id,
      '{"content":[],"__proto__":{"polluted":true},' +
        '"constructor":{"prototype":{"polluted":true}},"resultType":"complete"}',
    ),
  ),

  // Faults of size.
  flood: async (exchange) => {
    const message = notification(
      'notifications/message',
      `{"level":"info","data":"${'x'.repeat(number(exchange.arguments['bytes'], 1000))}"}`,
    )
    for (let left = number(exchange.arguments['count'], 10_000); left > 0; left -= 1)
      await exchange.send(message)
    await answer(exchange)
  },
  big: (exchange) => answer(exchange, 'x'.repeat(number(exchange.arguments['bytes'], 1_000_000))),
  deep: only((exchange) => {
    const depth = number(exchange.arguments['depth'], 100_000)
    return response(
      exchange.id,
      `{"content":[],"deep":${'['.repeat(depth)}${']'.repeat(depth)},"resultType":"complete"}`,
    )
  }),
  endless: async (exchange) => {
    // An endless message: its reader must give up at some size, or when the caller does.
    const part = 'x'.repeat(64 * 1024)
    await exchange.raw(
      `{"jsonrpc":"2.0","id":${exchange.id},"result":{"content":[{"type":"text","text":"`,
    )
    for (
      let left = number(exchange.arguments['bytes'], 1_000_000_000);
      left > 0;
      left -= part.length
    )
      await exchange.raw(part)
  },

  // Requests to the client. `ids` are JSON texts: 0, "", large integers.
  ask: async (exchange) => {
    const ids = Array.isArray(exchange.arguments['ids'])
      ? exchange.arguments['ids'].map(String)
      : ['0', '""', '12345678901234567890']
    const answers: string[] = []
    for (const id of ids) answers.push(await exchange.ask(id, 'elicitation/create', elicitation))
    await answer(exchange, answers.join('\n'))
  },
  ask_twice_with_one_id: async (exchange) => {
    const answers = await Promise.all([
      exchange.ask('7', 'elicitation/create', elicitation),
      exchange.ask('7', 'sampling/createMessage', '{"messages":[],"maxTokens":1}'),
    ])
    await answer(exchange, answers.join('\n'))
  },
  ask_and_answer_at_once: async (exchange) => {
    void exchange.ask('1', 'elicitation/create', elicitation)
    await answer(exchange, 'without waiting')
  },
  ask_after_answer: async (exchange) => {
    await exchange.send(response(exchange.id, resultOf(exchange, 'answered')))
    void exchange.ask('1', 'elicitation/create', elicitation)
    await sleep(50)
    exchange.end()
  },
  ask_with_the_calls_id: async (exchange) =>
    answer(exchange, await exchange.ask(exchange.id, 'elicitation/create', elicitation)),
  ask_something_unknown: async (exchange) =>
    answer(exchange, await exchange.ask('1', 'mind/read', '{}')),
  ask_without_params: first(() => '{"jsonrpc":"2.0","id":1,"method":"elicitation/create"}'),
  cancel_own_question: async (exchange) => {
    void exchange.ask('9', 'elicitation/create', elicitation)
    await exchange.send(
      notification('notifications/cancelled', '{"requestId":9,"reason":"never mind"}'),
    )
    await answer(exchange)
  },
  cancel_the_call: first((exchange) =>
    notification('notifications/cancelled', `{"requestId":${exchange.id}}`),
  ),

  // Faults in notifications.
  unknown_notification: first(() => notification('notifications/vendor', '{"a":1}')),
  foreign_progress: first(() => progress('"not yours"', 1)),
  wild_progress: async (exchange) => {
    for (const value of [3, 1, -1, 1e308])
      await exchange.send(progress(exchange.progressToken ?? '1', value))
    await exchange.send(response(exchange.id, resultOf(exchange, 'ok')))
    await exchange.send(progress(exchange.progressToken ?? '1', 2))
    exchange.end()
  },
  message_without_level: first(() => notification('notifications/message', '{}')),

  // Faults in the questions of the modern era.
  nothing_required: only((exchange) => inputRequired(exchange, '')),
  state_forever: only((exchange) => inputRequired(exchange, ',"requestState":"again"')),
  odd_question_keys: only((exchange) =>
    inputRequired(
      exchange,
      `,"inputRequests":{"":{"method":"elicitation/create","params":${elicitation}},` +
        '"__proto__":{"method":"roots/list","params":{}}},"requestState":""',
    ),
  ),
  unknown_question: only((exchange) =>
    inputRequired(exchange, ',"inputRequests":{"a":{"method":"mind/read","params":{}}}'),
  ),
  big_state: only((exchange) =>
    inputRequired(
      exchange,
      `,"requestState":"${'s'.repeat(number(exchange.arguments['bytes'], 1_000_000))}"`,
    ),
  ),
} satisfies Record<string, Behaviour>

const subscriptionMeta = (id: string): string =>
  `"_meta":{"io.modelcontextprotocol/subscriptionId":${id}}`
const acknowledged = (id: string, honoured = '{"toolsListChanged":true}'): string =>
  notification(
    'notifications/subscriptions/acknowledged',
    `{"notifications":${honoured},${subscriptionMeta(id)}}`,
  )
const toolsChanged = (id: string): string =>
  notification('notifications/tools/list_changed', `{${subscriptionMeta(id)}}`)

/** The faults in `subscriptions/listen`, by the URI `hostile://…` that the client listens to. */
const listeners = {
  properly: async (exchange) => {
    await exchange.send(acknowledged(exchange.id))
    await exchange.send(toolsChanged(exchange.id))
  },
  unacknowledged: (exchange) => exchange.send(toolsChanged(exchange.id)),
  others: async (exchange) => {
    await exchange.send(acknowledged('"not yours"'))
    await exchange.send(acknowledged(exchange.id))
    await exchange.send(toolsChanged('"not yours"'))
    await exchange.send(notification('notifications/tools/list_changed', '{}'))
  },
  unasked: async (exchange) => {
    await exchange.send(acknowledged(exchange.id, '{}'))
    await exchange.send(toolsChanged(exchange.id))
    await exchange.send(
      notification(
        'notifications/resources/updated',
        `{"uri":"hostile://another",${subscriptionMeta(exchange.id)}}`,
      ),
    )
  },
  ends: async (exchange) => {
    await exchange.send(acknowledged(exchange.id))
    await exchange.send(
      response(exchange.id, `{"resultType":"complete",${subscriptionMeta(exchange.id)}}`),
    )
    exchange.end()
  },
  refuses: only(({ id }) => failure(id, -32603, 'Subscription limit reached')),
  breaks: async (exchange) => {
    await exchange.send(acknowledged(exchange.id))
    exchange.cut()
  },
} satisfies Record<string, Behaviour>

/** The names of the tools of every hostile fixture. */
export const hostileTools: readonly string[] = Object.keys(behaviours)

/** Runs the named behaviour of a tool or listener. An unknown name gets a proper answer. */
export async function misbehave(request: HostileRequest, exchange: Exchange): Promise<void> {
  const [table, proper]: [Record<string, Behaviour>, Behaviour] =
    request.method === 'tools/call'
      ? [behaviours, behaviours.echo]
      : [listeners, listeners.properly]
  await (table[request.name] ?? proper)(exchange)
}

/**
 * An answer to `server/discover` of an old, odd or missing server. The bodies are those of real
 * servers.
 */
export interface ProbeReply {
  readonly status: number
  readonly contentType?: string
  /** The body for the id of a request. Without it there is no answer at all. */
  readonly body?: (id: string) => string
}

const probeError =
  (code: number, message: string, data?: string, fixedId?: string) =>
  (id: string): string =>
    failure(fixedId ?? id, code, message, data)
const versions = (...supported: string[]): string =>
  JSON.stringify({ supported, requested: '2026-07-28' })

export const probeReplies = {
  uninitialized: {
    status: 400,
    body: probeError(-32000, 'Bad Request: Server not initialized', undefined, 'null'),
  },
  unknown_method: { status: 200, body: probeError(-32601, 'Method not found') },
  invalid_params: { status: 200, body: probeError(-32602, 'Invalid request parameters') },
  missing_session: {
    status: 400,
    body: probeError(-32600, 'Bad Request: Missing session ID', undefined, '"server-error"'),
  },
  legacy_versions: {
    status: 400,
    body: probeError(-32022, 'Unsupported protocol version', versions('2025-11-25', '2025-06-18')),
  },
  later_versions: {
    status: 400,
    body: probeError(-32022, 'Unsupported protocol version', versions('2027-06-30')),
  },
  exception: {
    status: 400,
    body: () => '{"cause":null,"stackTrace":[],"message":"Session ID missing","suppressed":[]}',
  },
  page: {
    status: 404,
    contentType: 'text/html',
    body: () => '<!DOCTYPE html><pre>Cannot POST /mcp</pre>',
  },
  no_versions: {
    status: 200,
    body: (id) => response(id, '{"resultType":"complete","capabilities":{}}'),
  },
  unauthorized: { status: 401, body: () => '{"error":"unauthorized"}' },
  unavailable: { status: 503, contentType: 'text/plain', body: () => 'upstream connect error' },
  silent: { status: 200 },
} satisfies Record<string, ProbeReply>

export type Probe = keyof typeof probeReplies

/** The answers of a hostile server to a client that only asks for its era. */
export interface Manners {
  /** The answer to a probe. Undefined: a proper answer. */
  readonly probe: ProbeReply | undefined
  /** True if the server refuses clients of the legacy era. */
  readonly modernOnly: boolean
}

/** Reads the switches `--probe NAME` and `--modern-only` of a command line. */
export function readManners(): Manners {
  const { values } = parseArgs({
    options: { probe: { type: 'string' }, 'modern-only': { type: 'boolean', default: false } },
  })
  const replies: Record<string, ProbeReply> = probeReplies
  const probe = values.probe === undefined ? undefined : replies[values.probe]
  if (values.probe !== undefined && probe === undefined)
    throw new Error(`${values.probe} is none of ${Object.keys(replies).join(', ')}`)
  return { probe, modernOnly: values['modern-only'] }
}

/** The answer of a modern-only server to legacy clients. */
export const modernAlone = probeError(
  -32022,
  'Unsupported protocol version',
  '{"supported":["2026-07-28"],"requested":"2025-11-25"}',
)

/** One request as the hostile fixtures read it. */
export interface HostileRequest {
  readonly id: string | undefined
  readonly method: string | undefined
  /** The called tool, or the requested listener. */
  readonly name: string
  readonly progressToken: string | undefined
  readonly arguments: Readonly<Record<string, unknown>>
  readonly modern: boolean
}

interface Params {
  readonly name?: string
  readonly arguments?: Record<string, unknown>
  readonly _meta?: Record<string, unknown>
  readonly notifications?: { readonly resourceSubscriptions?: readonly string[] }
}

/** Reads a message of a client. Undefined if the text is no JSON object. */
export function readRequest(source: string): HostileRequest | undefined {
  let message: { id?: unknown; method?: string; params?: Params }
  try {
    message = JSON.parse(source) as typeof message
  } catch {
    return undefined
  }

  if (typeof message !== 'object' || message === null) return undefined
  const meta = message.params?._meta
  return {
    id: message.id === undefined ? undefined : sourceOf(source, 'id', message.id),
    method: message.method,
    name:
      message.params?.name ??
      /^hostile:\/\/(.+)/.exec(
        message.params?.notifications?.resourceSubscriptions?.[0] ?? '',
      )?.[1] ??
      '',
    progressToken:
      meta?.['progressToken'] === undefined
        ? undefined
        : sourceOf(source, 'progressToken', meta['progressToken']),
    arguments: message.params?.arguments ?? {},
    modern: meta?.['io.modelcontextprotocol/protocolVersion'] !== undefined,
  }
}

/**
 * The source text of a scalar member, because JavaScript cannot hold all numbers that must return
 * unchanged.
 */
function sourceOf(source: string, member: string, value: unknown): string {
  for (const [, found = ''] of source.matchAll(
    new RegExp(`"${member}"\\s*:\\s*("(?:[^"\\\\]|\\\\.)*"|[-+.\\w]+)`, 'g'),
  ))
    if (JSON.parse(found) === value) return found
  return JSON.stringify(value)
}

/** True for a request that a misbehaviour answers. */
export const isCommand = ({ method }: HostileRequest): boolean =>
  method === 'tools/call' || method === 'subscriptions/listen'

const serverInfo = { name: 'hostile', version: '1.0.0' }
const listing = {
  tools: hostileTools.map((name) => ({
    name,
    description: name,
    inputSchema: { type: 'object' },
  })),
}
const modernMembers = {
  resultType: 'complete',
  ttlMs: 0,
  cacheScope: 'private',
  _meta: { 'io.modelcontextprotocol/serverInfo': serverInfo },
}

const legacyResults: Readonly<Record<string, object>> = {
  initialize: {
    protocolVersion: '2025-11-25',
    capabilities: { tools: {}, logging: {} },
    serverInfo,
  },
  'tools/list': listing,
  ping: {},
}

const modernResults: Readonly<Record<string, object>> = {
  'server/discover': {
    supportedVersions: ['2026-07-28'],
    capabilities: { tools: { listChanged: true }, resources: { subscribe: true } },
    ...modernMembers,
  },
  'tools/list': { ...listing, ...modernMembers },
  ping: {},
}

/**
 * The answer of every well-behaved method of a hostile fixture, or undefined for an unknown method.
 */
export function handshake({ method, modern }: HostileRequest): string | undefined {
  const result = (modern ? modernResults : legacyResults)[method ?? '']
  return result && JSON.stringify(result)
}

/** Questions of a hostile server that the client has not answered, the oldest first. */
export class OpenQuestions {
  readonly #open = new Map<string, ((answer: string) => void)[]>()

  /** Resolves with the next answer under this key. */
  next(key: string): Promise<string> {
    return new Promise((resolve) => this.#open.set(key, [...(this.#open.get(key) ?? []), resolve]))
  }

  answer(key: string, source: string): void {
    const [resolve, ...rest] = this.#open.get(key) ?? []
    this.#open.set(key, rest)
    resolve?.(source)
  }
}

/** Writes the pieces with pauses, so that they arrive separately. */
export async function writeApart(
  write: (piece: Buffer) => void,
  pieces: Iterable<Buffer>,
): Promise<void> {
  for (const piece of pieces) {
    write(piece)
    await sleep(1)
  }
}

/** Cuts bytes into single bytes. */
export function* everyByte(bytes: Buffer): Generator<Buffer> {
  for (let index = 0; index < bytes.length; index += 1) yield bytes.subarray(index, index + 1)
}
