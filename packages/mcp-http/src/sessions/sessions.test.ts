import { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { Session } from './session.ts'
import { Sessions } from './sessions.ts'

const idleMs = 60_000
const maxMs = 600_000

let sessions: Sessions
/** Sessions that have left their server. */
let left: string[]
beforeEach(() => {
  vi.useFakeTimers()
  left = []
  sessions = new Sessions({ maxSessions: 5, sessionIdleMs: idleMs, sessionMaxMs: maxMs })
})
afterEach(() => {
  sessions.close('The test is over.')
  vi.useRealTimers()
})

const newResponse = (): ServerResponse => new ServerResponse(new IncomingMessage(new Socket()))
const message = (text: string): Uint8Array => Buffer.from(`{"jsonrpc":"2.0",${text}}`)

/** A session whose server never answers. */
function open(id: string): Session {
  const link = {
    send: () => undefined,
    unread: 0,
    pause: () => undefined,
    resume: () => undefined,
    close: () => void left.push(id),
  }
  const initialize = message('"id":0,"method":"initialize"')
  return sessions.open(id, initialize, newResponse(), () => link) as Session
}

test('an answer that names its request reaches the client under the id that the client gave', () => {
  const sent: string[] = []
  const link = {
    send: (line: Uint8Array) => void sent.push(Buffer.from(line).toString()),
    unread: 0,
    pause: () => undefined,
    resume: () => undefined,
    close: () => undefined,
  }
  const initialize = message('"id":0,"method":"initialize"')
  const session = sessions.open('answered', initialize, newResponse(), () => link) as Session
  const answered = (id: string): string => {
    const response = newResponse()
    const end = vi.spyOn(response, 'end')
    session.post(message(`"id":${id},"method":"tools/call"`), response)
    const serverId = /"id":("[^"]*"|\d+)/.exec(sent.at(-1) ?? '')?.[1] ?? ''
    session.answer(serverId, `{"jsonrpc":"2.0","id":${serverId},"result":{"é":1}}`)
    session.answer(serverId, `{"jsonrpc":"2.0","id":${serverId},"result":{"again":1}}`)
    expect(end).toHaveBeenCalledTimes(1)
    const [body] = end.mock.calls[0] as unknown as [string | Uint8Array]
    return Buffer.from(body as Uint8Array).toString()
  }

  for (const id of ['1', '"a"', '9007199254740993'])
    expect(answered(id)).toBe(`{"jsonrpc":"2.0","id":${id},"result":{"é":1}}`)
})

test('an unused session ends after its idle time, at its server too', () => {
  open('unused')
  open('used')
  vi.advanceTimersByTime(idleMs)
  expect(left).toEqual([])

  sessions.get('used')?.post(message('"method":"notifications/x"'), newResponse())
  vi.advanceTimersByTime(10_000)
  expect(left).toEqual(['unused'])
  expect(sessions.get('unused')).toBeUndefined()
})

test('a session with an open request, or whose client listens, is not idle', () => {
  open('working').post(message('"id":1,"method":"tools/call"'), newResponse())
  open('listening').get(newResponse(), undefined)
  vi.advanceTimersByTime(5 * idleMs)
  expect(left).toEqual([])
})

test('a session ends at its greatest age, whatever it does', () => {
  open('working').post(message('"id":1,"method":"tools/call"'), newResponse())
  vi.advanceTimersByTime(maxMs)
  expect(left).toEqual([])

  vi.advanceTimersByTime(10_000)
  expect(left).toEqual(['working'])
})

test('a session has a bounded number of open requests, those of a batch counted', () => {
  const session = open('busy')
  const batch = (from: number, count: number): Buffer => {
    const ids = Array.from({ length: count }, (_, index) => from + index)
    return Buffer.from(`[${ids.map((id) => `{"id":${id},"method":"tools/call"}`).join(',')}]`)
  }
  const post = (body: Uint8Array): number => {
    const response = newResponse()
    session.post(body, response)
    return response.headersSent ? response.statusCode : 0
  }

  expect(post(batch(0, 1001))).toBe(429)
  expect(post(batch(0, 1000))).not.toBe(429)
  expect(post(message('"id":5000,"method":"tools/call"'))).toBe(429)
  expect(post(message('"method":"notifications/x"'))).toBe(202)
})
