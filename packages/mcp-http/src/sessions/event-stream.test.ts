import { createServer, get, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { EventHistory, EventStream } from './event-stream.ts'
import { Shares } from '../shares/shares.ts'
import { countUnsent } from '../shares/unsent.ts'

function session(events: Shares, caller: string, event = 'x'.repeat(1000)) {
  const history = new EventHistory(10_000, events.open(caller))
  const stream = new EventStream(1, history, () => undefined)
  return { history, kept: () => history.after(stream, 0).length, send: () => stream.send(event) }
}

test('sessions of one caller keep half of the bytes of events, and drop the oldest', () => {
  const events = new Shares(10_000)
  const [first, second, other] = ['eve', 'eve', 'ann'].map((caller) => session(events, caller))
  for (let count = 0; count < 8; count += 1) first?.send()
  expect(first?.kept()).toBe(4)

  second?.send()
  expect(second?.kept()).toBe(0)
  other?.send()
  other?.send()
  expect([first?.kept(), other?.kept()]).toEqual([4, 2])

  first?.history.end()
  second?.send()
  expect(second?.kept()).toBe(1)
})

test('kept events are bounded by their bytes, and not by their letters', () => {
  const events = new Shares(20_000)
  const { kept, send } = session(events, 'eve', 'é'.repeat(1000))
  for (let count = 0; count < 8; count += 1) send()

  expect(kept()).toBe(4)
  expect(events.held).toBeGreaterThan(8000)
})

test('the session that keeps the most forgets its events for others, and continues', () => {
  const events = new Shares(10_000)
  const [heavy, light] = ['eve', 'ann'].map((caller) => session(events, caller))
  for (let count = 0; count < 4; count += 1) heavy?.send()
  for (let count = 0; count < 3; count += 1) light?.send()

  expect([heavy?.kept(), light?.kept()]).toEqual([0, 3])
  heavy?.send()
  expect(heavy?.kept()).toBe(1)
})

test.each([
  ['of one byte', 'x'],
  ['of three bytes', '語'],
])(
  'clients that read nothing lose their connection beyond the share, with letters %s',
  async (_what, letter) => {
    const unsent = new Shares(8 * 1024 * 1024)
    const open = new Map<string, ServerResponse[]>()
    const server = createServer((request, response) => {
      const caller = request.url ?? ''
      open.set(caller, [...(open.get(caller) ?? []), response])
      countUnsent(response, unsent.open(caller))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const read = (caller: string): void =>
      void get({ port, path: caller, agent: false }, (answer) => answer.pause()).on(
        'error',
        () => undefined,
      )
    try {
      for (const caller of ['/eve', '/eve', '/ann']) read(caller)
      await expect.poll(() => [...open.values()].flat().length).toBe(3)

      const [first, second] = open.get('/eve') ?? []
      const [third] = open.get('/ann') ?? []
      const large = letter.repeat((3 * 1024 * 1024) / Buffer.byteLength(letter))
      const say = (response: ServerResponse | undefined): void => {
        const stream = new EventStream(1, new EventHistory(0), () => undefined)
        if (response === undefined) return
        stream.attach(response, {}, { priming: false })
        stream.send(large)
      }

      say(first)
      say(second)
      say(third)

      expect([first, second, third].map((response) => response?.destroyed)).toEqual([
        false,
        true,
        false,
      ])
      await expect.poll(() => unsent.heldBy('/eve')).toBeGreaterThan(1024 * 1024)

      first?.destroy()
      await expect.poll(() => unsent.heldBy('/eve')).toBe(0)
    } finally {
      server.closeAllConnections()
      server.close()
    }
  },
)
