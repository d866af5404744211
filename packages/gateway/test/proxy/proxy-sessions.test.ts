import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { TestGateway, valuesOf, type Exchange } from '../fixtures/gateway.ts'

let gateway: TestGateway
let adapter: string
let tags = 0
const newTag = (): string => `s${(tags += 1)}`

beforeAll(async () => {
  // No test can wait for a replica that does not exist.
  gateway = await TestGateway.open({ proxy: { coldStartSeconds: 3600 } })
  adapter = await gateway.register({ requiredRoles: ['user'] })
})
afterAll(() => gateway[Symbol.asyncDispose]())
afterEach(() => vi.restoreAllMocks())

const initialize = async (
  name: string,
  id?: string,
  headers: Record<string, string> = {},
): Promise<string> => {
  const { status, rawHeaders } = await gateway.mcp(
    name,
    `do=initialize${id === undefined ? '' : `&id=${encodeURIComponent(id)}`}`,
    {
      headers,
    },
  )
  expect(status).toBe(200)
  const sealed = valuesOf(rawHeaders, 'mcp-session-id')
  expect(sealed).toHaveLength(1)
  return sealed[0] as string
}
/** The parts of an answer that a client can tell apart, without those of this one request. */
const seen = ({ status, headers, body }: Exchange): unknown => {
  const { date: _date, 'x-request-id': id, 'content-length': _length, ...others } = headers
  return { status, headers: others, body: body.toString().replaceAll(id as string, '') }
}

describe('session ids', () => {
  const ids = [
    'a_b-c',
    'eyJhbGciOiJub25lIn0.eyJhIjoxfQ.',
    '~!@$%^&*()[]{}|;:"<>,?/`\'',
    'x'.repeat(4000),
  ]
  test.each(ids.map((id) => [id.slice(0, 40), id] as const))(
    'the server gets back the session id that it gave: %s (C1)',
    async (_start, id) => {
      const tag = newTag()
      const sealed = await initialize(adapter, id)
      expect(sealed).not.toContain(id.slice(0, 20))
      expect(
        (await gateway.mcp(adapter, `tag=${tag}`, { headers: { 'mcp-session-id': sealed } }))
          .status,
      ).toBe(200)
      expect(valuesOf(gateway.received(tag).rawHeaders, 'mcp-session-id')).toEqual([id])
    },
  )

  test('a session id may stand in the query, which the server does not see (C22)', async () => {
    const [first, second] = [
      await initialize(adapter, 'first'),
      await initialize(adapter, 'second'),
    ]
    const inQuery = newTag()
    await gateway.mcp(adapter, `a=%20&session_id=${first}&tag=${inQuery}&b`)
    expect(valuesOf(gateway.received(inQuery).rawHeaders, 'mcp-session-id')).toEqual(['first'])
    expect(gateway.received(inQuery).url).toBe(`/mcp?a=%20&tag=${inQuery}&b`)
    const both = newTag()
    await gateway.mcp(adapter, `session_id=${first}&tag=${both}`, {
      headers: { 'mcp-session-id': second },
    })
    expect(valuesOf(gateway.received(both).rawHeaders, 'mcp-session-id')).toEqual(['second'])
    expect(JSON.stringify(gateway.log)).not.toContain(first)
  })

  test('every unusable session id gets the same 404, and no server sees it (C3)', async () => {
    const other = await gateway.register({ requiredRoles: ['user'] })
    const sealed = await initialize(adapter)
    const tag = newTag()
    const ask = (
      id: string | readonly string[],
      headers: Record<string, string> = {},
    ): Promise<Exchange> =>
      gateway.mcp(adapter, `tag=${tag}`, { headers: { ...headers, 'mcp-session-id': id } })
    const answers = [
      await ask('made-up'),
      await ask('x'.repeat(20_000)),
      await ask(await initialize(other)),
      await ask(`${sealed}A`),
      await ask(`${sealed.slice(0, -1)}${sealed.endsWith('A') ? 'B' : 'A'}`),
      await ask([sealed, sealed]),
      await ask(
        await initialize(adapter, undefined, { 'x-dev-userid': 'bob', 'x-dev-roles': 'user' }),
      ),
      await ask(sealed, { 'x-dev-userid': 'bob', 'x-dev-roles': 'user' }),
      await gateway.mcp(adapter, `tag=${tag}&session_id=made-up`),
    ]
    expect(answers[0]?.status).toBe(404)
    expect(JSON.parse(answers[0]?.body.toString() ?? '')).toMatchObject({
      error: { code: -32001, data: { code: 'session_not_found' } },
    })
    for (const answer of answers) expect(seen(answer)).toEqual(seen(answers[0] as Exchange))
    expect(gateway.events(tag)).toEqual([])
  })

  test('sessions of a deleted adapter are 404 after its name is created again', async () => {
    const name = await gateway.register()
    const sealed = await initialize(name)
    await gateway.send(`/adapters/${name}`, { method: 'DELETE' })
    expect((await gateway.mcp(name, '', { headers: { 'mcp-session-id': sealed } })).status).toBe(
      404,
    )
    const body = JSON.stringify({ name, imageName: 'scripted', imageVersion: '1' })
    expect(
      (await gateway.send('/adapters', { headers: { 'content-type': 'application/json' }, body }))
        .status,
    ).toBe(201)
    await gateway.untilReady(name, 1)
    expect((await gateway.mcp(name, '', { headers: { 'mcp-session-id': sealed } })).status).toBe(
      404,
    )
    expect((await gateway.mcp(name, '')).status).toBe(200)
  })

  test('a session id changes exactly when the server changes its own', async () => {
    const sealed = await initialize(adapter, 'repeated')
    const again = await gateway.mcp(adapter, 'do=initialize&id=repeated', {
      headers: { 'mcp-session-id': sealed },
    })
    expect(again.headers['mcp-session-id']).toBe(sealed)
    const another = await gateway.mcp(adapter, 'do=initialize&id=another', {
      headers: { 'mcp-session-id': sealed },
    })
    expect(another.headers['mcp-session-id']).not.toBe(sealed)
  })
})

