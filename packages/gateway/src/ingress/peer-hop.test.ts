import { randomBytes } from 'node:crypto'
import type { AddressInfo, Socket } from 'node:net'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import { afterEach, describe, expect, test } from 'vitest'
import { PeerDirectory, type Peer } from '../core/directories/peers.ts'
import { Hop, hopHeader } from './peer-hop.ts'

const principal = { id: 'zoë', issuer: 'development', name: 'Zoë', roles: ['a,b', 'c'] }
const key = randomBytes(32)
const closing: (() => void)[] = []
afterEach(() => closing.splice(0).forEach((close) => close()))

interface Received {
  readonly method: string
  readonly url: string
  readonly rawHeaders: readonly string[]
  readonly connection?: Socket | undefined
}

const listening = async (server: Server): Promise<number> => {
  closing.push(() => void server.close())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}

/** Gives the request of a hop as the owner receives it. */
async function handOver(keys: readonly Buffer[], body = '{"a":1}'): Promise<Received> {
  let seen: IncomingMessage | undefined
  const owner = createServer({ keepAliveTimeout: 75_000 }, (request, response) => {
    seen = request
    response.writeHead(207, { 'x-owner': 'yes', 'content-type': 'text/plain' }).end('done')
  })
  const hop = new Hop({
    keys,
    self: 'one',
    peers: [PeerDirectory.of({ two: `http://127.0.0.1:${await listening(owner)}` })],
    now: Date.now,
  })
  closing.push(() => void hop[Symbol.asyncDispose]())
  const front = createServer((request, response) =>
    hop.forward('two', { request, response, body: Buffer.from(body), principal }, () =>
      response.writeHead(418).end(),
    ),
  )
  const headers = {
    connection: 'close',
    'mcp-session-id': 'sealed',
    'last-event-id': '7',
    'mcp-param-city': 'caf\u00e9',
    'x-other': 'not for the owner',
  }
  const answer = await fetch(`http://127.0.0.1:${await listening(front)}/adapters/x/mcp?q`, {
    method: 'POST',
    headers,
    body,
  })
  expect([answer.status, answer.headers.get('x-owner'), await answer.text()]).toEqual([
    207,
    'yes',
    'done',
  ])
  const { method = '', url = '', rawHeaders = [], socket } = seen ?? {}
  return { method, url, rawHeaders, connection: socket }
}

/** A process that takes hops. It has run for long. */
const taker = (
  keys: readonly Buffer[] = [key],
  self = 'two',
): { hop: Hop; at: (now: number) => void } => {
  let now = 0
  return { hop: new Hop({ keys, self, peers: [], now: () => now }), at: (time) => (now = time) }
}

const take = (
  { hop, at }: ReturnType<typeof taker>,
  { method, url, rawHeaders }: Received,
  now = Date.now(),
): ReturnType<Hop['open']> => {
  at(now)
  const header = rawHeaders[rawHeaders.findIndex((name) => name.toLowerCase() === hopHeader) + 1]
  return hop.open({
    method,
    url,
    rawHeaders,
    headers: { [hopHeader]: header },
  } as unknown as IncomingMessage)
}

const headerOf = ({ rawHeaders }: Received, name: string): string =>
  rawHeaders[rawHeaders.indexOf(name) + 1] ?? ''
const withHeader = (received: Received, name: string, value: string): Received => {
  const index = received.rawHeaders.indexOf(name)
  return {
    ...received,
    rawHeaders:
      index < 0
        ? [...received.rawHeaders, name, value]
        : received.rawHeaders.with(index + 1, value),
  }
}

