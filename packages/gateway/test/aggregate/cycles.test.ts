import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ElsewhereMember } from '../fixtures/elsewhere-member.ts'
import { TestGateway } from '../fixtures/gateway.ts'
import { adapterAt, api, serve, textOf, type Reached } from '../fixtures/many-servers.ts'

let gateway: TestGateway
let member: ElsewhereMember
let credential: { readonly header: string; readonly value: string }

beforeAll(async () => {
  gateway = await TestGateway.open()
  member = await ElsewhereMember.start({ tools: [{ name: 'run' }] })
  const { body } = await api(gateway, ['POST', '/api-keys'], { name: 'of an adapter' })
  credential = { header: 'Authorization', value: `Bearer ${body.key}` }
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await member[Symbol.asyncDispose]()
})

const statusOf = async ({ name }: Reached): Promise<unknown> =>
  (await api(gateway, ['GET', `/servers/${name}/status`])).body.members

/** How many requests of virtual servers the log has. */
const admitted = (): number =>
  gateway.log.filter(({ path }) => String(path).startsWith('/servers/')).length

describe('a virtual server that is a member of itself', () => {
  test('a cycle through an adapter is a status, and costs no further requests', async () => {
    const server = await serve(gateway, [])
    const adapter = await adapterAt(gateway, `${gateway.origin}${server.path}`, { credential })
    const inner = await adapterAt(gateway, member.endpoint)
    const members = [
      { adapter, alias: 'loop' },
      { adapter: inner, alias: 'a' },
    ]
    await api(gateway, ['PUT', `/servers/${server.name}`], { members })

    await expect
      .poll(() => statusOf(server))
      .toMatchObject([
        { alias: 'loop', state: 'Down', reason: expect.stringContaining('itself'), tools: 0 },
        { alias: 'a', state: 'Ready' },
      ])
    expect(await server.names()).toEqual(['a_run'])
    expect(textOf(await server.ask('tools/call', { name: 'a_run' }))).toBe('did run')
    const before = admitted()
    await new Promise((resolve) => setTimeout(resolve, 1500))
    expect(admitted() - before).toBeLessThan(6)
  })

  test('a cycle through two virtual servers, or the built-in one, ends as well', async () => {
    const [one, two] = [await serve(gateway, []), await serve(gateway, [])]
    const at = (path: string, more = {}): Promise<string> =>
      adapterAt(gateway, `${gateway.origin}${path}`, { credential, ...more })
    const put = ({ name }: Reached, adapter: string) =>
      api(gateway, ['PUT', `/servers/${name}`], { members: [{ adapter, alias: 'loop' }] })
    await put(one, await at(two.path))
    await put(two, await at(one.path))
    for (const each of [one, two])
      await expect.poll(() => statusOf(each)).toMatchObject([{ state: 'Down', tools: 0 }])

    const joined = await at('/mcp', { aggregate: true })
    const built = await serve(gateway, [{ adapter: joined }])
    await expect.poll(() => statusOf(built)).toMatchObject([{ state: 'Down', tools: 0 }])
    expect(await built.names()).toEqual([])
    await api(gateway, ['DELETE', `/adapters/${joined}`])
  })

  test('a request names the gateways before this one to a member elsewhere', async () => {
    const adapter = await adapterAt(gateway, member.endpoint)
    const server = await serve(gateway, [{ adapter, alias: 'a' }])
    await expect.poll(() => server.names()).toEqual(['a_run'])
    const before = member.seen.length
    const headers = { authorization: credential.value, 'cdn-loop': 'another-gateway' }
    await server.ask('tools/call', { name: 'a_run' }, headers)
    const call = member.seen.slice(before).find(({ method }) => method === 'tools/call')
    expect(call?.headers['cdn-loop']).toMatch(/^another-gateway, mcp-gateway-/)
  })

  test('a tool that calls the virtual server whose member it is gets an error', async () => {
    const tool = `t${randomUUID().slice(0, 8)}`
    const server = await serve(gateway, [{ tool, alias: 'self' }])
    const made = await api(gateway, ['POST', '/tools'], {
      name: tool,
      endpoint: `${gateway.origin}${server.path}`,
      toolDefinition: { tool: { name: tool } },
      credential,
    })
    expect(made).toMatchObject({ status: 201 })
    await expect.poll(() => server.names()).toHaveLength(1)
    const before = admitted()
    const [name] = await server.names()
    const { message } = await server.ask('tools/call', { name, arguments: {} })
    expect(message.result).toMatchObject({ isError: true })
    expect(admitted() - before).toBeLessThan(6)
  })

  test('a virtual server of servers in the runtime may be a member of another', async () => {
    const inner = await serve(gateway, [])
    const adapter = await adapterAt(gateway, `${gateway.origin}${inner.path}`, { credential })
    const outer = await serve(gateway, [{ adapter, alias: 'inner' }])
    await expect.poll(() => statusOf(outer)).toMatchObject([{ state: 'Ready' }])
  })
})
