import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { stableAlias } from '../../src/core/fields/alias.ts'
import { ElsewhereMember } from '../fixtures/elsewhere-member.ts'
import { TestGateway } from '../fixtures/gateway.ts'
import { as, ListingGateway, textOf } from '../fixtures/listing-gateway.ts'
import { adapterAt, serve } from '../fixtures/many-servers.ts'
import { modernRequest } from '../fixtures/mcp-requests.ts'

const small = 6
let listing: ListingGateway
beforeAll(async () => {
  listing = await ListingGateway.open({
    access: { quotas: { servers: small } },
    proxy: { streamRecheckSeconds: 0.1 },
  })
})
afterAll(() => listing[Symbol.asyncDispose]())

const eve = as('eve', 'guest')
const unique = (): string => randomUUID().slice(0, 8)

/** Registers a tool that runs nowhere. */
async function tool(name: string, mcpName: string): Promise<void> {
  const body = {
    name,
    endpoint: 'http://127.0.0.1:9/call',
    toolDefinition: { tool: { name: mcpName, inputSchema: { type: 'object' } } },
  }
  expect(await listing.api('POST', '/tools', body)).toMatchObject({ status: 201 })
}

/** Alias and state of each member, as a status shows them. */
const states = ({ members }: { members: { name: string; state: string }[] }) =>
  members.map(({ name, state }) => [name, state])

describe('names at the built-in server', () => {
  test('an adapter whose name is the alias of another one takes none of its calls', async () => {
    const victim = await listing.adapter('modern', 'HTTP', {
      name: `git-${unique()}`,
      aggregate: true,
    })
    const alias = stableAlias(victim)
    const builtIn = listing.at(undefined)
    await expect.poll(() => builtIn.names()).toContain(`${alias}_get_time`)

    const thief = await listing.adapter('modern', 'HTTP', { name: alias, aggregate: true })
    await expect
      .poll(async () => (await builtIn.ask('tools/list')).message.result?.['_meta'])
      .toMatchObject({
        'mcp-gateway/members': { [`adapter/${thief}`]: { state: 'Conflict' } },
      })
    const before = listing.asked(victim, 'called')
    expect(textOf(await builtIn.call(`${alias}_get_time`))).toBe('did get_time')
    expect(listing.asked(victim, 'called')).toBe(before + 1)
  })

  test('a tool that comes later does not take the name of a tool of an adapter', async () => {
    const adapter = await listing.adapter('modern', 'HTTP', { aggregate: true })
    const builtIn = listing.at(undefined)
    await expect.poll(() => builtIn.names()).toContain(`${adapter}_get_time`)

    await tool(`t-${unique()}`, `${adapter}_get_time`)
    const marked = new RegExp(`^${adapter}_get_time_[a-z2-7]{6}$`)
    await expect
      .poll(() => builtIn.names())
      .toEqual(expect.arrayContaining([expect.stringMatching(marked)]))
    expect(textOf(await builtIn.call(`${adapter}_get_time`))).toBe('did get_time')
  })

  test('an adapter that joins later does not take the name of a tool', async () => {
    const name = `s${unique()}`
    await tool(`t-${unique()}`, `${name}_get_time`)
    const builtIn = listing.at(undefined)
    await expect.poll(() => builtIn.names()).toContain(`${name}_get_time`)

    await listing.adapter('modern', 'HTTP', { name, aggregate: true })
    await expect.poll(() => builtIn.names()).toContain(`${name}_write_note`)
    await builtIn.call(`${name}_get_time`)
    expect(listing.asked(name, 'called')).toBe(0)
  })
})

