import { randomBytes } from 'node:crypto'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import type { Tool } from '../../core/resource.ts'
import { Hop, hopHeader } from '../../ingress/peer-hop.ts'
import { sampleResource } from '../../../test/contracts/samples.ts'
import { createLineSealer, type FeedMessage } from './feed-lines.ts'
import { FollowedTools } from './followed-tools.ts'

const tool = (name: string): FeedMessage => ({ tool: sampleResource(name) as unknown as Tool })

test('tools that were deleted while the feed was broken are gone after its replay', async () => {
  const keys = [randomBytes(32)]
  const feeds: { readonly say: (message: FeedMessage) => void; readonly end: () => void }[] = []
  const gateway = createServer((request, response: ServerResponse) => {
    const seal = createLineSealer(keys[0] as Buffer, String(request.headers[hopHeader]))
    response.writeHead(200)
    feeds.push({
      say: (message) => void response.write(seal(message)),
      end: () => response.end(),
    })
  })
  await new Promise<void>((resolve) => gateway.listen(0, '127.0.0.1', resolve))
  const { port } = gateway.address() as AddressInfo
  await using hop = new Hop({ keys, self: 'tools', peers: [], now: Date.now })
  await using tools = new FollowedTools({
    gateways: [`http://127.0.0.1:${port}`],
    hop,
    keys,
    log: pino({ level: 'silent' }),
  })
  const names = async (): Promise<string[]> => (await tools.list({})).map(({ name }) => name)
  const gone: string[] = []
  const stop = new AbortController()
  const watching = (async () => {
    for await (const { name, resource } of tools.watch(stop.signal))
      if (resource === undefined) gone.push(name)
  })()

  await expect.poll(() => feeds).toHaveLength(1)

  for (const message of [tool('deleted'), tool('kept'), { complete: true } as const])
    feeds[0]?.say(message)
  feeds[0]?.say({ workload: 'deleted', entry: { uid: 'u', desiredReplicas: 1, replicas: [] } })
  await expect.poll(() => tools.directory.get('deleted')).toBeDefined()

  feeds[0]?.end()

  await expect.poll(() => feeds).toHaveLength(2)

  feeds[1]?.say(tool('kept'))
  // Until the feed has told of all tools, a tool without an entry may only be late.
  feeds[1]?.say({ issuer: 'https://gateway.example' })
  await expect.poll(() => tools.issuer).toBe('https://gateway.example')
  expect(await names()).toEqual(['deleted', 'kept'])

  feeds[1]?.say({ complete: true })
  await expect.poll(names).toEqual(['kept'])
  await expect.poll(() => gone).toEqual(['deleted'])
  expect(tools.directory.get('deleted')).toBeUndefined()

  stop.abort()
  await watching
  gateway.closeAllConnections()
  gateway.close()
})
