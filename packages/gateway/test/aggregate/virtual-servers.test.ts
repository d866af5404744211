import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { TestGateway } from '../fixtures/gateway.ts'
import { as, ListingGateway, textOf as text } from '../fixtures/listing-gateway.ts'
import { initialize, modern, type RpcAnswer } from '../fixtures/mcp-requests.ts'

const json = { 'content-type': 'application/json' }
let listing: ListingGateway
let gateway: TestGateway

beforeAll(async () => {
  listing = await ListingGateway.open()
  ;({ gateway } = listing)
})
afterAll(() => listing[Symbol.asyncDispose]())

const bob = as('bob', 'guest')
const api = (...call: Parameters<ListingGateway['api']>) => listing.api(...call)
const adapter = (...given: Parameters<ListingGateway['adapter']>) => listing.adapter(...given)
const serve = (...given: Parameters<ListingGateway['serve']>) => listing.serve(...given)

const toolsOf = (alias: string): readonly string[] => [
  `${alias}_Gr__e_`,
  `${alias}_delete_all`,
  `${alias}_get_time`,
  `${alias}_write_note`,
]

describe('a virtual server over servers of both eras', () => {
  test('clients of both eras list and call the tools of every member', async () => {
    const members = [
      { adapter: await adapter('modern', 'HTTP'), alias: 'one' },
      { adapter: await adapter('legacy', 'HTTP'), alias: 'two' },
      { adapter: await adapter('legacy', 'stdio'), alias: 'three' },
      { adapter: await adapter('modern', 'stdio'), alias: 'four' },
    ]
    const { call, names, path } = await serve(members)
    // A list waits two seconds for members that start, and a busy machine needs longer.
    await expect.poll(names).toHaveLength(16)
    const listed = await names()
    for (const alias of ['one', 'two', 'three', 'four']) {
      for (const prefix of toolsOf(alias))
        expect(listed.some((name) => name.startsWith(prefix))).toBe(true)
      expect(text(await call(`${alias}_write_note`))).toBe('did write_note')
    }
    expect(listed).toHaveLength(16)
    const umlaut = listed.find((name) => name.startsWith('two_Gr')) ?? ''
    expect(text(await call(umlaut))).toBe('did Grüße')

    const accept = { ...json, accept: 'application/json, text/event-stream' }
    const opened = await gateway.send(path, { headers: accept, body: initialize })
    expect(opened.status).toBe(200)
    const session = { ...accept, 'mcp-session-id': String(opened.headers['mcp-session-id']) }
    const asked = await gateway.send(path, {
      headers: session,
      body: '{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"one_get_time"}}',
    })
    expect(asked.body.toString()).toContain('did get_time')
  })

  test('connecting and listing ask a member nothing that it has been asked before', async () => {
    const name = await adapter('modern', 'HTTP')
    const { ask, names } = await serve([{ adapter: name, alias: 'a' }])
    await expect.poll(() => names()).toHaveLength(4)
    const whileQuiet = async (): Promise<number> => {
      const noted = listing.asked(name)
      await new Promise((resolve) => setTimeout(resolve, 500))
      return listing.asked(name) - noted
    }
    await expect.poll(whileQuiet).toBe(0)
    const before = listing.asked(name)
    await ask('server/discover')
    await names()
    await names()
    expect(listing.asked(name)).toBe(before)
  })

  test('the definition can be read, changed and removed', async () => {
    const { name, names } = await serve([{ tool: 'weather' }], { title: 'Work' })
    const got = await api('GET', `/servers/${name}`)
    expect(got.body).toMatchObject({
      name,
      title: 'Work',
      members: [{ tool: 'weather', alias: 'weather' }],
    })
    expect(await names()).toEqual([])
    const patch = { members: [{ adapter: await adapter('modern', 'HTTP'), alias: 'x' }] }
    const changed = await api('PATCH', `/servers/${name}`, patch)
    expect(changed.status).toBe(200)
    await expect.poll(() => names()).toHaveLength(4)
    expect((await api('DELETE', `/servers/${name}`)).status).toBe(204)
    expect((await api('GET', `/servers/${name}`)).status).toBe(404)
    await expect
      .poll(async () => (await gateway.send(`/servers/${name}/mcp`, { headers: json })).status)
      .toBe(404)
  })

  test('a selector finds members by their labels, also those that come later', async () => {
    const label = randomUUID().slice(0, 8)
    const { names, name } = await serve([{ selector: { team: label } }])
    expect(await names()).toEqual([])
    const member = await adapter('modern', 'HTTP', { labels: { team: label } })
    await expect.poll(() => names()).toHaveLength(4)
    expect((await api('GET', `/servers/${name}/status`)).body).toMatchObject({
      phase: 'Healthy',
      members: [{ alias: member, kind: 'adapter', state: 'Ready', tools: 4 }],
    })
  })
})

