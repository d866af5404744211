import { randomBytes } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import { createServer, type IncomingMessage } from 'node:http'
import { afterEach, describe, expect, test } from 'vitest'
import { PeerDirectory } from '../core/peers.ts'
import { Hop, hopHeader } from './hop.ts'

const principal = { id: 'zoë', issuer: 'development', name: 'Zoë', roles: ['a,b', 'c'] }
const key = randomBytes(32)
const closing: (() => void)[] = []
afterEach(() => closing.splice(0).forEach((close) => close()))

/** What the owner receives of a request that is handed over. */
async function handOver(keys: readonly Buffer[], body = '{"a":1}'): Promise<{ method: string; url: string; header: string }> {
  let seen: IncomingMessage | undefined
  const owner = createServer((request, response) => {
    seen = request
    response.writeHead(207, { 'x-owner': 'yes', 'content-type': 'text/plain' }).end('done')
  })
  const address = await new Promise<AddressInfo>((resolve) => owner.listen(0, '127.0.0.1', () => resolve(owner.address() as AddressInfo)))
  const hop = new Hop({ keys, self: 'one', peers: [PeerDirectory.of({ two: `http://127.0.0.1:${address.port}` })], now: Date.now })
  const front = createServer((request, response) =>
    hop.forward('two', { request, response, body: Buffer.from(body), principal }, () => response.writeHead(418).end()),
  )
  const at = await new Promise<AddressInfo>((resolve) => front.listen(0, '127.0.0.1', () => resolve(front.address() as AddressInfo)))
  closing.push(
    () => void owner.close(),
    () => void front.close(),
    () => void hop[Symbol.asyncDispose](),
  )
  const answer = await fetch(`http://127.0.0.1:${at.port}/adapters/x/mcp?q`, { method: 'POST', headers: { connection: 'close' }, body })
  expect([answer.status, answer.headers.get('x-owner'), await answer.text()]).toEqual([207, 'yes', 'done'])
  return { method: seen?.method ?? '', url: seen?.url ?? '', header: String(seen?.headers[hopHeader]) }
}

const open = (
  keys: readonly Buffer[],
  request: { method: string; url: string; header: string },
  now = Date.now(),
): ReturnType<Hop['open']> =>
  new Hop({ keys, self: 'two', peers: [], now: () => now }).open({
    method: request.method,
    url: request.url,
    headers: { [hopHeader]: request.header },
  } as unknown as IncomingMessage)

describe('a request that one gateway hands to another', () => {
  test('arrives as the caller, at once, with its body, also while keys change', async () => {
    const request = await handOver([key])
    const handed = open([randomBytes(32), key], request)
    expect(handed?.principal).toEqual(principal)
    expect(() => handed?.checkBody(Buffer.from('{"a":1}'))).not.toThrow()
    expect(() => handed?.checkBody(Buffer.from('{"a":2}'))).toThrow(/handed over/)
  })

  test('counts for nothing with another key, address, method, later, or changed anywhere', async () => {
    const request = await handOver([key])
    expect(() => open([randomBytes(32)], request)).toThrow()
    expect(() => open([key], { ...request, url: '/adapters/y/mcp' })).toThrow()
    expect(() => open([key], { ...request, method: 'DELETE' })).toThrow()
    expect(() => open([key], request, Date.now() + 120_000)).toThrow()
    for (let at = 0; at < request.header.length; at += 1) {
      const other = request.header[at] === 'A' ? 'B' : 'A'
      const changed = request.header.slice(0, at) + other + request.header.slice(at + 1)
      // The last character of base64 has bits that mean nothing.
      if (
        Buffer.from(changed.split('.').at(-1) ?? '', 'base64url').equals(
          Buffer.from(request.header.split('.').at(-1) ?? '', 'base64url'),
        ) &&
        at > request.header.lastIndexOf('.')
      )
        continue
      expect(() => open([key], { ...request, header: changed })).toThrow()
    }
  })

  test('goes nowhere when the other is not known or not there', async () => {
    const hop = new Hop({ keys: [key], self: 'one', peers: [PeerDirectory.of({ two: 'http://127.0.0.1:9' })], now: Date.now })
    closing.push(() => void hop[Symbol.asyncDispose]())
    for (const owner of ['two', 'three']) {
      const failed = await new Promise((resolve) => {
        const response = { once: () => undefined, headersSent: false }
        const request = { method: 'POST', url: '/', headers: {} }
        hop.forward(owner, { request, response, body: null, principal } as unknown as Parameters<Hop['forward']>[1], () =>
          resolve('failed'),
        )
      })
      expect(failed).toBe('failed')
    }
  })

  test('is answered when the other is gone for good, be its connections still open', async () => {
    const silent = createServer()
    const asked = new Promise((resolve) => silent.once('request', resolve))
    const { port } = await new Promise<AddressInfo>((resolve) =>
      silent.listen(0, '127.0.0.1', () => resolve(silent.address() as AddressInfo)),
    )
    const peers = PeerDirectory.of({ two: `http://127.0.0.1:${port}`, three: 'http://127.0.0.1:9' })
    const hop = new Hop({ keys: [key], self: 'one', peers: [peers], now: Date.now })
    closing.push(() => (silent.close(), silent.closeAllConnections(), void hop[Symbol.asyncDispose]()))
    const response = { once: () => undefined, headersSent: false }
    const request = { method: 'POST', url: '/', headers: {} }
    const failed = new Promise((resolve) =>
      hop.forward('two', { request, response, body: null, principal } as unknown as Parameters<Hop['forward']>[1], resolve),
    )
    await asked
    const [, ...others] = peers.entries()
    peers.set(new Map(others))
    // It was sent, so it may have run.
    expect(await failed).toBe(false)
  })
})