describe('a request that one gateway hands to another', () => {
  test('an idle connection ends, though its owner offers to keep it for longer', async () => {
    const { connection } = await handOver([key])
    expect(connection?.closed).toBe(false)
    await expect.poll(() => connection?.closed, { timeout: 10_000 }).toBe(true)
  })

  test('a handed-over request arrives as its caller, also while keys change', async () => {
    const request = await handOver([key])
    const handed = take(taker([randomBytes(32), key]), request)
    expect(handed?.principal).toEqual(principal)
    expect(() => handed?.checkBody(Buffer.from('{"a":1}'))).not.toThrow()
    expect(() => handed?.checkBody(Buffer.from('{"a":2}'))).toThrow(/handed over/)
    expect(
      ['mcp-session-id', 'last-event-id', 'mcp-param-city'].map((name) => headerOf(request, name)),
    ).toEqual(['sealed', '7', 'caf\u00e9'])
    expect(request.rawHeaders).not.toContain('x-other')
  })

  test('a signature does not count for another key, address, process or time', async () => {
    const request = await handOver([key])
    expect(() => take(taker([randomBytes(32)]), request)).toThrow()
    expect(() => take(taker([key], 'three'), request)).toThrow()
    expect(() => take(taker(), { ...request, url: '/adapters/y/mcp' })).toThrow()
    expect(() => take(taker(), { ...request, method: 'DELETE' })).toThrow()
    expect(() => take(taker(), request, Date.now() + 31_000)).toThrow()
    expect(() => take(taker(), request, Date.now() - 31_000)).toThrow()
  })

  test('a signature does not count when a decisive header differs', async () => {
    const request = await handOver([key])
    for (const name of ['mcp-session-id', 'last-event-id', 'mcp-param-city', 'x-request-id']) {
      expect(() => take(taker(), withHeader(request, name, 'other'))).toThrow()
      expect(() =>
        take(taker(), {
          ...request,
          rawHeaders: [...request.rawHeaders, name, headerOf(request, name)],
        }),
      ).toThrow()
      const index = request.rawHeaders.indexOf(name)
      expect(() =>
        take(taker(), { ...request, rawHeaders: request.rawHeaders.toSpliced(index, 2) }),
      ).toThrow()
    }
    for (const name of [
      'mcp-method',
      'Mcp-Name',
      'mcp-protocol-version',
      'idempotency-key',
      'mcp-param-x',
    ])
      expect(() => take(taker(), withHeader(request, name, 'added'))).toThrow()
    // A proxy on the way may add these headers.
    expect(
      take(taker(), withHeader(withHeader(request, 'via', '1.1 proxy'), 'host', 'elsewhere'))
        ?.principal,
    ).toEqual(principal)
  })

  test('a signature counts once, and never at a process that missed the first time', async () => {
    const request = await handOver([key])
    const other = await handOver([key])
    const owner = taker()
    const now = Date.now()
    expect(take(owner, request, now)?.principal).toEqual(principal)
    expect(take(owner, other, now)?.principal).toEqual(principal)
    for (const later of [0, 1, 29_000]) expect(() => take(owner, request, now + later)).toThrow()
    const restarted = {
      hop: new Hop({ keys: [key], self: 'two', peers: [], now: () => now + 1 }),
      at: () => undefined,
    }
    expect(() => take(restarted, request)).toThrow()
    // The owner does not remember refused requests, so nobody can spoil a request by sending it
    // changed.
    const fresh = await handOver([key])
    expect(() => take(owner, { ...fresh, method: 'GET' })).toThrow()
    expect(take(owner, fresh)?.principal).toEqual(principal)
  })

  test('a signature counts although the clock was set back', async () => {
    const request = await handOver([key])
    const clock = { wall: Date.now() + 3_600_000, monotonic: 0 }
    const hop = new Hop({
      keys: [key],
      self: 'two',
      peers: [],
      now: () => clock.wall,
      monotonicNow: () => clock.monotonic,
    })
    const owner = { hop, at: (now: number) => (clock.wall = now) }
    expect(() => take(owner, request)).toThrow()

    clock.monotonic = 61_000
    expect(take(owner, request)?.principal).toEqual(principal)
    expect(() => take(owner, request)).toThrow()
  })

  test('a signature does not count when any of it was changed', async () => {
    const request = await handOver([key])
    const header = headerOf(request, hopHeader)
    for (let at = 0; at < header.length; at += 1) {
      const changed = header.slice(0, at) + (header[at] === 'A' ? 'B' : 'A') + header.slice(at + 1)
      const signature = (text: string): Buffer =>
        Buffer.from(text.split('.').at(-1) ?? '', 'base64url')
      // The last character of base64 has bits without meaning.
      if (at > header.lastIndexOf('.') && signature(changed).equals(signature(header))) continue
      expect(() => take(taker(), withHeader(request, hopHeader, changed))).toThrow()
    }
  })

  test('the other process’s refusal of the hop does not reach the client', async () => {
    const owner = createServer((_, response) =>
      response.writeHead(401, { 'www-authenticate': 'Basic' }).end('{"error":{}}'),
    )
    const hop = new Hop({
      keys: [key],
      self: 'one',
      peers: [PeerDirectory.of({ two: `http://127.0.0.1:${await listening(owner)}` })],
      now: Date.now,
    })
    closing.push(() => void hop[Symbol.asyncDispose]())
    const front = createServer((request, response) =>
      hop.forward('two', { request, response, body: null, principal }, (unsent) =>
        response.writeHead(unsent ? 503 : 502).end(),
      ),
    )
    const answer = await fetch(`http://127.0.0.1:${await listening(front)}/`, {
      headers: { connection: 'close' },
    })
    expect([answer.status, answer.headers.get('www-authenticate')]).toEqual([503, null])
  })

  test('a request for an unknown or missing peer goes nowhere', async () => {
    const hop = new Hop({
      keys: [key],
      self: 'one',
      peers: [PeerDirectory.of({ two: 'http://127.0.0.1:9' })],
      now: Date.now,
    })
    closing.push(() => void hop[Symbol.asyncDispose]())
    for (const owner of ['two', 'three']) {
      const failed = await new Promise((resolve) => {
        const response = { once: () => undefined, headersSent: false }
        const request = { method: 'POST', url: '/', headers: {} }
        hop.forward(
          owner,
          { request, response, body: null, principal } as unknown as Parameters<Hop['forward']>[1],
          () => resolve('failed'),
        )
      })
      expect(failed).toBe('failed')
    }
  })

  test('a request is answered when the peer is gone, though connections are open', async () => {
    const silent = createServer()
    const asked = new Promise((resolve) => silent.once('request', resolve))
    const { port } = await new Promise<AddressInfo>((resolve) =>
      silent.listen(0, '127.0.0.1', () => resolve(silent.address() as AddressInfo)),
    )
    const peers = PeerDirectory.of({ two: `http://127.0.0.1:${port}`, three: 'http://127.0.0.1:9' })
    const options = { keys: [key], self: 'one', peers: [peers], now: Date.now }
    const hop = new Hop({ ...options, graceMs: 200 })
    closing.push(
      () => (silent.close(), silent.closeAllConnections(), void hop[Symbol.asyncDispose]()),
    )
    const response = { once: () => undefined, headersSent: false }
    const request = { method: 'POST', url: '/', headers: {} }
    const failed = new Promise((resolve) =>
      hop.forward(
        'two',
        { request, response, body: null, principal } as unknown as Parameters<Hop['forward']>[1],
        resolve,
      ),
    )
    await asked
    const [, ...others] = peers.entries()
    peers.set(new Map(others))
    // The gateway has sent the request, so the server may have run it.
    expect(await failed).toBe(false)
  })
})

test('all processes choose the same heir for what one of them has left', () => {
  const names = ['one', 'two', 'three', 'four']
  const hops = names.map((self) => {
    const others = names.filter((name) => name !== self && name !== 'four')
    const peers = new PeerDirectory()
    const known = new Map<string, Peer>([['four', { origin: 'http://four', ready: false }]])
    for (const name of others) known.set(name, { origin: `http://${name}`, ready: true })
    peers.set(known)
    const hop = new Hop({ keys: [key], self, peers: [peers], now: Date.now })
    closing.push(() => void hop[Symbol.asyncDispose]())
    return (of: string) => hop.heirs(of, peers)
  })

  const firsts = new Set<string | undefined>()
  for (let n = 0; n < 100; n += 1) {
    const [one = [], ...more] = hops.slice(0, 3).map((heirs) => heirs(`session-${n}`))
    expect(one.toSorted()).toEqual(['one', 'three', 'two'])
    for (const other of more) expect(other).toEqual(one)
    firsts.add(one[0])
  }
  expect(firsts.size).toBe(3)
})
