import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTcpServer, type AddressInfo } from 'node:net'
import { hostname } from 'node:os'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestGateway } from '../fixtures/gateway.ts'
import { modern, modernRequest, type RpcAnswer, type RpcOptions } from '../fixtures/mcp-requests.ts'

let gateway: TestGateway
let service: Server
let origin = ''
/** The last request to the service, by path. */
const seen = new Map<
  string,
  { readonly headers: IncomingMessage['headers']; readonly body: string; closed: boolean }
>()
type Behaviour = (response: ServerResponse, body: string) => void
const behaviours = new Map<string, Behaviour>()

beforeAll(async () => {
  gateway = await TestGateway.open({
    tools: { answerLimitBytes: 100_000, callTimeoutSeconds: 4, pageSize: 3 },
  })
  service = createServer((request, response) => {
    const { url = '' } = request
    let body = ''
    request.setEncoding('utf8').on('data', (part: string) => (body += part))
    request.on('end', () => {
      const note = {
        headers: { ...request.headers, ':method': request.method ?? '' },
        body,
        closed: false,
      }
      seen.set(url, note)
      response.once('close', () => (note.closed = true))
      behaviours.get(url)?.(response, body)
    })
  })
  await new Promise<void>((resolve) => service.listen(0, '127.0.0.1', resolve))
  origin = `http://127.0.0.1:${(service.address() as AddressInfo).port}`
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  service.closeAllConnections()
  await new Promise((resolve) => service.close(resolve))
})

let count = 0

interface Registered {
  readonly name: string
  readonly path: string
}

/** Registers a tool whose endpoint has this behaviour. */
async function tool(
  behave: Behaviour,
  definition: object = {},
  more: object = {},
  owner = 'dev',
): Promise<Registered> {
  const name = `tool-${(count += 1)}`
  const path = `/${name}`
  behaviours.set(path, behave)
  const body = JSON.stringify({
    name,
    endpoint: origin + path,
    toolDefinition: { tool: { name, ...definition } },
    ...more,
  })
  const headers = { 'content-type': 'application/json', 'x-dev-userid': owner }
  const { status, body: answer } = await gateway.send('/tools', { headers, body })
  if (status !== 201) throw new Error(answer.toString())
  return { name, path }
}

const json =
  (value: unknown, status = 200): Behaviour =>
  (response) =>
    void response
      .writeHead(status, { 'content-type': 'application/json' })
      .end(typeof value === 'string' ? value : JSON.stringify(value))

const typed =
  (
    type: string | undefined,
    body: string | Buffer,
    status = 200,
    headers: Readonly<Record<string, string>> = {},
  ): Behaviour =>
  (response) =>
    void response
      .writeHead(status, { ...(type === undefined ? {} : { 'content-type': type }), ...headers })
      .end(body)

interface Result {
  readonly content: readonly Readonly<Record<string, unknown>>[]
  readonly structuredContent?: unknown
  readonly isError?: boolean
  readonly _meta: Readonly<Record<string, unknown>>
}

async function call(
  name: string,
  args: unknown = {},
  options: RpcOptions = {},
): Promise<RpcAnswer & { readonly result: Result }> {
  const answer = await modern(gateway, 'tools/call', { name, arguments: args }, options)
  return { ...answer, result: answer.message.result as unknown as Result }
}

/** Gives text and code of a failed call. */
async function failed(
  name: string,
  args: unknown = {},
): Promise<{ text: string; code: unknown; retryable: unknown }> {
  const { result } = await call(name, args)
  expect(result.isError).toBe(true)
  const error = result._meta['mcp-gateway/error'] as { code: unknown; retryable: unknown }
  return { text: String(result.content[0]?.['text']), code: error.code, retryable: error.retryable }
}

