import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ElsewhereMember } from '../fixtures/elsewhere-member.ts'
import { TestGateway } from '../fixtures/gateway.ts'
import { adapterAt, api, OpenAnswer, serve, type Headers } from '../fixtures/many-servers.ts'

const bob: Headers = { 'x-dev-userid': 'bob', 'x-dev-roles': 'reader' }
const uri = 'file:///x'
const shown = `a+${uri}`
let gateway: TestGateway
let member: ElsewhereMember

beforeAll(async () => {
  gateway = await TestGateway.open({ proxy: { streamRecheckSeconds: 0.1 } })
  member = await ElsewhereMember.start({
    tools: [{ name: 'run' }, { name: 'hold' }],
    resources: [{ uri, name: 'x' }],
  })
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await member[Symbol.asyncDispose]()
})

/** A virtual server whose one member is open to readers. */
async function served() {
  const adapter = await adapterAt(gateway, member.endpoint, { requiredRoles: ['reader'] })
  const members = [{ adapter, alias: 'a' }]
  const server = await serve(gateway, members, { requiredRoles: ['reader'] })
  await expect.poll(() => server.names(bob)).toEqual(['a_hold', 'a_run'])
  return { adapter, server }
}

const taken: Record<string, (adapter: string, server: string) => Promise<unknown>> = {
  'its owner closes it': (adapter) => gateway.patch(adapter, { requiredRoles: ['other'] }),
  'it is a member no more': (_, server) =>
    api(gateway, ['PUT', `/servers/${server}`], { members: [] }),
  'it is deleted': (adapter) => api(gateway, ['DELETE', `/adapters/${adapter}`]),
  'the virtual server is closed': (_, server) =>
    api(gateway, ['PATCH', `/servers/${server}`], { requiredRoles: ['other'] }),
}

describe('a client that loses the right to a member', () => {
  test.each(Object.keys(taken))(
    'a modern client has no updates and no running call of a member once %s',
    async (how) => {
      const { adapter, server } = await served()
      const notifications = { resourceSubscriptions: [shown] }
      const stream = await server.open('subscriptions/listen', { notifications }, bob)
      await expect.poll(() => stream.messages).toHaveLength(1)
      member.update(uri)
      await expect.poll(() => stream.updates).toEqual([shown])
      const call = server.ask('tools/call', { name: 'a_hold', arguments: {} }, bob)
      await expect.poll(() => member.held.size).toBe(1)

      await taken[how]?.(adapter, server.name)
      await call.catch(() => undefined)
      await expect.poll(() => [member.held.size, member.subscribed]).toEqual([0, []])
      member.update(uri)
      expect(stream.updates).toEqual([shown])
      stream.response.destroy()
    },
  )

  test.each(Object.keys(taken))(
    'a client of 2025-11-25 has no updates and no running call of a member once %s',
    async (how) => {
      const { adapter, server } = await served()
      const session = await server.session(bob)
      const stream = new OpenAnswer(
        await gateway.start(server.path, { method: 'GET', headers: session }),
      )
      const post = (method: string, params: object): Promise<OpenAnswer> =>
        gateway
          .start(server.path, {
            headers: session,
            body: JSON.stringify({ jsonrpc: '2.0', id: 2, method, params }),
          })
          .then((response) => new OpenAnswer(response))
      await post('resources/subscribe', { uri: shown })
      await expect.poll(() => member.subscribed).toEqual([uri])
      member.update(uri)
      await expect.poll(() => stream.updates).toEqual([shown])
      const call = post('tools/call', { name: 'a_hold', arguments: {} })
      await expect.poll(() => member.held.size).toBe(1)

      await taken[how]?.(adapter, server.name)
      await call.catch(() => undefined)
      await expect.poll(() => [member.held.size, member.subscribed]).toEqual([0, []])
      member.update(uri)
      expect(stream.updates).toEqual([shown])
      stream.response.destroy()
    },
  )

  test('the streams and calls of others go on, and the right brings updates back', async () => {
    const { adapter, server } = await served()
    const notifications = { resourceSubscriptions: [shown] }
    const listen = (headers: Headers): Promise<OpenAnswer> =>
      server.open('subscriptions/listen', { notifications }, headers)
    const [his, owners] = [await listen(bob), await listen({})]
    const held = server.open('tools/call', { name: 'a_hold', arguments: {} })
    await expect.poll(() => [member.subscribed.length, member.held.size]).toEqual([2, 1])

    await gateway.patch(adapter, { requiredRoles: ['other'] })
    await expect.poll(() => member.subscribed).toEqual([uri])
    await gateway.patch(adapter, { requiredRoles: ['reader'] })
    // Something may have changed meanwhile.
    await expect.poll(() => his.updates).toEqual([shown])
    expect(member.held.size).toBe(1)
    expect(owners.ended).toBe(false)
    for (const each of [his, owners]) each.response.destroy()
    for (const each of member.held) each.end('{}')
    await held.catch(() => undefined)
  })
})
