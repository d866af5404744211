import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { ToolResource } from '@mcp-gateway/contract'
import { GatewayProcess, ToolPlane } from '@mcp-gateway/testkit'
import {
  Client as ClientV2,
  StreamableHTTPClientTransport as HttpV2,
} from '@modelcontextprotocol/client'
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport as HttpV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { ToolListChangedNotificationSchema } from '@modelcontextprotocol/sdk/types.js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

/** The example of the original's README. */
const weather = {
  name: 'weather',
  imageName: 'weather-tool',
  imageVersion: '1.0.0',
  description: 'Weather tool for getting current weather information',
  toolDefinition: {
    tool: {
      name: 'weather',
      title: 'Weather Information',
      description: 'Gets the current weather for a specified location.',
      type: 'http',
      inputSchema: {
        type: 'object',
        properties: {
          location: { type: 'string', description: 'The city and state, e.g. San Francisco, CA' },
        },
        required: ['location'],
      },
    },
    port: 8000,
  },
}

let gateway: GatewayProcess | ToolPlane
let service: Server
let endpoint = ''
beforeAll(async () => {
  service = createServer((request, response) => {
    request.resume().on('end', () => {
      response.writeHead(200, { 'content-type': 'application/x-ndjson' })
      response.end(
        '{"progress":1,"total":2}\n{"progress":2,"total":2}\n{"caller":"' +
          String(request.headers['x-mcp-userid']) +
          '"}\n',
      )
    })
  })
  await new Promise<void>((resolve) => service.listen(0, '127.0.0.1', resolve))
  endpoint = `http://127.0.0.1:${(service.address() as AddressInfo).port}/`
})
afterAll(() => new Promise((resolve) => service.close(resolve)))

const arrangements = [
  ['one process', () => GatewayProcess.start()],
  ['two tool gateways behind two gateways, which take turns', () => ToolPlane.start()],
] as const

const byEndpoint = (name: string, more: object = {}): object => ({
  name,
  endpoint,
  toolDefinition: { tool: { name } },
  ...more,
})

/** The parts of a client that a test needs, for any SDK. */
interface Connected {
  names(): Promise<string[]>
  call(
    name: string,
    args: Record<string, unknown>,
  ): Promise<{ result: Record<string, unknown>; progress: number[] }>
  /** The number of list changes that the client heard of. */
  changes(): number
  close(): Promise<void>
}

async function legacy(headers: Record<string, string> = {}): Promise<Connected> {
  const client = new ClientV1({ name: 'legacy', version: '1.0.0' })
  let changes = 0
  client.setNotificationHandler(ToolListChangedNotificationSchema, () => void (changes += 1))
  await client.connect(
    new HttpV1(new URL(`${gateway.origin}/mcp`), { requestInit: { headers } }) as Parameters<
      ClientV1['connect']
    >[0],
  )
  return {
    names: async () => (await client.listTools()).tools.map(({ name }) => name),
    async call(name, args) {
      const progress: number[] = []
      const result = await client.callTool({ name, arguments: args }, undefined, {
        onprogress: (each) => void progress.push(each.progress),
      })
      return { result, progress }
    },
    changes: () => changes,
    close: () => client.close(),
  }
}

async function modern(headers: Record<string, string> = {}): Promise<Connected> {
  let changes = 0
  const client = new ClientV2(
    { name: 'modern', version: '1.0.0' },
    {
      versionNegotiation: { mode: { pin: '2026-07-28' } },
      listChanged: { tools: { autoRefresh: false, onChanged: () => void (changes += 1) } },
    },
  )
  await client.connect(new HttpV2(new URL(`${gateway.origin}/mcp`), { requestInit: { headers } }))
  return {
    names: async () => (await client.listTools()).tools.map(({ name }) => name),
    async call(name, args) {
      const progress: number[] = []
      const result = await client.callTool(
        { name, arguments: args },
        { onprogress: (each) => void progress.push(each.progress) },
      )
      return { result, progress }
    },
    changes: () => changes,
    close: () => client.close(),
  }
}

