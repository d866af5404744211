import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import {
  createServer,
  request as httpRequest,
  type ClientRequest,
  type IncomingMessage,
} from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ToolRule } from '../../src/core/fields/tool-rules.ts'
import { TestGateway, type Exchange } from '../fixtures/gateway.ts'
import { messagesOf, modernRequest } from '../fixtures/mcp-requests.ts'

const program = fileURLToPath(new URL('../fixtures/listing-server.js', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'mcpgw-rules-'))
const events = join(folder, 'events')
let gateway: TestGateway

beforeAll(async () => {
  writeFileSync(events, '')
  gateway = await TestGateway.open({
    runtime: { images: { listing: { command: [process.execPath, program, events] } } },
    audit: { dataPlane: 'denied', sinks: [{ type: 'file', path: join(folder, 'audit.log') }] },
  })
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true })
})

interface Body {
  readonly imageName: string
  readonly environmentVariables: Readonly<Record<string, string>>
}
const http = (environmentVariables: Body['environmentVariables']): Body => ({
  imageName: 'listing',
  environmentVariables,
})
const stdio = (speaks: string): Body => ({
  imageName: 'mcp-proxy',
  environmentVariables: {
    MCP_COMMAND: process.execPath,
    MCP_ARGS: `${program} ${events}`,
    SPEAKS: speaks,
  },
})
const servers: Readonly<Record<string, Body>> = {
  'a legacy server over HTTP': http({ SPEAKS: 'legacy' }),
  'a legacy server over event streams': http({ SPEAKS: 'legacy', ANSWERS: 'sse' }),
  'a modern server over HTTP': http({ SPEAKS: 'modern' }),
  'a modern server over event streams': http({ SPEAKS: 'modern', ANSWERS: 'sse' }),
  'a legacy server over stdio': stdio('legacy'),
  'a modern server over stdio': stdio('modern'),
}

/** Registers an adapter with a server of its own. A word marks the notes of that server. */
async function serve(
  body: Body,
  toolRules: readonly ToolRule[],
): Promise<{ readonly name: string; readonly tag: string }> {
  const name = `r${randomUUID().slice(0, 8)}`
  const environmentVariables = { ...body.environmentVariables, TAG: name }
  const { status, body: answer } = await gateway.send('/adapters', {
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      ...body,
      name,
      imageVersion: '1',
      environmentVariables,
      toolRules,
      requiredRoles: ['user'],
    }),
  })
  expect([status, answer.toString()]).toEqual([201, expect.any(String)])
  await gateway.untilReady(name, 1)
  return { name, tag: name }
}

interface Note {
  readonly called?: string
  readonly listed?: string
  readonly body?: string
}
const notes = (tag: string): Note[] =>
  readFileSync(events, 'utf8')
    .split('\n')
    // The last line may be half written.
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Note & { tag: string })
    .filter((each) => each.tag === tag)
const called = (tag: string): string[] => notes(tag).flatMap(({ called: tool }) => tool ?? [])

interface Answer {
  readonly status: number
  readonly result?: Readonly<Record<string, unknown>>
  readonly error?: { readonly code: number; readonly message: string }
}
type Ask = (
  method: string,
  params?: Readonly<Record<string, unknown>>,
  roles?: string,
) => Promise<Answer>

const identity = (roles: string): Record<string, string> => ({
  'x-dev-userid': 'uma',
  'x-dev-roles': roles,
})
const json = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' }
const answerOf = ({ status, body, headers }: Exchange): Answer => ({
  status,
  ...messagesOf(body.toString(), headers['content-type']).at(-1),
})

async function openSession(
  name: string,
  roles: string,
  protocolVersion = '2025-06-18',
): Promise<string> {
  const params = { protocolVersion, capabilities: {}, clientInfo: { name: 'test', version: '1' } }
  const opened = await gateway.send(`/adapters/${name}/mcp`, {
    headers: { ...json, ...identity(roles) },
    body: JSON.stringify({ jsonrpc: '2.0', id: 0, method: 'initialize', params }),
  })
  expect(opened.status).toBe(200)
  const session = String(opened.headers['mcp-session-id'])
  await gateway.send(`/adapters/${name}/mcp`, {
    headers: { ...json, ...identity(roles), 'mcp-session-id': session },
    body: '{"jsonrpc":"2.0","method":"notifications/initialized"}',
  })
  return session
}