describe('aliases of named members', () => {
  test('a member keeps its alias when PUT names another one before it', async () => {
    const headers = as('quinn', 'engineer')
    const { name } = await listing.serve([{ adapter: 'git-hub' }], { headers })
    const members = [{ adapter: 'github' }, { adapter: 'git-hub' }]
    const { body } = await listing.api('PUT', `/servers/${name}`, { members }, headers)
    expect(body.members).toEqual([
      { adapter: 'github', alias: 'github2' },
      { adapter: 'git-hub', alias: 'github' },
    ])
  })

  test.each([
    ['an adapter twice', [{ adapter: 'a' }, { adapter: 'a', alias: 'b' }], 'member_repeated'],
    [
      'one name for two tools',
      [{ adapter: 'a', overrides: { x: { name: 'z' }, y: { name: 'z' } } }],
      'override_repeated',
    ],
  ])('a definition that gives %s is refused', async (_what, members, code) => {
    const { status, body } = await listing.api('PUT', `/servers/v${unique()}`, { members })
    expect([status, body.errors[0].code]).toEqual([400, code])
  })
})

describe('a member that its caller may not use', () => {
  test('the gateway neither reads it nor tells whether it exists', async () => {
    const payroll = await listing.adapter('modern', 'HTTP')
    const asked = listing.asked(payroll)
    const members = (name: string): object[] => [{ adapter: name, alias: 'x', required: true }]
    const [hidden, missing] = [
      await listing.serve(members(payroll), { headers: eve }),
      await listing.serve(members('nowhere'), { headers: eve }),
    ]
    const seen = async ({ ask, name, status }: typeof hidden) => {
      const { message, status: code } = await ask('tools/list', {}, eve)
      const text = JSON.stringify([code, message, await status(eve)])
      return text
        .replaceAll(name, 'SERVER')
        .replaceAll(/"(nowhere|s[0-9a-f]{8})"/g, '"MEMBER"')
        .replaceAll(/"requestId":"[^"]*"/g, '')
    }
    expect(await seen(hidden)).toBe(await seen(missing))
    expect(await seen(hidden)).toContain('"MEMBER"')
    expect(listing.asked(payroll)).toBe(asked)

    // Its owner may use it, and so begins the reading.
    const admin = as('root', 'mcp.admin')
    await expect.poll(() => hidden.names(admin)).toContain('x_get_time')
    expect(await seen(hidden)).toBe(await seen(missing))
  })
})

describe('members by selector', () => {
  test('labels of strangers bring nothing in, and the status tells who is left out', async () => {
    const label = unique()
    const labels = { team: label }
    const own = await listing.adapter('modern', 'HTTP', { labels })
    const strange = await listing.adapter('modern', 'HTTP', {
      labels,
      requiredRoles: ['engineer'],
      headers: as('mallory', 'engineer'),
    })
    const { name, names, status } = await listing.serve([{ selector: labels }])
    await expect.poll(async () => states(await status())).toEqual([[own, 'Ready']])
    expect((await names()).every((each) => each.startsWith(`${own}_`))).toBe(true)
    expect((await status(as('mallory', 'mcp.admin'))).leftOut).toEqual([
      { kind: 'adapter', name: strange, reason: expect.stringContaining('somebody other') },
    ])

    const members = [{ selector: labels }, { adapter: strange }]
    expect(await listing.api('PUT', `/servers/${name}`, { members })).toMatchObject({ status: 200 })
    await expect
      .poll(async () => (await status(as('mallory', 'mcp.admin'))).members)
      .toMatchObject([{ name: strange }, { name: own }])
  })
})