describe('a call', () => {
  test('a call is a POST of the arguments, byte for byte, with the caller’s context', async () => {
    const { name, path } = await tool(json({}), {
      inputSchema: { type: 'object', properties: { n: { type: 'integer' } } },
    })
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    // A double cannot hold this number.
    const raw =
      `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"${name}",` +
      '"arguments":{"n":  9007199254740993},' +
      '"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",' +
      `"io.modelcontextprotocol/clientCapabilities":{},"traceparent":"${traceparent}"}}}`
    const before = Date.now()
    const sent = await gateway.send('/mcp', {
      headers: {
        'content-type': 'application/json',
        'mcp-protocol-version': '2026-07-28',
        'mcp-method': 'tools/call',
        'mcp-name': name,
        'x-dev-userid': 'dev',
        'x-dev-roles': 'mcp.admin,b c',
        'x-request-id': 'my-request',
        'idempotency-key': '"my-key"',
        authorization: 'Bearer secret',
        cookie: 'a=b',
      },
      body: raw,
    })
    expect(sent.status).toBe(200)

    const got = seen.get(path)
    expect(got?.body).toBe('{"n":  9007199254740993}')
    expect(got?.headers).toMatchObject({
      ':method': 'POST',
      'content-type': 'application/json',
      'x-mcp-userid': 'dev',
      'x-mcp-roles': 'mcp.admin,b%20c',
      'x-request-id': 'my-request',
      'idempotency-key': '"my-key"',
      'x-mcp-tool': name,
      traceparent,
    })

    const deadline = Date.parse(String(got?.headers['x-mcp-deadline']))
    expect(deadline).toBeGreaterThanOrEqual(before + 4000)
    expect(deadline).toBeLessThanOrEqual(Date.now() + 4000)
    for (const secret of ['authorization', 'cookie', 'mcp-session-id', 'x-dev-userid'])
      expect(got?.headers[secret]).toBeUndefined()
  })

  test('a call without arguments sends {}', async () => {
    const { name, path } = await tool(json({}))
    await modern(gateway, 'tools/call', { name })
    expect(seen.get(path)?.body).toBe('{}')
    await modern(gateway, 'tools/call', { name, arguments: null })
    expect(seen.get(path)?.body).toBe('{}')
  })

  test('a call with wrong arguments reaches no tool, and the error is precise', async () => {
    const inputSchema = {
      type: 'object',
      properties: {
        location: { type: 'string' },
        days: { type: 'array', items: { type: 'integer' } },
      },
      required: ['location'],
    }
    const { name, path } = await tool(json({}), { inputSchema })
    const { text, code, retryable } = await failed(name, { days: [1, 'two'] })
    expect([code, retryable]).toEqual(['invalid_arguments', false])
    expect(text).toContain('arguments/location: is required')
    expect(text).toContain('arguments/days/1: must be integer')
    expect(text).toContain('Call again with corrected arguments.')
    expect(seen.has(path)).toBe(false)
    const array = await modern(gateway, 'tools/call', { name, arguments: [1] })
    expect(array.message.error).toMatchObject({ code: -32602 })
  })

  test('calls of missing and of forbidden names get the same refusal', async () => {
    const { name } = await tool(json({}))
    const bob = { headers: { 'x-dev-userid': 'bob' } }
    const hidden = await call(name, {}, bob)
    const missing = await call('no-such-tool', {}, bob)
    expect(hidden.message.error).toEqual({ code: -32602, message: `Unknown tool: ${name}` })
    expect(missing.message.error).toEqual({ code: -32602, message: 'Unknown tool: no-such-tool' })
    expect(seen.has(`/${name}`)).toBe(false)
  })

  test('a call with a pattern that backtracks ends soon', async () => {
    const { name } = await tool(json({}), {
      inputSchema: { type: 'object', properties: { a: { pattern: '^(a+)+$' } } },
    })
    const { code } = await failed(name, { a: `${'a'.repeat(50)}!` })
    expect(code).toBe('schema_too_slow')
  })

  test('a call whose pattern backtracks holds up no other call', async () => {
    const inputSchema = { type: 'object', properties: { a: { pattern: '^(a+)+$' } } }
    const hostile = await Promise.all(
      Array.from({ length: 8 }, () => tool(json({}), { inputSchema })),
    )
    const simple = await tool(json({}))
    const checked = await tool(
      json({}),
      { inputSchema: { type: 'object', properties: { a: { pattern: '^b$' } } } },
      {},
      'alice',
    )
    const order: unknown[] = []
    const slow = hostile.map(async ({ name }) =>
      order.push((await failed(name, { a: `${'a'.repeat(50)}!` })).code),
    )
    const others = [
      call(simple.name).then(({ result }) => order.push(result.structuredContent)),
      call(checked.name, { a: 'b' }, { headers: { 'x-dev-userid': 'alice' } }).then(({ result }) =>
        order.push(result.structuredContent),
      ),
    ]
    await Promise.all(others)
    expect(order.length).toBeLessThan(10)
    expect(order.filter((each) => each !== 'schema_too_slow')).toEqual([{}, {}])
    await Promise.all(slow)
    expect(order.filter((each) => each === 'schema_too_slow')).toHaveLength(8)
  })

  test('a call must repeat in headers the arguments that the schema declares so', async () => {
    const inputSchema = {
      type: 'object',
      properties: { region: { type: 'string', 'x-mcp-header': 'Region' } },
    }
    const { name } = await tool(json({ ok: true }), { inputSchema })
    const without = await call(name, { region: 'eu' })
    expect([without.status, without.message.error?.code]).toEqual([400, -32020])
    const other = await call(name, { region: 'eu' }, { headers: { 'mcp-param-region': 'us' } })
    expect(other.message.error?.code).toBe(-32020)
    const right = await call(name, { region: 'eu' }, { headers: { 'mcp-param-region': 'eu' } })
    expect(right.result.structuredContent).toEqual({ ok: true })
  })

  test('a call that the client gives up ends at the tool', async () => {
    const { name, path } = await tool(() => undefined)
    const gone = new AbortController()
    const open = modern(
      gateway,
      'tools/call',
      { name, arguments: {} },
      { signal: gone.signal },
    ).catch(() => 'gone')
    await expect.poll(() => seen.has(path)).toBe(true)
    gone.abort()
    expect(await open).toBe('gone')
    await expect.poll(() => seen.get(path)?.closed).toBe(true)
  })
})