const clients: Readonly<Record<string, (name: string) => Promise<Ask>>> = {
  'a legacy client': async (name) => {
    const session = await openSession(name, 'user')
    return async (method, params = {}, roles = 'user') =>
      answerOf(
        await gateway.send(`/adapters/${name}/mcp`, {
          headers: { ...json, ...identity(roles), 'mcp-session-id': session },
          body: JSON.stringify({ jsonrpc: '2.0', id: 5, method, params }),
        }),
      )
  },
  'a modern client': async (name) => {
    return async (method, params = {}, roles = 'user') => {
      const { headers, body } = modernRequest(method, params)
      const named =
        typeof params['name'] === 'string' ? { 'mcp-name': encoded(params['name']) } : {}
      return answerOf(
        await gateway.send(`/adapters/${name}/mcp`, {
          headers: { ...headers, ...named, ...identity(roles) },
          body,
        }),
      )
    }
  },
}
const encoded = (text: string): string =>
  /^[\x21-\x7e]+$/.test(text) ? text : `=?base64?${Buffer.from(text).toString('base64')}?=`

/** Lists all pages. */
async function list(ask: Ask, roles?: string): Promise<string[]> {
  const names: string[] = []
  let cursor: unknown
  do {
    const { result = {}, error } = await ask(
      'tools/list',
      cursor === undefined ? {} : { cursor },
      roles,
    )
    expect(error).toBeUndefined()
    names.push(...(result['tools'] as { name: string }[]).map(({ name }) => name))
    cursor = result['nextCursor']
  } while (cursor !== undefined)
  return names
}

const unknown = (tool: string) => ({ error: { code: -32602, message: `Unknown tool: ${tool}` } })

const rules: readonly ToolRule[] = [
  { effect: 'allow', tools: 'delete_*', roles: ['operator'] },
  { effect: 'deny', tools: 'delete_*' },
  { effect: 'allow', tools: '*', annotations: { readOnlyHint: true } },
  { effect: 'allow', tools: ['write_*', 'turn'], roles: ['operator'] },
]

const cells = Object.keys(servers).flatMap((server) =>
  Object.keys(clients).map((client) => [client, server] as const),
)

describe.each(cells)('rules for tools, for %s of %s', (client, server) => {
  test('tool rules hold for lists and calls, by name, hint and role of each request', async () => {
    const { name, tag } = await serve(servers[server] as Body, rules)
    const ask = await (clients[client] as (typeof clients)[string])(name)
    expect(await list(ask)).toEqual(['get_time', 'Grüße'])
    expect(await ask('tools/call', { name: 'get_time', arguments: {} })).toMatchObject({
      result: { content: [{ text: 'did get_time' }] },
    })
    expect(await ask('tools/call', { name: 'Grüße', arguments: {} })).toMatchObject({
      result: { content: [{ text: 'did Grüße' }] },
    })
    for (const tool of ['delete_all', 'DELETE_ALL', 'write_note', 'not_there', 'delete_not_there'])
      expect(await ask('tools/call', { name: tool, arguments: {} })).toMatchObject(unknown(tool))
    expect(called(tag)).toEqual(['get_time', 'Grüße'])

    const operator = 'user, operator'
    expect(await list(ask, operator)).toEqual(['get_time', 'write_note', 'delete_all', 'Grüße'])
    expect(await ask('tools/call', { name: 'delete_all', arguments: {} }, operator)).toMatchObject({
      result: { content: [{ text: 'did delete_all' }] },
    })
    // The next request without a role no longer has the role's rights.
    expect(await ask('tools/call', { name: 'delete_all', arguments: {} })).toMatchObject(
      unknown('delete_all'),
    )
    expect(await list(ask)).toEqual(['get_time', 'Grüße'])
    expect(called(tag)).toEqual(['get_time', 'Grüße', 'delete_all'])
  })

  test('changed tool rules hold at once, and removed ones leave nothing behind', async () => {
    const { name } = await serve(servers[server] as Body, [])
    const ask = await (clients[client] as (typeof clients)[string])(name)
    expect(await list(ask)).toHaveLength(4)
    await gateway.patch(name, { toolRules: [{ effect: 'allow', tools: 'get_*' }] })
    await expect.poll(() => list(ask)).toEqual(['get_time'])
    expect(await ask('tools/call', { name: 'write_note', arguments: {} })).toMatchObject(
      unknown('write_note'),
    )
    await gateway.patch(name, { toolRules: null })
    await expect.poll(() => list(ask)).toHaveLength(4)
    expect(await ask('tools/call', { name: 'write_note', arguments: {} })).toMatchObject({
      result: { content: [{ text: 'did write_note' }] },
    })
  })
})

describe.each(cells)('a list of 300,000 objects, for %s of %s', (client, server) => {
  test('a huge list is refused before it is read, and so are calls that depend on it', async () => {
    const given = servers[server] as Body
    const environmentVariables = { ...given.environmentVariables, PARTS: '300000' }
    const { name, tag } = await serve({ ...given, environmentVariables }, rules)
    const ask = await (clients[client] as (typeof clients)[string])(name)

    expect((await ask('tools/list')).result).toBeUndefined()
    expect(await ask('tools/call', { name: 'get_time', arguments: {} })).toMatchObject({
      error: { code: -32603 },
    })
    expect(called(tag)).toEqual([])
  })
})