describe('sessions and replicas', () => {
  test('requests of a session stay on its replica, and sessions spread (C2, C11)', async () => {
    const name = await gateway.register({ replicaCount: 3 })
    const sessions = await Promise.all(Array.from({ length: 30 }, () => initialize(name)))
    const used = new Set<string>()
    await Promise.all(
      sessions.map(async (sealed, index) => {
        const replicas = new Set<string | undefined>()
        for (const method of ['POST', 'GET', 'POST', 'DELETE']) {
          const tag = `sticky-${index}-${method}-${newTag()}`
          expect(
            (
              await gateway.mcp(name, `tag=${tag}`, {
                method,
                headers: { 'mcp-session-id': sealed },
              })
            ).status,
          ).toBe(200)
          expect(gateway.received(tag).method).toBe(method)
          replicas.add(gateway.events(tag)[0]?.replica)
        }
        expect(replicas.size).toBe(1)
        used.add([...replicas][0] as string)
      }),
    )
    expect(used.size).toBe(3)
  })

  test('a request without a session goes to the least busy replica (C11)', async () => {
    const name = await gateway.register({ replicaCount: 2 })
    const leave = new AbortController()
    const tag = newTag()
    const streams = Array.from({ length: 3 }, () =>
      gateway.start(`/adapters/${name}/mcp?do=stream&tag=${tag}`, {}, leave.signal),
    )
    for (const stream of await Promise.all(streams)) stream.on('error', () => undefined)
    const on = (replica: string): number =>
      gateway.events(tag).filter((event) => event.replica === replica && event.method).length
    const [busier, other] = on(`${name}-0`) === 2 ? ['0', '1'] : ['1', '0']
    expect([on(`${name}-${busier}`), on(`${name}-${other}`)]).toEqual([2, 1])
    const used = async (): Promise<Set<string | undefined>> => {
      const group = Array.from({ length: 20 }, newTag)
      for (const each of group) await gateway.mcp(name, `tag=${each}`)
      return new Set(group.map((each) => gateway.events(each)[0]?.replica))
    }
    expect(await used()).toEqual(new Set([`${name}-${other}`]))
    leave.abort()
    await expect
      .poll(() => gateway.events(tag).filter(({ closed }) => closed === 'cut').length)
      .toBe(3)
    expect((await used()).size).toBe(2)
  })

  test('sessions of a removed replica are 404 at once, and others continue (C4)', async () => {
    const name = await gateway.register({ replicaCount: 2 })
    const byReplica = new Map<string, string>()
    for (let round = 0; round < 100 && byReplica.size < 2; round += 1) {
      const tag = newTag()
      const sealed = await initialize(name)
      await gateway.mcp(name, `tag=${tag}`, { headers: { 'mcp-session-id': sealed } })
      byReplica.set(gateway.events(tag)[0]?.replica ?? '', sealed)
    }
    await gateway.patch(name, { replicaCount: 1 })
    await gateway.untilReady(name, 1)
    const ask = (replica: string): Promise<Exchange> =>
      gateway.mcp(name, '', { headers: { 'mcp-session-id': byReplica.get(replica) ?? '' } })
    const gone = await ask(`${name}-1`)
    expect(gone.status).toBe(404)
    expect(seen(gone)).toEqual(
      seen(await gateway.mcp(name, '', { headers: { 'mcp-session-id': 'made-up' } })),
    )
    expect((await ask(`${name}-0`)).status).toBe(200)
  })

  test('a 400 for a session that its instance does not know becomes a 404', async () => {
    const name = await gateway.register()
    const sealed = await initialize(name)
    const young = await gateway.mcp(name, 'do=status&status=400', {
      headers: { 'mcp-session-id': sealed },
    })
    expect([young.status, young.body.toString()]).toEqual([400, '{"from":"server"}'])
    // The next instance starts seconds later, because issue times have whole seconds.
    const { now } = Date
    vi.spyOn(Date, 'now').mockImplementation(() => now() + 3000)
    await gateway.mcp(name, 'do=exit')
    await expect
      .poll(async () => (await gateway.mcp(name, '')).status, { timeout: 30_000 })
      .toBe(200)
    const old = await gateway.mcp(name, 'do=status&status=400', {
      headers: { 'mcp-session-id': sealed },
    })
    expect(seen(old)).toEqual(
      seen(await gateway.mcp(name, '', { headers: { 'mcp-session-id': 'made-up' } })),
    )
    for (const status of [200, 404, 500]) {
      const passed = await gateway.mcp(name, `do=status&status=${status}`, {
        headers: { 'mcp-session-id': sealed },
      })
      expect([passed.status, passed.body.toString()]).toEqual([status, '{"from":"server"}'])
    }
  })

  test('sessions wait while their replica restarts', async () => {
    const name = await gateway.register()
    const sealed = await initialize(name)
    await gateway.mcp(name, 'do=exit')
    await expect
      .poll(
        async () => (await gateway.mcp(name, '', { headers: { 'mcp-session-id': sealed } })).status,
        { timeout: 30_000 },
      )
      .toBe(200)
  })
})
