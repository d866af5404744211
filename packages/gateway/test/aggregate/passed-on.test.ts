import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { ElsewhereMember } from '../fixtures/elsewhere-member.ts'
import { TestGateway } from '../fixtures/gateway.ts'
import { adapterAt, serve, type Headers, type Reached } from '../fixtures/many-servers.ts'
import { modern } from '../fixtures/mcp-requests.ts'

const folder = mkdtempSync(join(tmpdir(), 'mcpgw-passed-on-'))
const file = join(folder, 'audit.log')
let gateway: TestGateway
let member: ElsewhereMember
let adapter = ''
let server: Reached

beforeAll(async () => {
  const audit = { dataPlane: 'all', sinks: [{ type: 'file', path: file }] }
  gateway = await TestGateway.open({ audit })
  member = await ElsewhereMember.start({
    tools: [{ name: 'get_it' }, { name: 'wipe' }],
    prompts: [{ name: 'greet' }],
    resources: [{ uri: 'file:///x', name: 'x' }],
    resourceTemplates: [{ uriTemplate: 'https://h.example/{id}', name: 'web' }],
  })
  const more = {
    requiredRoles: ['reader'],
    toolRules: [
      { effect: 'allow', tools: '*', roles: ['boss'] },
      { effect: 'allow', tools: 'get_*' },
    ],
  }
  adapter = await adapterAt(gateway, member.endpoint, more)
  const roles = { requiredRoles: ['reader', 'guest'] }
  server = await serve(gateway, [{ adapter, alias: 'a' }], roles)
  await vi.waitFor(async () => expect(await server.names(admin)).toHaveLength(1))
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await member[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true })
})

const reader: Headers = { 'x-dev-userid': 'bob', 'x-dev-roles': 'reader' }
const boss: Headers = { 'x-dev-userid': 'ann', 'x-dev-roles': 'reader,boss' }
const guest: Headers = { 'x-dev-userid': 'eve', 'x-dev-roles': 'guest' }
const admin: Headers = { 'x-dev-userid': 'root', 'x-dev-roles': 'mcp.admin' }

interface AuditRecord {
  readonly action: string
  readonly outcome: string
  readonly requestId?: string
}

let count = 0

/** Sends a request, and gives its records without what every request has of its own. */
async function recorded(send: (headers: Headers) => Promise<unknown>): Promise<object[]> {
  const id = `request-${(count += 1)}`
  await send({ 'x-request-id': id })
  const own = (): AuditRecord[] =>
    readFileSync(file, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as AuditRecord)
      .filter(({ requestId }) => requestId === id)
  await expect.poll(() => own().length).toBeGreaterThan(0)
  return own().map(({ action, outcome, ...more }) => {
    const { admin: asAdmin, code, digest, resource, tool } = more as Record<string, unknown>
    return { action, outcome, asAdmin, code, digest, resource, tool }
  })
}

const args = { n: 1 }