describe.each(arrangements)('/mcp, served by %s', (_arrangement, start) => {
  beforeAll(async () => {
    gateway = await start()
    expect((await gateway.api('POST', '/tools', weather)).status).toBe(201)
  })
  afterAll(() => gateway[Symbol.asyncDispose]())

  describe.each([
    ['SDK 1, in a session', legacy],
    ['SDK 2, pinned to 2026-07-28', modern],
  ] as const)('an official client (%s)', (kind, connect) => {
    const own = kind.startsWith('SDK 1') ? 'v1' : 'v2'

    test('the client calls the original’s weather tool as soon as it is registered', async () => {
      const client = await connect()
      expect(await client.names()).toContain('weather')
      const { result } = await client.call('weather', { location: 'San Francisco, CA' })
      expect(result['structuredContent']).toMatchObject({
        location: 'San Francisco, CA',
        temperature: expect.any(Number) as unknown,
      })
      const wrong = await client.call('weather', { place: 'x' })
      expect(wrong.result).toMatchObject({
        isError: true,
        content: [{ text: expect.stringContaining('arguments/location: is required') as unknown }],
      })
      await client.close()
    })

    test('the client sees a new tool while connected, calls it, and sees it go', async () => {
      const client = await connect()
      /** Waits until the client hears of a changed list. */
      const heard = async (
        change: () => Promise<{ status: number }>,
        status: number,
      ): Promise<void> => {
        const before = client.changes()
        expect((await change()).status).toBe(status)
        await expect.poll(() => client.changes()).toBeGreaterThan(before)
      }
      const name = `late-${own}`
      expect(await client.names()).not.toContain(name)
      await heard(() => gateway.api('POST', '/tools', byEndpoint(name)), 201)
      expect(await client.names()).toContain(name)
      const { result, progress } = await client.call(name, {})
      expect(result['structuredContent']).toEqual({ caller: 'dev' })
      expect(progress).toEqual([1, 2])
      await heard(() => gateway.api('DELETE', `/tools/${name}`), 204)
      expect(await client.names()).not.toContain(name)
      await client.close()
    })

    test('the client never sees nor calls a forbidden tool', async () => {
      const name = `hidden-${own}`
      await gateway.api('POST', '/tools', byEndpoint(name, { requiredRoles: ['chef'] }), {
        'x-dev-userid': 'alice',
      })
      const bob = await connect({ 'x-dev-userid': 'bob' })
      expect(await bob.names()).not.toContain(name)
      await expect(bob.call(name, {})).rejects.toThrow(/Unknown tool/)
      const chef = await connect({ 'x-dev-userid': 'bob', 'x-dev-roles': 'chef' })
      expect(await chef.names()).toContain(name)
      expect((await chef.call(name, {})).result['structuredContent']).toEqual({ caller: 'bob' })
      await bob.close()
      await chef.close()
    })
  })

  describe('the weather tool of the process runtime', () => {
    test('the tool has a status and logs, and is called while it rolls', async () => {
      await expect
        .poll(
          async () =>
            ((await gateway.api('GET', '/tools/weather/status')).body as { replicaStatus: string })
              .replicaStatus,
          {
            timeout: 30_000,
          },
        )
        .toBe('Healthy')
      expect(String((await gateway.api('GET', '/tools/weather/logs')).body)).toContain('listens')

      const client = await modern()
      let going = true
      const failures: unknown[] = []
      const calls = (async () => {
        for (let index = 0; going || index < 20; index += 1) {
          const { result } = await client.call('weather', { location: String(index) })
          if (result['isError'] === true) failures.push(result['content'])
        }
      })()
      const { body } = await gateway.api('PATCH', '/tools/weather', {
        imageVersion: '2.0.0',
        replicaCount: 2,
      })
      expect((body as ToolResource).replicaCount).toBe(2)
      await expect
        .poll(
          async () =>
            ((await gateway.api('GET', '/tools/weather/status')).body as { replicaStatus: string })
              .replicaStatus,
          {
            timeout: 30_000,
          },
        )
        .toBe('Healthy')

      going = false
      await calls
      expect(failures).toEqual([])

      await gateway.api('PATCH', '/tools/weather', { replicaCount: 0 })
      await expect
        .poll(
          async () =>
            ((await gateway.api('GET', '/tools/weather/status')).body as { replicaStatus: string })
              .replicaStatus,
          {
            timeout: 30_000,
          },
        )
        .toBe('Stopped')
      expect((await client.call('weather', { location: 'x' })).result).toMatchObject({
        isError: true,
        content: [{ text: expect.stringContaining('stopped') as unknown }],
      })

      await client.close()
    })
  })
})
