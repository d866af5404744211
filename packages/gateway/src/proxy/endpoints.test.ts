import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import type { Resource } from '../core/resource.ts'
import { createAddressPolicy } from '../lib/address-policy.ts'
import { sampleResource } from '../store/store-contract.ts'
import { Endpoints, type EndpointOptions } from './endpoints.ts'

/** A server that answers when it is told to, and what becomes of requests to it. */
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
  const ask = (): Promise<string> =>
    new Promise((resolve) => {
      const ended = (what: string) => (): void => resolve(what)
      endpoints.of(resource, endpoint).pool.dispatch(
        { method: 'GET', path: '/' },
        {
          onConnect: () => undefined,
          onHeaders: () => true,
          onData: () => true,
          onComplete: ended('whole'),
          onError: ({ message }) => resolve(message),
        },
      )
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

test('connections beyond those that a server may have are refused, until some are free, where streams might hold all for ever', async () => {
  await using server = await setUp({ most: 2, beyond: 'refuse' })
  const open = [server.ask(), server.ask()]
  await expect.poll(() => server.held.length).toBe(2)
  expect(await server.ask()).toBe('Too many connections to the server are open')
  server.answerAll()
  expect(await Promise.all(open)).toEqual(['whole', 'whole'])
  // They are free once their answers have been dealt with.
  await new Promise((resolve) => setImmediate(resolve))
  const again = server.ask()
  await expect.poll(() => server.held.length).toBe(1)
  server.answerAll()
  expect(await again).toBe('whole')
})

test('requests beyond the connections that a server may have wait for one, where none is held for long', async () => {
  await using server = await setUp({ most: 1, beyond: 'wait' })
  const asked = [server.ask(), server.ask()]
  await expect.poll(() => server.held.length).toBe(1)
  server.answerAll()
  expect(await asked[0]).toBe('whole')
  await expect.poll(() => server.held.length).toBe(1)
  server.answerAll()
  expect(await asked[1]).toBe('whole')
})

test('frees the place of a connection that could not be opened', async () => {
  await using server = await setUp({ most: 2, beyond: 'refuse' })
  await server.stopListening()

  for (let attempt = 0; attempt < 4; attempt++)
    expect(await server.ask()).not.toBe('Too many connections to the server are open')

  await server.listenAgain()
  const answer = server.ask()
  await expect.poll(() => server.held.length).toBe(1)
  server.answerAll()
  expect(await answer).toBe('whole')
})
