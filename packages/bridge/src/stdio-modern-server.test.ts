import { Places } from '@mcp-gateway/mcp-http'
import type { Exchange, ModernRequest } from '@mcp-gateway/protocol'
import { expect, test } from 'vitest'
import type { Child } from './children/child.ts'
import { StdioModernServer } from './stdio-modern-server.ts'

/** A server of one era whose child has so many bytes left to read. */
function setUp(eras: 'legacy' | 'modern', unread: () => number) {
  const sent: string[] = []
  let stopped = 0
  const child: Child = {
    pid: undefined,
    endedBecause: undefined,
    said: 'nothing' as const,
    get unread() {
      return unread()
    },
    ended: () => new Promise(() => undefined),
    listen: () => undefined,
    unlisten: () => undefined,
    send: (message) => void sent.push(Buffer.from(message).toString()),
    pause: () => undefined,
    resume: () => undefined,
    stop: async () => void (stopped += 1),
  }
  const server = new StdioModernServer({
    eras: async () => eras,
    child: () => child,
    places: new Places(5),
    crowded: 'crowded',
    replica: 'r',
    clientInfo: { name: 'test', version: '1' },
    handshakeMs: 60_000,
    slow: () => 'slow',
  })
  const request = {
    id: '1',
    method: 'tools/call',
    params: new Map([['name', '"x"']]),
    meta: new Map(),
  } as ModernRequest
  const ask = (): Promise<string> =>
    new Promise((resolve) => {
      const exchange: Exchange = {
        answer: (status, message) => resolve(`${status} ${message}`),
        tell: () => undefined,
      }
      server.request('eve', request, exchange)
    })
  return { server, sent, ask, request, stopped: () => stopped }
}

test('a modern request for a server that reads nothing is refused without memory', async () => {
  let unread = 0
  const { server, sent, ask } = setUp('modern', () => unread)
  void ask()
  await expect.poll(() => sent.length).toBe(1)

  unread = 40 * 1024 * 1024
  expect(await ask()).toMatch(/^503 .*does not read/)
  expect(sent).toHaveLength(1)
  server.close('The test is over.')
})

test('a legacy session’s request for a modern server that reads nothing is refused', async () => {
  let unread = 0
  const { server, sent, request } = setUp('modern', () => unread)
  const endpoint = server.endpoint('eve')
  const ask = (): Promise<string> =>
    new Promise((resolve) => {
      endpoint.request(request, {
        answer: (status, message) => resolve(`${status} ${message}`),
        tell: () => undefined,
      })
    })
  void ask()
  expect(sent).toHaveLength(1)

  unread = 40 * 1024 * 1024
  expect(server.unread).toBe(unread)
  expect(await ask()).toMatch(/^503 .*does not read/)
  expect(sent).toHaveLength(1)
  server.close('The test is over.')
})

test('a legacy child that reads nothing is ended when a modern request arrives', async () => {
  const { server, sent, ask, stopped } = setUp('legacy', () => 40 * 1024 * 1024)

  expect(await ask()).toMatch(/^50\d .*does not read|lost at once/)

  expect(sent).toEqual([])
  expect(stopped()).toBe(1)
  server.close('The test is over.')
})
