import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { ElsewhereMember, type SeenRequest } from '../fixtures/elsewhere-member.ts'
import { TestGateway } from '../fixtures/gateway.ts'
import { adapterAt, api, serve, type Headers, type Reached } from '../fixtures/many-servers.ts'
import { modern, type RpcAnswer } from '../fixtures/mcp-requests.ts'

const bob: Headers = { 'x-dev-userid': 'bob', 'x-dev-roles': 'guest,reader' }
const eve: Headers = { 'x-dev-userid': 'eve', 'x-dev-roles': 'guest' }
const tasks = {
  'io.modelcontextprotocol/clientCapabilities': {
    elicitation: {},
    extensions: { 'io.modelcontextprotocol/tasks': {} },
  },
}
/** Stands in all that Eve may not see. */
const secret = 'hush'

let gateway: TestGateway
let shared: ElsewhereMember
let hidden: ElsewhereMember
let server: Reached

/** A server whose items have a word in their names. */
function contents(word: string) {
  const tool = (name: string): object => ({
    name: `${word}-${name}`,
    description: `${word} ${name}`,
    annotations: { readOnlyHint: true },
  })
  return {
    tools: ['ask', 'big', 'run', 'task'].map(tool) as Record<string, unknown>[],
    prompts: ['one', 'two', 'three'].map((name) => ({ name: `${word}-${name}` })),
    resources: ['one', 'two', 'three'].map((name) => ({
      uri: `file:///${word}/${name}`,
      name,
    })),
    resourceTemplates: [
      { uriTemplate: `file:///${word}/{id}`, name: 'file' },
      { uriTemplate: `https://${word}.example/{id}`, name: 'web' },
    ],
    answer: (request: SeenRequest) => answerOf(request),
  }
}

function answerOf({ method, params }: SeenRequest): object | undefined {
  const result = (members: object): object => ({ result: { resultType: 'complete', ...members } })
  const times = { createdAt: '2026-11-30T10:00:00Z', lastUpdatedAt: '2026-11-30T10:00:00Z' }
  const task = { taskId: 't', status: 'working', ttlMs: null, ...times }
  if (method.startsWith('tasks/')) return result(task)
  const name = method === 'tools/call' ? String(params['name']) : ''
  if (name.endsWith('-big'))
    return result({ content: [{ type: 'text', text: 'x'.repeat(20_000) }] })
  if (name.endsWith('-task')) return { result: { resultType: 'task', ...task } }
  if (!name.endsWith('-ask') || params['inputResponses'] !== undefined) return undefined
  const q = { method: 'elicitation/create', params: { message: 'City?', requestedSchema: {} } }
  return { result: { resultType: 'input_required', requestState: 'own', inputRequests: { q } } }
}

beforeAll(async () => {
  gateway = await TestGateway.open({ tools: { pageSize: 2 } })
  shared = await ElsewhereMember.start(contents('plain'))
  hidden = await ElsewhereMember.start(contents(secret))
  const open = await adapterAt(gateway, shared.endpoint, {
    requiredRoles: ['guest'],
    toolRules: [
      { effect: 'allow', tools: '*', roles: ['reader'] },
      { effect: 'allow', tools: 'plain-run' },
      { effect: 'allow', tools: 'plain-ask' },
    ],
  })
  const closed = await adapterAt(gateway, hidden.endpoint, { requiredRoles: ['reader'] })
  const members = [
    { adapter: open, alias: 'p', maxResultBytes: 4000 },
    { adapter: closed, alias: secret, maxResultBytes: 4000 },
  ]
  server = await serve(gateway, members, { requiredRoles: ['guest'] })
  await vi.waitFor(async () => expect(await all('tools', bob)).toHaveLength(8))
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await shared[Symbol.asyncDispose]()
  await hidden[Symbol.asyncDispose]()
})

const methods = {
  tools: 'tools/list',
  prompts: 'prompts/list',
  resources: 'resources/list',
  resourceTemplates: 'resources/templates/list',
} as const

type Kind = keyof typeof methods
type Item = Readonly<Record<string, unknown>>

/** All items of a list, over all pages. */
async function all(kind: Kind, headers: Headers, path = server.path): Promise<readonly Item[]> {
  const items: Item[] = []
  let cursor: unknown
  do {
    const given = cursor === undefined ? {} : { cursor }
    const { message } = await modern(gateway, methods[kind], given, { path, headers })
    items.push(...((message.result?.[kind] ?? []) as Item[]))
    cursor = message.result?.['nextCursor']
  } while (cursor !== undefined)
  return items
}

const keyOf = (item: Item): string => String(item['uriTemplate'] ?? item['uri'] ?? item['name'])