describe('an answer', () => {
  test('a JSON answer is text and structured content, with big numbers as they are', async () => {
    const { name } = await tool(json('{\n  "n": 9007199254740993\n}'))
    const { result } = await call(name)
    expect(result.content).toEqual([{ type: 'text', text: '{\n  "n": 9007199254740993\n}' }])
    const raw = await gateway.send('/mcp', modernRequest('tools/call', { name }))
    expect(raw.body.toString()).toContain('"structuredContent":{   "n": 9007199254740993 }')
  })

  test('an answer of any JSON value is structured content', async () => {
    for (const value of [[1, 2], 'text', 3, null]) {
      const { name } = await tool(json(JSON.stringify(value)))
      expect((await call(name)).result.structuredContent).toEqual(value)
    }
  })

  test.each([
    [
      'text/plain; charset=iso-8859-1',
      Buffer.from('Zo\xeb', 'latin1'),
      { type: 'text', text: 'Zoë' },
    ],
    ['text/html', '<p>x</p>', { type: 'text', text: '<p>x</p>' }],
    ['application/xml', '<a/>', { type: 'text', text: '<a/>' }],
    ['image/png', Buffer.from([1, 2]), { type: 'image', data: 'AQI=', mimeType: 'image/png' }],
    ['audio/wav; x=y', Buffer.from([1, 2]), { type: 'audio', data: 'AQI=', mimeType: 'audio/wav' }],
    [
      'application/pdf',
      Buffer.from([1, 2]),
      {
        type: 'resource',
        resource: {
          mimeType: 'application/pdf',
          blob: 'AQI=',
          uri: expect.stringMatching(/^tool:\/\/tool-\d+\/./) as unknown,
        },
      },
    ],
    [undefined, 'just text', { type: 'text', text: 'just text' }],
    [
      undefined,
      Buffer.from([0xff, 0xfe]),
      {
        type: 'resource',
        resource: {
          mimeType: 'application/octet-stream',
          blob: '//4=',
          uri: expect.anything() as unknown,
        },
      },
    ],
    [
      'not a type',
      Buffer.from([0xff]),
      {
        type: 'resource',
        resource: {
          mimeType: 'application/octet-stream',
          blob: '/w==',
          uri: expect.anything() as unknown,
        },
      },
    ],
  ])('an answer of type %s keeps its form', async (type, body, content) => {
    const { name } = await tool(typed(type, body))
    const { result } = await call(name)
    expect(result.isError).toBeUndefined()
    expect(result.content).toEqual([content])
  })

  test('an empty answer has no content', async () => {
    const { name } = await tool(typed(undefined, '', 204))
    expect((await call(name)).result.content).toEqual([])
  })

  test('an answer that is an MCP result passes as it is', async () => {
    const given = {
      content: [{ type: 'text', text: 'a', annotations: { priority: 1 } }],
      structuredContent: { b: 1 },
      isError: true,
      _meta: { 'x/y': 1 },
    }
    const { name } = await tool(json(given))
    const { result } = await call(name)
    expect(result).toMatchObject(given)
  })

  test.each([
    ['members of its own', { content: [{ type: 'text', text: 'a' }], other: 1 }],
    ['content of an unknown kind', { content: [{ type: 'video', data: 'a' }] }],
    ['content that is no list', { content: 'a' }],
    ['a question to the client', { content: [], resultType: 'input_required' }],
  ])('an answer that looks like a result but has %s is data', async (_what, value) => {
    const { name } = await tool(json(value))
    expect((await call(name)).result.structuredContent).toEqual(value)
  })

  test('the output schema checks an answer', async () => {
    const outputSchema = { type: 'object', properties: { t: { type: 'number' } }, required: ['t'] }
    const good = await tool(json({ t: 1 }), { outputSchema })
    expect((await call(good.name)).result.structuredContent).toEqual({ t: 1 })
    const bad = await tool(json({ t: 'warm' }), { outputSchema })
    expect(await failed(bad.name)).toMatchObject({
      code: 'output_mismatch',
      text: expect.stringContaining('answer/t: must be number') as unknown,
    })
    const text = await tool(typed('text/plain', 'warm'), { outputSchema })
    expect(await failed(text.name)).toMatchObject({
      code: 'wrong_content_type',
      text: expect.stringContaining('text/plain') as unknown,
    })
    const bare = await tool(json({ content: [] }), { outputSchema })
    expect((await failed(bare.name)).code).toBe('no_structured_content')
    const honest = await tool(json({ content: [{ type: 'text', text: 'no' }], isError: true }), {
      outputSchema,
    })
    expect((await call(honest.name)).result.content).toEqual([{ type: 'text', text: 'no' }])
    const large = await tool(json({ t: 1, list: Array.from({ length: 10_000 }, () => 1) }), {
      outputSchema,
    })
    expect((await call(large.name)).result.structuredContent).toMatchObject({ t: 1 })
  })

  test('an answer that cannot be checked in time is reported so, and not as wrong', async () => {
    const outputSchema = { type: 'object', properties: { t: { pattern: '^(a+)+$' } } }
    const { name } = await tool(json({ t: `${'a'.repeat(50)}!` }), { outputSchema })
    const { code, retryable, text } = await failed(name)
    expect([code, retryable]).toEqual(['schema_too_slow', false])
    expect(text).toContain("The tool's answer could not be checked within 250 ms")
  })

  test.each([
    [
      'application/x-ndjson',
      '{"progress":1,"total":3,"message":"one"}\n\n{"progress":2}\n{"done":true}\n',
    ],
    [
      'text/event-stream',
      ': hi\n\ndata: {"progress":1,"total":3,"message":"one"}\n\nevent: x\n' +
        'data: {"progress":2}\n\ndata: {"done":\ndata: true}\n\n',
    ],
  ])('an answer as %s reports its progress first', async (type, body) => {
    const { name } = await tool(typed(type, body))
    const { told, result } = await call(name, {}, { meta: { progressToken: 'p' } })
    expect(told.map(({ method, params }) => [method, params])).toEqual([
      ['notifications/progress', { progressToken: 'p', progress: 1, total: 3, message: 'one' }],
      ['notifications/progress', { progressToken: 'p', progress: 2 }],
    ])
    expect(result.structuredContent).toEqual({ done: true })
    expect((await call(name)).told).toEqual([])
  })

  test('every line of an answer but the last is progress, whatever it is', async () => {
    const { name } = await tool(typed('application/x-ndjson', '"a"\nstep two\n{"result":1}'))
    const { told, result } = await call(name, {}, { meta: { progressToken: 1 } })
    expect(told.map(({ params }) => params)).toEqual([
      { progressToken: 1, progress: 1, message: '"a"' },
      { progressToken: 1, progress: 2, message: 'step two' },
    ])
    expect(result.structuredContent).toEqual({ result: 1 })
    const none = await tool(typed('application/x-ndjson', '{"progress":1}\n'))
    expect((await failed(none.name)).code).toBe('no_answer')
  })
})

