import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { sendHttp, type HttpFailure, type HttpUpstream } from './http-upstream.ts'
import { knowsSession } from './session-check.ts'

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }))
afterEach(() => void vi.useRealTimers())

/** A server whose credential is gone. */
function withoutCredential(): HttpUpstream & { readonly dispatched: unknown[] } {
  const dispatched: unknown[] = []
  return {
    dispatched,
    pool: { dispatch: (options) => dispatched.push(options) > 0 },
    path: '/mcp',
    headers: (): readonly string[] => {
      throw Object.assign(new Error('The credential is missing.'), { code: 'secret_unreadable' })
    },
  }
}

const request = { method: 'POST', headers: [], body: '{}', answerTimeoutMs: 1000 } as const
const never = (): never => {
  throw new Error('There is no answer.')
}

test('a request whose credential is missing is not sent, and the answer says so', async () => {
  const upstream = withoutCredential()
  const ends: (HttpFailure | undefined)[] = []
  sendHttp(upstream, request, { head: never, chunk: never, end: (failure) => ends.push(failure) })
  // The caller gets the exchange only when sendHttp returns.
  expect(ends).toEqual([])

  await Promise.resolve()
  const message = 'The credential is missing.'
  expect(ends).toEqual([{ message, unsent: true, code: 'secret_unreadable' }])
  expect(upstream.dispatched).toEqual([])
})

test('a request that cannot be sent at all fails, and the process continues', async () => {
  const ends: (HttpFailure | undefined)[] = []
  const pool = {
    dispatch: () => {
      throw new TypeError('invalid header')
    },
  }
  const upstream = { pool, path: '/mcp', headers: () => [] }
  sendHttp(upstream, request, { head: never, chunk: never, end: (failure) => ends.push(failure) })

  await Promise.resolve()
  expect(ends).toEqual([{ message: 'The server could not be reached (TypeError).', unsent: true }])
})

test('an aborted request whose credential is missing reports nothing', async () => {
  sendHttp(withoutCredential(), request, { head: never, chunk: never, end: never }).abort()
  await Promise.resolve()
})

test('a check of a session whose credential is missing leaves no timer behind', async () => {
  expect(await knowsSession(withoutCredential(), 'session', undefined)).toBe(true)
  expect(vi.getTimerCount()).toBe(0)
})