describe('the rights at a virtual server', () => {
  test('each caller sees only what the members let it use', async () => {
    const closed = await adapter('modern', 'HTTP')
    const open = await adapter('modern', 'HTTP', {
      requiredRoles: ['guest'],
      toolRules: [
        { effect: 'allow', tools: 'get_*' },
        { effect: 'allow', tools: 'delete_*', roles: ['boss'] },
      ],
    })
    const members = [
      { adapter: closed, alias: 'closed' },
      { adapter: open, alias: 'open' },
    ]
    const { call, names, name } = await serve(members, { requiredRoles: ['guest'] })
    await expect.poll(() => names()).toHaveLength(5)
    expect(await names(bob)).toEqual(['open_get_time'])
    const boss = { ...bob, 'x-dev-roles': 'guest,boss' }
    expect(await names(boss)).toEqual(['open_delete_all', 'open_get_time'])

    expect(text(await call('open_delete_all', boss))).toBe('did delete_all')
    for (const tool of ['open_delete_all', 'closed_get_time', 'closed_write_note', 'write_note'])
      expect((await call(tool, bob)).message.error?.message).toContain('Unknown tool')
    const { body: status } = await api('GET', `/servers/${name}/status`, undefined, bob)
    expect(status.members).toMatchObject([
      { alias: 'closed', state: 'Missing', tools: 0 },
      { alias: 'open', state: 'Ready', tools: 4 },
    ])
  })

  test('a caller without the right gets the answer of a server that does not exist', async () => {
    const { path, name } = await serve([])
    expect((await modern(gateway, 'tools/list', {}, { path, headers: bob })).status).toBe(404)
    expect((await api('GET', `/servers/${name}`, undefined, bob)).status).toBe(404)
    expect((await api('PUT', `/servers/${name}`, { members: [] }, bob)).status).toBe(404)
  })

  test.each([
    [
      {
        members: [
          { adapter: 'a', alias: 'x' },
          { adapter: 'b', alias: 'x' },
        ],
      },
      '/members/1/alias',
    ],
    [{ members: [{ adapter: 'a', alias: 'A_b' }] }, '/members/0'],
    [{ members: [{}] }, '/members/0'],
    [
      { members: [{ adapter: 'a', overrides: { x: { annotations: { readOnlyHint: true } } } }] },
      '',
    ],
  ])('the definition %j is refused with the place of its mistake', async (body, pointer) => {
    const { status, body: problem } = await api(
      'PUT',
      `/servers/v${randomUUID().slice(0, 8)}`,
      body,
    )
    expect(status).toBe(400)
    expect(JSON.stringify(problem)).toContain(pointer)
  })
})

describe('a member that cannot serve', () => {
  test('a member that stops keeps its tools listed, and its calls say why', async () => {
    const name = await adapter('modern', 'HTTP')
    const other = await adapter('legacy', 'HTTP')
    const members = [
      { adapter: name, alias: 'a' },
      { adapter: other, alias: 'b' },
    ]
    const { call, name: server, names } = await serve(members)
    await expect.poll(() => names()).toHaveLength(8)
    await gateway.patch(name, { replicaCount: 0 })
    await expect
      .poll(async () => (await api('GET', `/servers/${server}/status`)).body)
      .toMatchObject({ phase: 'Degraded', members: [{ state: 'Stopped' }, { state: 'Ready' }] })
    expect(await names()).toHaveLength(8)
    const called = await call('a_get_time')
    expect(called.message.result).toMatchObject({ isError: true })
    expect(text(called)).toContain('is stopped')
    expect(text(await call('b_get_time'))).toBe('did get_time')

    await gateway.patch(name, { replicaCount: 1 })
    await gateway.untilReady(name, 1)
    await expect.poll(async () => text(await call('a_get_time'))).toBe('did get_time')
  })

  test('a required member that is missing makes the virtual server unavailable', async () => {
    const { name, path } = await serve([{ adapter: 'nowhere', required: true }])
    const { status, message } = await modern(gateway, 'tools/list', {}, { path })
    expect([status, message.error?.message]).toEqual([503, expect.stringContaining('nowhere')])
    expect((await api('GET', `/servers/${name}/status`)).body).toMatchObject({
      phase: 'Unavailable',
      members: [{ state: 'Missing' }],
    })
  })
})

describe('the addresses beside that of a virtual server', () => {
  test('an adapter joins the built-in server only if it says so', async () => {
    const listed = async (): Promise<readonly string[]> => {
      const { message } = await modern(gateway, 'tools/list')
      return (message.result as { tools: { name: string }[] }).tools.map(({ name }) => name)
    }
    const name = await adapter('modern', 'HTTP', { aggregate: true })
    await expect.poll(listed).toContain(`${name}_get_time`)
    await gateway.patch(name, { aggregate: false })
    await expect.poll(listed).not.toContain(`${name}_get_time`)
  })

  test('search mode lists four tools, and reaches all others', async () => {
    const { name } = await serve([{ adapter: await adapter('legacy', 'stdio'), alias: 'a' }])
    const path = `/servers/${name}/search/mcp`
    const ask = (tool: string, given: object): Promise<RpcAnswer> =>
      modern(gateway, 'tools/call', { name: tool, arguments: given }, { path })
    const { message } = await modern(gateway, 'tools/list', {}, { path })
    expect((message.result as { tools: object[] }).tools).toHaveLength(4)
    await expect
      .poll(async () => text(await ask('search_tools', { query: 'what time is it' })))
      .toContain('a_get_time')
    expect(text(await ask('call_read_tool', { name: 'a_get_time' }))).toBe('did get_time')
    expect(text(await ask('call_tool', { name: 'a_delete_all' }))).toBe('did delete_all')
    expect(text(await ask('call_read_tool', { name: 'a_delete_all' }))).toContain('may change')
  })
})