describe('a tool that misbehaves', () => {
  test.each([
    ['answers malformed JSON', json('{"a":'), 'malformed_json', false, 'malformed'],
    [
      'answers for ever',
      (response: ServerResponse) => endless(response, 'application/json'),
      'answer_too_large',
      false,
      '100000 bytes',
    ],
    [
      'sends one endless line',
      (response: ServerResponse) => endless(response, 'application/x-ndjson'),
      'answer_too_large',
      false,
      '100000 bytes',
    ],
    [
      'sends one endless event',
      (response: ServerResponse) => endless(response, 'text/event-stream', 'data: '),
      'answer_too_large',
      false,
      '100000 bytes',
    ],
    ['never answers', () => undefined, 'timeout', false, 'within 4 s'],
    [
      'begins and never ends',
      (response: ServerResponse) =>
        void response.writeHead(200, { 'content-type': 'application/json' }).write('{'),
      'timeout',
      false,
      '4 s',
    ],
    [
      'hangs up',
      (response: ServerResponse) => void response.destroy(),
      'broke_off',
      false,
      'may have run',
    ],
    [
      'hangs up in its answer',
      (response: ServerResponse) =>
        void (response.writeHead(200, { 'content-length': '100' }).write('x'),
        setTimeout(() => response.destroy(), 20)),
      'broke_off',
      false,
      'broke off',
    ],
    [
      'redirects',
      typed(undefined, '', 302, { location: 'http://169.254.169.254/' }),
      'redirect',
      false,
      'not followed',
    ],
    [
      'refuses with FastAPI',
      json({ detail: [{ loc: ['body', 'location'], msg: 'Field required' }] }, 422),
      'refused_arguments',
      false,
      'body.location: Field required',
    ],
    [
      'refuses with a problem',
      json({ title: 'Bad', detail: 'no such place' }, 400),
      'refused_arguments',
      false,
      'no such place',
    ],
    [
      'does not know the caller',
      json({ error: { message: 'who?' } }, 401),
      'tool_unauthenticated',
      false,
      'who?',
    ],
    [
      'does not allow it',
      typed('text/plain', 'no', 403),
      'tool_forbidden',
      false,
      '(HTTP 403): no',
    ],
    [
      'is not there',
      typed('text/html', '<h1>nginx on host7</h1>', 404),
      'tool_not_found',
      false,
      'HTTP 404',
    ],
    [
      'is called too often',
      typed('text/plain', 'slow down', 429, { 'retry-after': '7' }),
      'too_many_calls',
      true,
      'wait 7 s',
    ],
    ['is overloaded', typed(undefined, '', 503), 'tool_unavailable', true, 'HTTP 503'],
    [
      'fails',
      json({ message: 'boom\n    at run (/srv/app/secret.js:1:2)\nFile "/srv/x.py", line 3' }, 500),
      'tool_failed',
      false,
      'boom',
    ],
  ] as const)(
    'a tool that %s gets an error of its own',
    async (_what, behave, code, retryable, says) => {
      const { name } = await tool(behave as Behaviour)
      const answer = await failed(name)
      expect(answer).toMatchObject({ code, retryable })
      expect(answer.text).toContain(says)
      expect(answer.text).not.toMatch(/nginx|secret\.js|x\.py|127\.0\.0\.1/)
    },
  )

  test('a tool says whether it may be called again, and the gateway believes it', async () => {
    const { name } = await tool(json({}, 500), { annotations: { idempotentHint: true } })
    expect(await failed(name)).toMatchObject({ code: 'tool_failed', retryable: true })
  })

  test('the error quotes a tool’s message with a bounded length', async () => {
    const { name } = await tool(json({ message: 'x'.repeat(50_000) }, 500))
    expect((await failed(name)).text.length).toBeLessThan(2300)
    const long = await tool(typed('text/plain', 'y'.repeat(5_000_000), 500))
    expect((await failed(long.name)).text.length).toBeLessThan(2300)
  })

  test('a tool to which nobody listens is reported as unreached', async () => {
    const { name } = await tool(() => undefined, {}, { endpoint: 'http://127.0.0.1:9/x' })
    expect(await failed(name)).toMatchObject({
      code: 'unreachable',
      retryable: true,
      text: 'The tool cannot be reached.\nCalling again later may help.',
    })
  })

  test('a tool that speaks no HTTP is reported', async () => {
    const server = createTcpServer(
      (socket) =>
        void socket.on('error', () => undefined).once('data', () => socket.end('SSH-2.0-x\r\n')),
    )
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { name } = await tool(
      () => undefined,
      {},
      { endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` },
    )
    expect((await failed(name)).code).toBe('malformed_answer')
    await new Promise((resolve) => server.close(resolve))
  })
})

describe('an endpoint at an address that policy forbids', () => {
  test('the gateway never calls a forbidden address, whatever name hides it', async () => {
    await using strict = await TestGateway.open({ tools: { endpointNetworks: [] } })
    // A name of this machine other than localhost.
    const body = JSON.stringify({
      name: 'inner',
      endpoint: `http://${hostname()}:1/`,
      toolDefinition: { tool: { name: 'inner' } },
    })
    expect(
      (await strict.send('/tools', { headers: { 'content-type': 'application/json' }, body }))
        .status,
    ).toBe(201)
    const { message } = await modern(strict, 'tools/call', { name: 'inner' })
    expect(message.result?.['_meta']).toMatchObject({
      'mcp-gateway/error': { code: 'endpoint_forbidden', retryable: false },
    })
  })
})

/** Sends more than any limit, as fast as the client reads. */
function endless(response: ServerResponse, type: string, first = '"'): void {
  response.writeHead(200, { 'content-type': type })
  response.write(first)
  const pour = (): void => {
    while (!response.destroyed && response.write('x'.repeat(16_384)));
  }
  response.on('drain', pour)
  response.on('error', () => undefined)
  pour()
}
