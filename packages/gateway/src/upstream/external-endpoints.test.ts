import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Dispatcher } from 'undici'
import { expect, test } from 'vitest'
import type { Resource } from '../core/resource.ts'
import { createAddressPolicy } from '../lib/net/address-policy.ts'
import { sampleResource } from '../../test/contracts/samples.ts'
import { Endpoints, type EndpointOptions } from './external-endpoints.ts'

/** A server that answers on command, and the outcomes of requests to it. */
async function setUp(connections: EndpointOptions['connections']) {
  const held: ServerResponse[] = []
  const server = createServer((_request, response) => void held.push(response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  const endpoints = new Endpoints({
    policy: createAddressPolicy(['127.0.0.0/8']),
    connectTimeoutMs: 5000,
    keepAliveMs: 4000,
    connections,
  })
  const resource: Resource = sampleResource('a')
  const ask = (
    caller: string,
    method: 'GET' | 'POST' = 'POST',
    onWait?: (leave: () => void) => void,
  ): Promise<string> =>
    new Promise((resolve) => {
      const ended = (what: string) => (): void => resolve(what)
      endpoints
        .of(resource, endpoint)
        .via(caller)
        .dispatch({ method, path: '/' }, {
          onConnect: () => undefined,
          onHeaders: () => true,
          onData: () => true,
          onComplete: ended('whole'),
          onError: ({ message }) => resolve(message),
          ...(onWait === undefined ? {} : { onWait }),
        } as Dispatcher.DispatchHandler)
    })
  const { port } = server.address() as AddressInfo
  return {
    held,
    ask,
    stopListening: () => new Promise((resolve) => server.close(resolve)),
    listenAgain: () => new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve)),
    answerAll: () => held.splice(0).forEach((response) => response.end('{}')),
    async [Symbol.asyncDispose]() {
      await endpoints[Symbol.asyncDispose]()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

const tooMany = 'Too many connections to the server are open'

test('connections beyond a caller’s share are refused, and others get theirs', async () => {
  await using server = await setUp({ most: 4, beyond: 'refuse' })
  const open = [server.ask('eve'), server.ask('eve')]
  await expect.poll(() => server.held.length).toBe(2)
  expect(await server.ask('eve')).toBe(tooMany)
  open.push(server.ask('ann'), server.ask('bob'))
  await expect.poll(() => server.held.length).toBe(4)
  expect(await server.ask('cal')).toBe(tooMany)

  server.answerAll()
  expect(await Promise.all(open)).toEqual(['whole', 'whole', 'whole', 'whole'])
  const again = server.ask('eve')
  await expect.poll(() => server.held.length).toBe(1)
  server.answerAll()
  expect(await again).toBe('whole')
})

test('the oldest stream of the heaviest caller makes room for a caller without one', async () => {
  await using server = await setUp({ most: 4, beyond: 'refuse' })
  const streams = [server.ask('eve', 'GET')]
  await expect.poll(() => server.held.length).toBe(1)
  streams.push(server.ask('eve', 'GET'))
  void server.ask('ann')
  void server.ask('bob')
  await expect.poll(() => server.held.length).toBe(4)

  const wanted = server.ask('cal')

  expect(await streams[0]).toBe(tooMany)
  await expect.poll(() => server.held.length).toBe(5)
  server.answerAll()
  expect(await Promise.all([streams[1], wanted])).toEqual(['whole', 'whole'])
})

test('requests beyond a caller’s share wait, and those of others do not', async () => {
  await using server = await setUp({ most: 4, beyond: 'wait' })
  const asked = Array.from({ length: 6 }, () => server.ask('eve'))
  await expect.poll(() => server.held.length).toBe(2)

  const others = server.ask('ann')
  await expect.poll(() => server.held.length).toBe(3)
  server.answerAll()
  expect(await others).toBe('whole')
  // The endpoint takes two at a time, however long they take.
  for (let round = 0; round < 2; round += 1) {
    await expect.poll(() => server.held.length).toBe(2)
    server.answerAll()
  }
  expect(await Promise.all(asked)).toEqual(Array.from({ length: 6 }, () => 'whole'))
})

test('callers whose requests wait take turns', async () => {
  await using server = await setUp({ most: 1, beyond: 'wait' })
  const order: string[] = []
  const asked = ['eve', 'eve', 'eve', 'ann'].map((caller) =>
    server.ask(caller).then(() => order.push(caller)),
  )
  for (let round = 0; round < 4; round += 1) {
    await expect.poll(() => server.held.length).toBe(1)
    server.answerAll()
  }
  await Promise.all(asked)
  expect(order).toEqual(['eve', 'eve', 'ann', 'eve'])
})

test('a request that leaves while it waits is never sent, and those behind it are', async () => {
  await using server = await setUp({ most: 2, beyond: 'wait' })
  const first = server.ask('eve')
  await expect.poll(() => server.held.length).toBe(1)
  const leaves: (() => void)[] = []
  void server.ask('eve', 'POST', (leave) => leaves.push(leave))
  const last = server.ask('eve', 'POST', (leave) => leaves.push(leave))
  expect(leaves).toHaveLength(2)

  leaves[0]?.()
  leaves[0]?.()

  server.answerAll()
  expect(await first).toBe('whole')
  await expect.poll(() => server.held.length).toBe(1)
  // The client leaves too late.
  leaves[1]?.()
  server.answerAll()
  expect(await last).toBe('whole')
  expect(server.held).toEqual([])
})

test('a connection that could not be opened gives its place back', async () => {
  await using server = await setUp({ most: 2, beyond: 'refuse' })
  await server.stopListening()

  for (let attempt = 0; attempt < 4; attempt++) expect(await server.ask('eve')).not.toBe(tooMany)

  await server.listenAgain()
  const answer = server.ask('eve')
  await expect.poll(() => server.held.length).toBe(1)
  server.answerAll()
  expect(await answer).toBe('whole')
})

test.each([
  ['the forbidden address comes first', ['10.0.0.1', '127.0.0.1']],
  ['the forbidden address comes last', ['127.0.0.1', '10.0.0.1']],
])('a name of an allowed and a forbidden address is refused: %s', async (_which, found) => {
  let asked = 0
  const server = createServer((_request, response) => {
    asked += 1
    response.end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const endpoint = `http://server.example:${(server.address() as AddressInfo).port}/`
  await using endpoints = new Endpoints({
    policy: createAddressPolicy(['127.0.0.0/8']),
    connectTimeoutMs: 5000,
    keepAliveMs: 4000,
    connections: { most: 2, beyond: 'refuse' },
    resolve: (_name, _options, callback) =>
      callback(
        null,
        found.map((address) => ({ address, family: 4 })),
      ),
  })

  const failure = await new Promise((resolve) =>
    endpoints
      .of(sampleResource('a'), endpoint)
      .via('ann')
      .dispatch(
        { method: 'GET', path: '/' },
        {
          onConnect: () => undefined,
          onHeaders: () => true,
          onData: () => true,
          onComplete: () => resolve('answered'),
          onError: resolve,
        },
      ),
  )
  expect(failure).toMatchObject({ code: 'endpoint_forbidden' })
  expect(asked).toBe(0)

  await new Promise((resolve) => server.close(resolve))
})

test('processes with the same keys know each other’s requests, and those of no other', async () => {
  const heard: IncomingMessage[] = []
  const server = createServer((request, response) => {
    heard.push(request)
    response.end('{}')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const open = (...keys: readonly number[]): Endpoints =>
    new Endpoints({
      policy: createAddressPolicy(['127.0.0.0/8']),
      connectTimeoutMs: 5000,
      keepAliveMs: 4000,
      connections: { most: 4, beyond: 'refuse' },
      keys: keys.map((key) => Buffer.alloc(32, key)),
    })
  await using sender = open(1)
  await new Promise<void>((resolve) =>
    sender
      .of(sampleResource('a'), `http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
      .via('ann')
      .dispatch({ method: 'POST', path: '/' }, {
        onConnect: () => undefined,
        onHeaders: () => true,
        onData: () => true,
        onComplete: () => resolve(),
        onError: () => resolve(),
      } as Dispatcher.DispatchHandler),
  )
  server.close()

  await using turned = open(2, 1)
  await using other = open(2)
  const [request] = heard as [IncomingMessage]
  expect([sender, turned, other].map((each) => each.cameFromHere(request))).toEqual([
    true,
    true,
    false,
  ])
})