describe('a required member', () => {
  test('the end of a required member refuses new requests, and cuts no open stream', async () => {
    const [needed, other] = [
      await listing.adapter('modern', 'HTTP'),
      await listing.adapter('modern', 'HTTP'),
    ]
    const headers = as('rita', 'mcp.admin')
    const { call, names, path, status } = await listing.serve(
      [
        { adapter: needed, alias: 'n', required: true },
        { adapter: other, alias: 'o' },
      ],
      { headers },
    )
    await expect.poll(() => names(headers)).toHaveLength(8)
    const { headers: ofRequest, body } = modernRequest('subscriptions/listen', {
      notifications: { toolsListChanged: true },
    })
    const stream = await listing.gateway.start(path, {
      headers: { ...ofRequest, ...headers },
      body,
    })
    let isOver = false
    stream.resume().once('close', () => (isOver = true))

    await listing.gateway.patch(needed, { replicaCount: 0 })
    await expect.poll(async () => (await call('o_get_time', headers)).status).toBe(503)
    expect(await status(headers)).toMatchObject({
      phase: 'Unavailable',
      members: [{ state: 'Stopped' }, { state: 'Ready' }],
    })
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect(isOver).toBe(false)
    stream.destroy()

    await listing.gateway.patch(needed, { replicaCount: 1 })
    await expect
      .poll(async () => textOf(await call('o_get_time', headers)), { timeout: 5000 })
      .toBe('did get_time')
  })

  test('a member that was never read lets the first list wait for it', async () => {
    const headers = as('rob', 'engineer')
    const needed = await listing.adapter('modern', 'HTTP', { headers })
    const { ask, names } = await listing.serve([{ adapter: needed, alias: 'n', required: true }], {
      headers,
    })
    let answer = await ask('tools/list', {}, headers)
    while (answer.status === 404) answer = await ask('tools/list', {}, headers)
    expect(answer.status).toBe(200)
    expect(await names(headers)).toHaveLength(4)
  })
})

describe('the status of members', () => {
  test('a server that crashes is down before anybody calls it, and since that moment', async () => {
    const headers = as('sam', 'engineer')
    const member = await listing.adapter('modern', 'HTTP', {
      headers,
      variables: { EXITS: 'delete_all' },
    })
    const { call, names, status } = await listing.serve([{ adapter: member, alias: 'm' }], {
      headers,
    })
    await expect.poll(() => names(headers)).toHaveLength(4)
    await expect.poll(async () => states(await status(headers))).toEqual([[member, 'Ready']])

    const before = Date.now()
    await call('m_delete_all', headers)
    await expect.poll(async () => (await status(headers)).members[0].state).not.toBe('Ready')
    const { since, state } = (await status(headers)).members[0]
    expect(['Down', 'Starting']).toContain(state)
    expect(Date.parse(since)).toBeGreaterThanOrEqual(before)
  })

  test('an adapter without a ready replica yet is starting', async () => {
    const headers = as('sue', 'engineer')
    const member = await listing.adapter('modern', 'HTTP', { headers, replicaCount: 0 })
    const { status } = await listing.serve([{ adapter: member }], { headers })
    await expect.poll(async () => states(await status(headers))).toEqual([[member, 'Stopped']])
  })
})

describe('a member that is slow to say which era it speaks', () => {
  test('a slow member is read, because the gateway waits as long as for initialize', async () => {
    await using gateway = await TestGateway.open({ proxy: { handshakeTimeoutSeconds: 6 } })
    await using member = await ElsewhereMember.start({ tools: [{ name: 'run' }], discoverMs: 4000 })
    const server = await serve(gateway, [
      { adapter: await adapterAt(gateway, member.endpoint), alias: 's' },
    ])

    await expect.poll(() => server.names()).toEqual(['s_run'])
    // Once for its era, and once for its instructions.
    const asked = member.seen.filter(({ method }) => method === 'server/discover')
    expect(asked).toHaveLength(2)
  })
})

describe('the quota of virtual servers', () => {
  test('creations at once do not exceed it, and administrators may', async () => {
    const make = async (headers: Record<string, string>) => {
      const made = await listing.api('PUT', `/servers/v${unique()}`, { members: [] }, headers)
      return made.status === 201 ? 'made' : made.body
    }
    const results = await Promise.all(
      Array.from({ length: small + 2 }, () => make(as('quentin', 'engineer'))),
    )
    expect(results.filter((result) => result === 'made')).toHaveLength(small)
    expect(results.find((result) => result !== 'made')).toMatchObject({
      status: 403,
      code: 'quota_exceeded',
      detail: expect.stringContaining(`may have ${small} (access.quotas.servers)`),
    })
    const all = Array.from({ length: small + 1 }, () => make(as('boss', 'mcp.admin')))
    expect(new Set(await Promise.all(all))).toEqual(new Set(['made']))
  })
})