describe('attempts to pass by the rules', () => {
  const ruled = async (environment: Body['environmentVariables'] = {}) => {
    const { name, tag } = await serve(http({ SPEAKS: 'legacy', ...environment }), rules)
    const session = await openSession(name, 'user', '2025-03-26')
    const send = (
      body: string | Buffer,
      headers: Readonly<Record<string, string | readonly string[]>> = {},
      method = 'POST',
    ): Promise<Exchange> =>
      gateway.send(`/adapters/${name}/mcp`, {
        method,
        headers: { ...json, ...identity('user'), 'mcp-session-id': session, ...headers },
        body,
      })
    return {
      name,
      tag,
      session,
      send,
      bodies: () =>
        notes(tag)
          .flatMap(({ body }) => body ?? [])
          .filter((body) => body.includes('delete')),
    }
  }
  /** For requests that never reach the server. */
  let shared: Awaited<ReturnType<typeof ruled>>
  beforeAll(async () => {
    shared = await ruled()
  })
  const call = (name: string): string =>
    `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"${name}","arguments":{}}}`
  const evil = '"params":{"name":"delete_all","arguments":{}}'

  test('an escaped name is the name', async () => {
    const { send, bodies } = await ruled()
    const answer = await send(call('d\\u0065lete_all'))
    expect(answerOf(answer)).toMatchObject({ status: 200, ...unknown('delete_all') })
    const method = await send('{"jsonrpc":"2.0","id":1,"m\\u0065thod":"tools\\/call",' + evil + '}')
    expect(answerOf(method)).toMatchObject(unknown('delete_all'))
    expect(bodies()).toEqual([])
  })

  test.each([
    ['two methods', `{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call",${evil}}`],
    [
      'a method in other case',
      `{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call",${evil}}`,
    ],
    [
      'two params',
      `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_time"},${evil}}`,
    ],
    [
      'params in other case',
      '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_time"},' +
        '"PARAMS":{"name":"delete_all"}}',
    ],
    [
      'two names',
      '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_time",' +
        '"name":"delete_all"}}',
    ],
    [
      'a name in other case',
      '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_time",' +
        '"Name":"delete_all"}}',
    ],
    ['a method in capitals', `{"jsonrpc":"2.0","id":1,"method":"TOOLS/CALL",${evil}}`],
    ['text that is not UTF-8', Buffer.from(call('delete_all\xff'), 'latin1')],
    ['text in UTF-16', Buffer.from(call('delete_all'), 'utf16le')],
    ['a byte order mark', `\ufeff${call('delete_all')}`],
  ])('a body with %s is refused', async (_, body) => {
    const { send, bodies } = shared
    const answer = await send(body)
    expect([answer.status, JSON.parse(answer.body.toString())]).toEqual([
      400,
      expect.objectContaining({
        error: expect.objectContaining({
          data: expect.objectContaining({ code: expect.stringMatching(/^(invalid|ambiguous)_/) }),
        }),
      }),
    ])
    expect(bodies()).toEqual([])
  })

  test.each<[string, Record<string, string | readonly string[]>, number]>([
    [
      'a charset that readers decode otherwise',
      { 'content-type': 'application/json; charset=utf-7' },
      415,
    ],
    ['two types', { 'content-type': ['application/json', 'application/json; charset=utf-7'] }, 415],
    ['another type', { 'content-type': 'text/plain' }, 415],
    ['a compression', { 'content-encoding': 'gzip' }, 415],
    [
      'another method for servers that go by headers',
      { 'mcp-method': 'tools/call', 'mcp-name': 'delete_all' },
      400,
    ],
  ])('a request that names %s is refused', async (_, headers, status) => {
    const { send, tag } = shared
    const before = notes(tag).length
    expect((await send('{"jsonrpc":"2.0","id":1,"method":"ping"}', headers)).status).toBe(status)
    expect(notes(tag)).toHaveLength(before)
  })

  test('a header that folds to the name of another tool does not reach the server', async () => {
    const { send, tag } = shared
    const before = notes(tag).length
    const headers = { Mcp_Method: 'tools/call', Mcp_Name: 'delete_all' }
    expect((await send('{"jsonrpc":"2.0","id":1,"method":"ping"}', headers)).status).toBe(200)
    const [seen] = notes(tag).slice(before)
    expect(JSON.stringify(seen)).not.toMatch(/mcp_method|delete_all/i)
  })

  test('a batch of names that takes too long to judge is refused and does not run', async () => {
    // Each rule is cheap. The names of one message take too long together.
    const slow = [{ effect: 'deny', tools: `*${'?a'.repeat(100)}b*` }, ...rules] as ToolRule[]
    const { name } = await serve(http({ SPEAKS: 'legacy' }), slow)
    const session = await openSession(name, 'user', '2025-03-26')
    const names = Array.from({ length: 3000 }, (_, index) => `${'a'.repeat(250)}${index}`)
    const answer = await gateway.send(`/adapters/${name}/mcp`, {
      headers: { ...json, ...identity('user'), 'mcp-session-id': session },
      body: `[${names.map(call).join(',')}]`,
    })
    // The gateway judges the largest batch in time, with any rules that it accepts.
    expect(answer.status).toBe(400)
    expect(answer.body.toString()).toContain('more than 100 messages')
    expect(notes(name).filter(({ body }) => body?.includes('aaaa'))).toEqual([])
  })

  test.each<[string, readonly ToolRule[], string]>([
    [
      'too many patterns',
      Array<ToolRule>(11).fill({ effect: 'deny', tools: Array<string>(100).fill('a') }),
      'custom',
    ],
    [
      'patterns that are too long together',
      Array<ToolRule>(2).fill({ effect: 'deny', tools: Array<string>(100).fill('a'.repeat(200)) }),
      'custom',
    ],
    [
      'patterns that take too long to judge',
      [{ effect: 'deny', tools: Array<string>(10).fill(`*${'?a'.repeat(100)}b*`) }],
      'too_costly',
    ],
  ])('the gateway refuses to register rules with %s', async (_, toolRules, code) => {
    const { status, body } = await gateway.send('/adapters', {
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ name: 'costly', imageName: 'listing', imageVersion: '1', toolRules }),
    })
    expect([status, JSON.parse(body.toString())]).toEqual([
      400,
      expect.objectContaining({
        errors: [expect.objectContaining({ pointer: '/toolRules', code })],
      }),
    ])
  })

  test('a header that names another tool than the body is refused, in both eras', async () => {
    const { send, tag } = await ruled()
    expect(
      (await send(call('get_time'), { 'mcp-method': 'tools/call', 'mcp-name': 'delete_all' }))
        .status,
    ).toBe(400)
    expect((await send(call('get_time'), { 'mcp-name': ['get_time', 'delete_all'] })).status).toBe(
      400,
    )
    const modern = await serve(servers['a modern server over HTTP'] as Body, rules)
    const { headers, body } = modernRequest('tools/call', { name: 'get_time', arguments: {} })
    const lying = await gateway.send(`/adapters/${modern.name}/mcp`, {
      headers: { ...headers, 'mcp-name': 'delete_all', ...identity('user') },
      body,
    })
    expect(answerOf(lying)).toMatchObject({ status: 400, error: { code: -32020 } })
    expect([...called(tag), ...called(modern.tag)]).toEqual([])
  })

  test.each(['json', 'sse'])(
    'a batch with a denied call does not run, and one that lists is filtered (%s)',
    async (answers) => {
      const { send, tag } = await ruled({ ANSWERS: answers })
      const refused = await send(
        `[${call('get_time').replace('"id":1', '"id":"a"')},${call('delete_all')},` +
          '{"jsonrpc":"2.0","method":"notifications/x"}]',
      )
      expect([refused.status, JSON.parse(refused.body.toString())]).toEqual([
        200,
        [
          {
            jsonrpc: '2.0',
            id: 'a',
            error: { code: -32600, message: expect.stringContaining('Not run') },
          },
          { jsonrpc: '2.0', id: 1, error: { code: -32602, message: 'Unknown tool: delete_all' } },
        ],
      ])
      expect(called(tag)).toEqual([])
      const run = await send(
        `[${call('get_time')},{"jsonrpc":"2.0","id":2,"method":"tools/list",` +
          '"params":{"cursor":"second"}}]',
      )
      expect(run.status).toBe(200)
      expect(run.body.toString()).toContain('did get_time')
      expect(run.body.toString()).toContain('Grüße')
      expect(run.body.toString()).not.toContain('delete_all')
      expect(called(tag)).toEqual(['get_time'])
    },
  )

  test('a batch of calls is refused whole though each would run by itself', async () => {
    const { name, tag } = await serve(servers['a modern server over HTTP'] as Body, rules)
    const session = await openSession(name, 'user')
    const send = (body: string): Promise<Exchange> =>
      gateway.send(`/adapters/${name}/mcp`, {
        headers: { ...json, ...identity('user'), 'mcp-session-id': session },
        body,
      })
    const refused = await send(`[${call('get_time')},${call('delete_all').replace('1', '2')}]`)
    expect(answerOf(refused)).toMatchObject({ status: 400, error: { code: -32600 } })
    expect(called(tag)).toEqual([])

    expect((await send(`[${call('get_time')}]`)).body.toString()).toContain('did get_time')
  })

  test('a denied call that awaits no answer is dropped', async () => {
    const { send, tag } = await ruled()
    const answer = await send(`{"jsonrpc":"2.0","method":"tools/call",${evil}}`)
    expect([answer.status, answer.body.length]).toEqual([202, 0])
    expect(called(tag)).toEqual([])
  })

  test('a list in a resumed stream is filtered', async () => {
    const { send } = await ruled({ ANSWERS: 'sse' })
    const asked = await send(
      '{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"second"}}',
    )
    expect(asked.body.toString()).not.toContain('delete_all')
    const resumed = await send('', { 'last-event-id': '-1' }, 'GET')
    expect([resumed.status, resumed.headers['content-type']]).toEqual([200, 'text/event-stream'])
    expect(resumed.body.toString()).toContain('Grüße')
    expect(resumed.body.toString()).not.toContain('delete_all')
  })

  test('a call whose adapter is removed in mid-body does not run', async () => {
    const got: string[] = []
    const server = createServer((request, response) => {
      request.setEncoding('utf8').on('data', (text: string) => got.push(text))
      request.on('end', () =>
        response
          .setHeader('content-type', 'application/json')
          .end('{"jsonrpc":"2.0","id":1,"result":{}}'),
      )
    })
    await once(server.listen(0, '127.0.0.1'), 'listening')
    const name = `r${randomUUID().slice(0, 8)}`
    const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`
    const body = JSON.stringify({
      name,
      endpoint,
      eras: 'passthrough',
      toolRules: rules,
      requiredRoles: ['user'],
    })
    expect((await gateway.send('/adapters', { headers: json, body })).status).toBe(201)

    const path = `/adapters/${name}/mcp`
    const begin = async (): Promise<ClientRequest> => {
      const headers = {
        ...json,
        ...identity('user'),
        'transfer-encoding': 'chunked',
        expect: '100-continue',
      }
      const request = httpRequest(gateway.origin + path, { method: 'POST', headers })
      request.flushHeaders()
      await once(request, 'continue')
      return request
    }
    const end = async (request: ClientRequest): Promise<string> => {
      const answered = once(request, 'response') as Promise<[IncomingMessage]>
      request.end(call('delete_all'))
      const [answer] = await answered
      return (await answer.toArray()).join('')
    }
    expect(await end(await begin())).toContain('Unknown tool')

    const late = await begin()
    expect((await gateway.send(`/adapters/${name}`, { method: 'DELETE' })).status).toBe(204)
    await expect
      .poll(
        async () => (await gateway.send(path, { method: 'GET', headers: identity('user') })).status,
      )
      .toBe(404)
    expect(await end(late)).toContain('Unknown tool')
    expect(got).toEqual([])

    server.close()
  })

  test('a body where none belongs is refused', async () => {
    const { send, tag } = shared
    const before = notes(tag).length
    const body = call('delete_all')
    const headers = { 'content-length': String(body.length), 'x-http-method-override': 'POST' }
    for (const method of ['GET', 'DELETE'])
      expect((await send(body, headers, method)).status).toBe(400)
    expect(notes(tag).slice(before)).toEqual([])
  })

  test('the gateway asks for a tool’s hints once, in the session of the caller', async () => {
    const { send, tag } = await ruled()
    const lying = call('write_note').replace(
      '"arguments":{}',
      '"arguments":{},"annotations":{"readOnlyHint":true},' +
        '"_meta":{"annotations":{"readOnlyHint":true}}',
    )
    expect(answerOf(await send(lying))).toMatchObject(unknown('write_note'))
    await expect
      .poll(() => readFileSync(join(folder, 'audit.log'), 'utf8'))
      .toMatch(new RegExp(`${tag}.*"tool":"write_note"`))
    for (let index = 0; index < 3; index += 1)
      expect(answerOf(await send(call('get_time')))).toMatchObject({
        result: { content: [{ type: 'text', text: 'did get_time' }] },
      })
    expect(notes(tag).flatMap(({ listed }) => listed ?? [])).toEqual(['first', 'second'])
    // Another session may see another list.
    expect(called(tag)).toEqual(['get_time', 'get_time', 'get_time'])
  })

  test('hints for one caller, role or session decide nothing for another', async () => {
    const ran: string[] = []
    const server = createServer((request, response) => {
      void request.toArray().then((parts) => {
        const { id, method } = JSON.parse(parts.join('')) as { id: number; method: string }
        const who = String(request.headers['mcp-session-id'] ?? request.headers['x-mcp-userid'])
        if (method === 'tools/call') ran.push(who)
        const session = method === 'initialize' ? { 'mcp-session-id': `of-${randomUUID()}` } : {}
        const roles = String(request.headers['x-mcp-roles'])
        const trusted = who === 'eve' || who === sessions[0] || roles.includes('chief')
        const tools = [{ name: 'do_it', annotations: { readOnlyHint: trusted } }]
        const result = method === 'tools/list' ? { tools } : { protocolVersion: '2025-06-18' }
        if (method === 'initialize') sessions.push(session['mcp-session-id'] ?? '')
        response
          .writeHead(200, { 'content-type': 'application/json', ...session })
          .end(JSON.stringify({ jsonrpc: '2.0', id, result }))
      })
    })
    const sessions: string[] = []
    await once(server.listen(0, '127.0.0.1'), 'listening')
    const name = `r${randomUUID().slice(0, 8)}`
    const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`
    const toolRules = [{ effect: 'allow', tools: '*', annotations: { readOnlyHint: true } }]
    const more = { eras: 'passthrough', toolRules, requiredRoles: ['user'] }
    const body = JSON.stringify({ name, endpoint, ...more })
    expect((await gateway.send('/adapters', { headers: json, body })).status).toBe(201)

    const act = async (who: Readonly<Record<string, string>>): Promise<boolean> => {
      const headers = { ...json, 'x-dev-roles': 'user', 'x-dev-userid': 'uma', ...who }
      const sending = { headers, body: call('do_it') }
      return answerOf(await gateway.send(`/adapters/${name}/mcp`, sending)).error === undefined
    }

    expect(await act({ 'x-dev-userid': 'eve' })).toBe(true)
    expect(await act({ 'x-dev-userid': 'uma' })).toBe(false)
    expect(await act({ 'x-dev-userid': 'uma', 'x-dev-roles': 'user,chief' })).toBe(true)
    expect(await act({ 'x-dev-userid': 'bob', 'x-dev-roles': 'user,chief' })).toBe(true)
    expect(await act({ 'x-dev-userid': 'bob' })).toBe(false)

    const [first, second] = [await openSession(name, 'user'), await openSession(name, 'user')]
    expect(await act({ 'mcp-session-id': first })).toBe(true)
    expect(await act({ 'mcp-session-id': second })).toBe(false)
    expect(await act({ 'mcp-session-id': second, 'x-dev-roles': 'user,chief' })).toBe(true)
    expect(ran).toEqual(['eve', 'uma', 'bob', sessions[0], sessions[1]])

    server.closeAllConnections()
    server.close()
  })

  test('a list that is too long to keep is asked for again, and decides the same', async () => {
    const { send, tag } = await ruled({ MORE: '3000' })
    const ran = async (tool: string): Promise<boolean> =>
      answerOf(await send(call(tool))).error === undefined
    const tools = ['get_time', 'write_note', 'Grüße', 'another_7', 'none', 'get_time']

    expect(await Promise.all(tools.map(ran))).toEqual([true, false, true, false, false, true])
    for (const tool of tools) await ran(tool)
    expect(called(tag).toSorted()).toEqual(
      ['Grüße', 'Grüße', 'get_time', 'get_time', 'get_time', 'get_time'].toSorted(),
    )
    const listed = notes(tag).flatMap((note) => note.listed ?? [])
    expect(listed.filter((page) => page === 'first').length).toBeGreaterThanOrEqual(tools.length)
  })

  test('an endless list is read up to a bound, and calls that need it do not run', async () => {
    const asked: string[] = []
    const padding = 'x'.repeat(8 * 1024 * 1024)
    const server = createServer((request, response) => {
      void request.toArray().then((parts) => {
        const { id, method } = JSON.parse(parts.join('')) as { id: number; method: string }
        asked.push(method)
        const tools = [{ name: 'do_it', description: padding, annotations: { readOnlyHint: true } }]
        const result = method === 'tools/list' ? { tools, nextCursor: 'more' } : {}
        response
          .writeHead(200, { 'content-type': 'application/json' })
          .end(JSON.stringify({ jsonrpc: '2.0', id, result }))
      })
    })
    await once(server.listen(0, '127.0.0.1'), 'listening')
    const name = `r${randomUUID().slice(0, 8)}`
    const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`
    const more = { eras: 'passthrough', toolRules: rules }
    const body = JSON.stringify({ name, endpoint, ...more })
    expect((await gateway.send('/adapters', { headers: json, body })).status).toBe(201)

    const sending = { headers: json, body: call('do_it') }
    const answer = answerOf(await gateway.send(`/adapters/${name}/mcp`, sending))
    expect(answer).toMatchObject({ status: 502, error: { code: -32603 } })
    expect(asked).toEqual(Array(8).fill('tools/list'))
    server.closeAllConnections()
    server.close()
  })

  test('many calls at once are each judged', async () => {
    const { send, tag } = await ruled()
    const tools = Array.from(
      { length: 30 },
      (_, index) => ['get_time', 'write_note', 'delete_all'][index % 3] as string,
    )
    const answers = await Promise.all(tools.map(async (tool) => answerOf(await send(call(tool)))))
    expect(answers.map(({ error }) => error === undefined)).toEqual(
      tools.map((tool) => tool === 'get_time'),
    )
    expect(called(tag)).toEqual(Array(10).fill('get_time'))
    // Only the first call made the gateway ask the server.
    expect(notes(tag).flatMap(({ listed }) => listed ?? [])).toEqual(['first', 'second'])
  })
})

describe('the audit log of denied calls', () => {
  const denied = (name: string): unknown[] =>
    readFileSync(join(folder, 'audit.log'), 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map(
        (line) =>
          JSON.parse(line) as { resource?: { name: string }; outcome?: string; tool?: string },
      )
      .filter(({ resource, outcome }) => resource?.name === name && outcome === 'denied')
      .map(({ tool }) => tool)

  test.each(cells)(
    'the audit log says which calls were denied to %s of %s',
    async (client, server) => {
      const { name } = await serve(servers[server] as Body, rules)
      const ask = await (clients[client] as (typeof clients)[string])(name)
      await ask('tools/call', { name: 'get_time', arguments: {} })
      await ask('tools/call', { name: 'delete_all', arguments: {} })
      await expect.poll(() => denied(name)).toEqual(['delete_all'])
    },
  )
})

describe('a server that cannot be judged', () => {
  const adapter = async (): Promise<string> => {
    const name = await gateway.register()
    await gateway.patch(name, { toolRules: rules })
    return name
  }
  const post = (
    name: string,
    query: string,
    body: object,
    headers: Record<string, string> = {},
  ): Promise<Exchange> =>
    gateway.mcp(name, query, {
      headers: { ...json, ...headers },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, ...body }),
    })
  const listing = { method: 'tools/list' }
  const calling = { method: 'tools/call', params: { name: 'get_time' } }

  test('a call that depends on unreadable hints does not reach the server', async () => {
    const name = await adapter()
    const answer = await post(name, 'do=status&status=200&tag=judge', calling)
    expect([answer.status, answer.body.toString()]).toEqual([
      502,
      expect.stringContaining('upstream_failed'),
    ])
    const asked = gateway.events('judge').filter(({ method }) => method !== undefined)
    expect(
      asked.map(
        ({ body = '' }) =>
          (JSON.parse(Buffer.from(body, 'base64').toString()) as { method: string }).method,
      ),
    ).toEqual(['tools/list'])
  })

  test.each([
    ['is compressed', { 'content-type': 'application/json', 'content-encoding': 'br' }],
    [
      'is compressed in a stream',
      { 'content-type': 'text/event-stream', 'content-encoding': 'gzip' },
    ],
  ])('a list that %s, unasked, is kept back', async (_, headers) => {
    const name = await adapter()
    const tag = randomUUID()
    const answer = await post(
      name,
      `do=headers&tag=${tag}&headers=${encodeURIComponent(JSON.stringify(headers))}`,
      listing,
      {
        'accept-encoding': 'gzip, br',
      },
    )
    expect([answer.status, answer.body.toString()]).toEqual([
      502,
      expect.stringContaining('upstream_failed'),
    ])
    const { rawHeaders } = gateway.received(tag)
    const asked = rawHeaders.findIndex((each) => each.toLowerCase() === 'accept-encoding')
    expect(rawHeaders[asked + 1]).toBe('identity')
  })

  test('a list that is no JSON is kept back', async () => {
    const name = await adapter()
    const list = (text: string): string[] => [Buffer.from(text).toString('base64')]
    const plain = await gateway.mcp(name, 'do=echo', {
      headers: json,
      body: '{"jsonrpc":"2.0","id":1,"method":"tools/list","result":{"tools":[]}}',
    })
    expect(plain.status).toBe(200)
    for (const data of [
      '{"result":{"tools":[NaN,{"name":"delete_all"}]}}',
      '{"result":{"tools":[{"name":"delete_all"}',
    ])
      expect(
        (await post(name, `do=bytes&bytes=${encodeURIComponent(list(data)[0] ?? '')}`, listing))
          .status,
      ).toBe(502)
    const event = encodeURIComponent(
      list('data: {"result":{"tools":[NaN,{"name":"delete_all"}]}}\n\n')[0] ?? '',
    )
    const sent = post(
      name,
      `do=bytes&type=${encodeURIComponent('text/event-stream')}&bytes=${event}`,
      listing,
    )
    // The gateway cut it off, before or after its headers.
    const broken = await sent.catch(() => ({ whole: false, body: '' }))
    expect([broken.whole, broken.body.toString()]).toEqual([false, ''])
  })

  test('an answer passes byte for byte where rules leave nothing out', async () => {
    const name = await adapter()
    const text =
      ' {"jsonrpc" : "2.0", "id":12345678901234567890, "result":{"x":1.0,' +
      '"tools":[ {"name":"get_time","annotations":{"readOnlyHint":true}} ]}}\n'
    const bytes = encodeURIComponent(Buffer.from(text).toString('base64'))
    const answer = await post(name, `do=bytes&bytes=${bytes}`, listing)
    expect([answer.status, answer.headers['content-length'], answer.body.toString()]).toEqual([
      200,
      String(Buffer.byteLength(text)),
      text,
    ])
    const stream =
      ': hi\r\nid: 1\rdata: {"result":{"content":[{"text":"\\"tools\\""}]}}\r\n\r\nretry: 5\n\n'
    const events64 = encodeURIComponent(Buffer.from(stream).toString('base64'))
    const streamed = await post(
      name,
      `do=bytes&type=${encodeURIComponent('text/event-stream')}&bytes=${events64}`,
      { method: 'ping' },
    )
    expect(streamed.body.toString()).toBe(stream)
  })

  test('an answer of an adapter without rules is not read at all', async () => {
    const name = await gateway.register()
    const odd = '{"method":"tools/call","params":{"name":"delete_all","x":"y"}}'
    const answer = await gateway.mcp(name, 'do=echo&tag=unruled', {
      headers: { 'content-type': 'text/plain', 'accept-encoding': 'br' },
      body: odd,
    })
    expect([answer.status, answer.body.toString()]).toEqual([200, odd])
    expect(gateway.received('unruled').rawHeaders.map((each) => each.toLowerCase())).toContain(
      'accept-encoding',
    )
  })
})

describe('rules for tools in the API', () => {
  const register = (toolRules: unknown): ReturnType<TestGateway['send']> =>
    gateway.send('/adapters', {
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        name: `r${randomUUID().slice(0, 8)}`,
        imageName: 'listing',
        imageVersion: '1',
        replicaCount: 0,
        toolRules,
      }),
    })
  const problem = async (toolRules: unknown): Promise<unknown> => {
    const { status, body } = await register(toolRules)
    return [
      status,
      (JSON.parse(body.toString()) as { errors?: { pointer: string }[] }).errors?.map(
        ({ pointer }) => pointer,
      ),
    ]
  }

  test('the API keeps tool rules as they were given, and restarts nothing', async () => {
    const { name } = await serve(http({}), rules)
    const read = async (): Promise<Record<string, unknown>> =>
      JSON.parse(
        (await gateway.send(`/adapters/${name}`, { method: 'GET' })).body.toString(),
      ) as Record<string, unknown>
    expect((await read())['toolRules']).toEqual(rules)
    const generation = async (): Promise<unknown> =>
      (
        JSON.parse(
          (await gateway.send(`/adapters/${name}/status`, { method: 'GET' })).body.toString(),
        ) as { generation: unknown }
      ).generation
    const before = await generation()
    await gateway.patch(name, { toolRules: [{ effect: 'allow', tools: '*' }] })
    expect(await generation()).toBe(before)
    await gateway.patch(name, { toolRules: null })
    expect(await read()).not.toHaveProperty('toolRules')
  })

  test('the API refuses tool rules with mistakes, each with its place', async () => {
    expect(await problem([{ effect: 'permit', tools: '*' }])).toEqual([
      400,
      ['/toolRules/0/effect'],
    ])
    expect(await problem([{ effect: 'deny', tool: '*' }])).toEqual([
      400,
      ['/toolRules/0/tools', '/toolRules/0/tool'],
    ])
    expect(await problem([{ effect: 'deny', tools: [] }])).toEqual([400, ['/toolRules/0/tools']])
    expect(await problem([{ effect: 'deny', tools: 5 }])).toEqual([400, ['/toolRules/0/tools']])
    expect(await problem([{ effect: 'deny', tools: '*', roles: [] }])).toEqual([
      400,
      ['/toolRules/0/roles'],
    ])
    expect(
      await problem([{ effect: 'deny', tools: '*', annotations: { readOnly: true } }]),
    ).toEqual([400, ['/toolRules/0/annotations/readOnly']])
    expect(await problem('deny')).toEqual([400, ['/toolRules']])
  })

  test('the API warns of tool rules that allow nothing', async () => {
    const { status, body } = await register([{ effect: 'deny', tools: 'x' }])
    expect([
      status,
      (JSON.parse(body.toString()) as { warnings: { code: string }[] }).warnings.map(
        ({ code }) => code,
      ),
    ]).toEqual([201, ['nothing_allowed']])
  })
})