/** The requests of clients that the hidden server got. */
const reached = (): readonly SeenRequest[] =>
  hidden.seen.filter(({ method }) => !/\/list$|^server\/discover$/.test(method))

function ask(method: string, params: object, headers: Headers): Promise<RpcAnswer> {
  return modern(gateway, method, { ...params }, { path: server.path, headers, meta: tasks })
}

/** Expects that nothing of the hidden server is in an answer, and that it was not reached. */
async function expectNothing(asked: Promise<RpcAnswer>, code = -32602): Promise<void> {
  const before = reached().length
  const { message } = await asked
  expect(message.error?.code).toBe(code)
  expect(reached()).toHaveLength(before)
}

describe('two callers of one virtual server with different rights', () => {
  test('each list shows each caller only its own items, though both page at once', async () => {
    for (const kind of Object.keys(methods) as Kind[])
      for (let round = 0; round < 3; round += 1) {
        const [his, hers] = await Promise.all([all(kind, bob), all(kind, eve)])
        expect(JSON.stringify(his)).toContain(secret)
        expect(JSON.stringify(hers)).not.toContain(secret)
        expect(hers.length).toBeGreaterThan(0)
        expect(his.map(keyOf)).toEqual(expect.arrayContaining(hers.map(keyOf)))
      }
    expect((await all('tools', eve)).map(keyOf)).toEqual(['p_plain-ask', 'p_plain-run'])
  })

  test('a cursor of one caller is of no use to the other', async () => {
    const { message } = await ask('tools/list', {}, bob)
    const cursor = message.result?.['nextCursor']
    expect(cursor).toBeTypeOf('string')
    expect((await ask('tools/list', { cursor }, eve)).message.error?.code).toBe(-32602)
    expect((await ask('prompts/list', { cursor }, bob)).message.error?.code).toBe(-32602)
    expect((await ask('tools/list', { cursor }, bob)).message.result).toBeDefined()
  })

  test('an item that a caller does not see cannot be used by any of its names', async () => {
    const names = (name: string): string[] => [`${secret}_${secret}-${name}`, `${secret}-${name}`]
    for (const name of names('run')) await expectNothing(ask('tools/call', { name }, eve))
    for (const name of names('one')) {
      await expectNothing(ask('prompts/get', { name }, eve))
      const ref = { type: 'ref/prompt', name }
      const argument = { name: 'x', value: '' }
      await expectNothing(ask('completion/complete', { ref, argument }, eve))
    }
    const addresses = [
      `file:///${secret}/one`,
      `file:///${secret}/unlisted`,
      `https://${secret}.example/1`,
    ]
    for (const uri of addresses) {
      await expectNothing(ask('resources/read', { uri: `${secret}+${uri}` }, eve))
      if (uri.startsWith('file')) await expectNothing(ask('resources/read', { uri }, eve))
    }
    for (const uri of [`file:///${secret}/{id}`, `${secret}+file:///${secret}/{id}`]) {
      const given = { ref: { type: 'ref/resource', uri }, argument: { name: 'id', value: '' } }
      await expectNothing(ask('completion/complete', given, eve))
    }
    // The same, for the caller who may.
    for (const name of names('run'))
      expect((await ask('tools/call', { name }, bob)).message.result).toBeDefined()
    for (const uri of addresses.slice(0, 2))
      expect(
        (await ask('resources/read', { uri: `${secret}+${uri}` }, bob)).message.result,
      ).toBeDefined()
  })

  test('a web address of a hidden template never reaches the hidden server', async () => {
    const before = reached().length
    await ask('resources/read', { uri: `https://${secret}.example/1` }, eve)
    expect(reached()).toHaveLength(before)
  })

  test('a tool that rules deny is unknown, and its server is not reached', async () => {
    const before = shared.seen.filter(({ method }) => method === 'tools/call').length
    for (const name of ['p_plain-big', 'plain-big'])
      expect((await ask('tools/call', { name }, eve)).message.error?.code).toBe(-32602)
    expect(shared.seen.filter(({ method }) => method === 'tools/call')).toHaveLength(before)
  })

  test('search finds, describes and calls only what its caller may use', async () => {
    const path = `/servers/${server.name}/search/mcp`
    const search = (name: string, given: object, headers: Headers): Promise<RpcAnswer> =>
      modern(gateway, 'tools/call', { name, arguments: given }, { path, headers })
    const words = { query: `${secret} plain run`, limit: 50 }
    const textOf = async (...given: Parameters<typeof search>): Promise<string> =>
      JSON.stringify((await search(...given)).message.result)
    expect(await textOf('search_tools', words, bob)).toContain(`${secret}-run`)
    expect(await textOf('search_tools', words, eve)).not.toContain(`${secret}-`)

    const before = reached().length
    for (const name of [`${secret}_${secret}-run`, `${secret}-run`, 'p_plain-big']) {
      const described = await search('describe_tools', { names: [name] }, eve)
      expect(described.message.result?.['structuredContent']).toMatchObject({ tools: [] })
      for (const tool of ['call_tool', 'call_read_tool'])
        expect((await search(tool, { name }, eve)).message.result?.['isError']).toBe(true)
    }
    expect(reached()).toHaveLength(before)
    for (const kind of ['prompts', 'resources', 'resourceTemplates'] as const)
      expect(JSON.stringify(await all(kind, eve, path))).not.toContain(secret)
  })

  test('updates and changed lists of a member reach only those who may use it', async () => {
    const uri = `file:///${secret}/one`
    const notifications = {
      resourceSubscriptions: [`${secret}+${uri}`, uri],
      toolsListChanged: true,
    }
    const [his, hers] = await Promise.all(
      [bob, eve].map((headers) => server.open('subscriptions/listen', { notifications }, headers)),
    )
    await expect.poll(() => [his?.messages.length, hers?.messages.length]).toEqual([1, 1])
    expect(JSON.stringify(hers?.messages)).not.toContain(secret)
    hidden.update(uri)
    await expect.poll(() => his?.updates.length).toBeGreaterThan(0)

    hidden.contents.tools?.push({ name: `${secret}-new` })
    hidden.tell('notifications/tools/list_changed')
    const changed = (): boolean =>
      his?.messages.some(({ method }) => method === 'notifications/tools/list_changed') === true
    await expect.poll(changed).toBe(true)
    expect(hers?.messages).toHaveLength(1)
    for (const each of [his, hers]) each?.response.destroy()
  })

  test('a question of one caller cannot be answered by the other', async () => {
    const name = 'p_plain-ask'
    const asked = (await ask('tools/call', { name }, bob)).message.result
    const { requestState } = asked ?? {}
    const answer = { name, requestState, inputResponses: { q: { action: 'decline' } } }
    expect((await ask('tools/call', answer, eve)).message.error?.code).toBe(-32602)
    const { message } = await ask('tools/call', answer, bob)
    expect(message.result?.['resultType']).toBe('complete')
  })

  test('a long result of one caller cannot be read by the other', async () => {
    const { message } = await ask('tools/call', { name: 'p_plain-big' }, bob)
    const [, uri = ''] = /"(result:[^"]+)"/.exec(JSON.stringify(message.result)) ?? []
    expect(uri).not.toBe('')
    expect((await ask('resources/read', { uri }, eve)).message.error?.code).toBe(-32602)
    expect((await ask('resources/read', { uri }, bob)).message.result).toBeDefined()
  })

  test('a task of one caller is unknown to the other', async () => {
    const made = (await ask('tools/call', { name: `${secret}_${secret}-task` }, bob)).message.result
    expect(made).toMatchObject({ resultType: 'task' })
    const { taskId } = made ?? {}
    for (const method of ['tasks/get', 'tasks/update', 'tasks/cancel']) {
      await expectNothing(ask(method, { taskId, inputResponses: {} }, eve))
      await expectNothing(ask(method, { taskId: 't', inputResponses: {} }, bob))
      const { message } = await ask(method, { taskId, inputResponses: {} }, bob)
      expect(message.result).toMatchObject({ taskId })
    }
  })

  test('a session of one caller is unknown to the other', async () => {
    const session = await server.session(bob)
    const ping = (headers: Headers): Promise<number> =>
      gateway
        .send(server.path, { headers, body: '{"jsonrpc":"2.0","id":2,"method":"ping"}' })
        .then(({ status }) => status)
    expect([await ping({ ...session, ...eve }), await ping(session)]).toEqual([404, 200])
  })

  test('instructions do not name a hidden member, and its status looks missing', async () => {
    await hidden.stop()
    const status = (headers: Headers) =>
      api(gateway, ['GET', `/servers/${server.name}/status`], undefined, headers)
    await expect
      .poll(async () => JSON.stringify((await ask('server/discover', {}, bob)).message))
      .toContain(secret)
    for (const method of ['server/discover', ...Object.values(methods)])
      expect(JSON.stringify((await ask(method, {}, eve)).message)).not.toContain(secret)
    // The definition names the member, so its status must not tell whether it exists.
    const [, hers] = (await status(eve)).body.members
    expect(hers).toMatchObject({ state: 'Missing', tools: 0, prompts: 0, resources: 0 })
    const [, owners] = (await status({})).body.members
    expect(owners).toMatchObject({ alias: secret, tools: 5 })
  })
})