describe('the audit record of a request to a virtual server', () => {
  const callers = { reader, boss, administrator: admin }
  const messages = [
    ['tools/call', { name: 'get_it', arguments: args }, 'a_get_it'],
    ['tools/call', { name: 'wipe', arguments: args }, 'a_wipe'],
    ['tools/call', { name: 'wipe', arguments: args }, 'wipe'],
    ['prompts/get', { name: 'greet' }, 'a_greet'],
    ['resources/read', { uri: 'file:///x' }, 'a+file:///x'],
    ['resources/read', { uri: 'file:///y' }, 'a+file:///y'],
  ] as const
  const cases = Object.entries(callers).flatMap(([who, headers]) =>
    messages.map(([method, direct, shown]) => ({ who, headers, method, direct, shown })),
  )

  test.each(cases)(
    'the record of $method of $shown by a $who is that of the same request at the member',
    async ({ headers, method, direct, shown }) => {
      const path = `/adapters/${adapter}/mcp`
      const [atMember] = await recorded((id) =>
        modern(gateway, method, direct, { path, headers: { ...headers, ...id } }),
      )
      const changed = { ...direct, ['uri' in direct ? 'uri' : 'name']: shown }
      const records = await recorded((id) => server.ask(method, changed, { ...headers, ...id }))
      // The digest of a call is that of its arguments; that of other messages has the whole body.
      const digest = method === 'tools/call' ? {} : { digest: expect.any(String) }
      expect(records).toEqual([{ ...atMember, ...digest }])
    },
  )

  test.each(messages)(
    'a %s with %j is recorded as denied at the member that the caller may not use',
    async (method, direct, shown) => {
      const changed = { ...direct, ['uri' in direct ? 'uri' : 'name']: shown }
      const [record] = await recorded((id) => server.ask(method, changed, { ...guest, ...id }))
      expect(record).toMatchObject({
        action: `mcp.${method}`,
        outcome: 'denied',
        code: 'not_found',
        resource: { kind: 'adapter', name: adapter },
      })
    },
  )

  test('search mode records the tool that is called, and not call_tool', async () => {
    const path = `/servers/${server.name}/search/mcp`
    const call = (name: string, headers: Headers) =>
      recorded((id) =>
        modern(
          gateway,
          'tools/call',
          { name: 'call_tool', arguments: { name, arguments: args } },
          { path, headers: { ...headers, ...id } },
        ),
      )
    const [direct] = await recorded((id) =>
      modern(
        gateway,
        'tools/call',
        { name: 'get_it', arguments: args },
        {
          path: `/adapters/${adapter}/mcp`,
          headers: { ...reader, ...id },
        },
      ),
    )
    expect(await call('a_get_it', reader)).toEqual([direct])
    for (const name of ['a_wipe', 'wipe'])
      expect(await call(name, reader)).toMatchObject([
        { tool: 'wipe', outcome: 'denied', resource: { name: adapter } },
      ])
  })

  test('each message of a batch is recorded at its own member', async () => {
    const other = await adapterAt(gateway, member.endpoint, { requiredRoles: ['reader'] })
    const both = await serve(gateway, [
      { adapter, alias: 'a' },
      { adapter: other, alias: 'b' },
    ])
    await expect.poll(() => both.names(admin)).toHaveLength(3)
    const session = await both.session(admin)
    const call = (id: number, name: string): object => ({
      jsonrpc: '2.0',
      id,
      method: 'tools/call',
      params: { name, arguments: {} },
    })
    const records = await recorded((id) =>
      gateway.send(both.path, {
        headers: { ...session, ...id },
        body: JSON.stringify([call(1, 'b_get_it'), call(2, 'a_get_it')]),
      }),
    )
    expect(records).toMatchObject([
      { action: 'mcp.batch' },
      { tool: 'get_it', asAdmin: true, resource: { name: other } },
      { tool: 'get_it', asAdmin: true, resource: { name: adapter } },
    ])
  })
})

describe('what a virtual server passes on', () => {
  test('a member gets the trace, id and Idempotency-Key of the client’s request', async () => {
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    const headers = {
      ...reader,
      traceparent,
      'x-request-id': 'of-the-client',
      'idempotency-key': '"once"',
    }
    await server.ask('tools/call', { name: 'a_get_it', arguments: args }, headers)
    const { headers: got, params } = member.seen.at(-1) ?? {}
    expect(got).toMatchObject({ 'x-request-id': 'of-the-client', 'idempotency-key': 'once' })
    expect(String(got?.['traceparent'])).toContain('0af7651916cd43dd8448eb211c80319c')
    expect(params?.['_meta']).toMatchObject({ traceparent })
  })

  test('a web address that only a template has is read at the member of the template', async () => {
    const { message } = await server.ask('resources/read', { uri: 'https://h.example/5' }, reader)
    expect(message.result).toMatchObject({ contents: [{ uri: 'https://h.example/5' }] })
  })

  test('a member without completions completes nothing', async () => {
    const ref = { type: 'ref/prompt', name: 'a_greet' }
    const given = { ref, argument: { name: 'x', value: '' } }
    const { message } = await server.ask('completion/complete', given, reader)
    expect(message.result).toMatchObject({ completion: { values: [] } })
  })

  test('a session of one address is unknown at the search address', async () => {
    const search = `/servers/${server.name}/search/mcp`
    const session = await server.session(reader)
    const ping = (path: string): Promise<number> =>
      gateway
        .send(path, { headers: session, body: '{"jsonrpc":"2.0","id":2,"method":"ping"}' })
        .then(({ status }) => status)
    expect([await ping(server.path), await ping(search)]).toEqual([200, 404])
  })
})
