import { metaKey, type Exchange, type ModernRequest } from '@mcp-gateway/protocol'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { Principal } from '../core/principal.ts'
import { Catalogue } from './catalogue.ts'
import { Router, type Caller } from './router.ts'
import type { SourceChange, ToolSource } from './source.ts'

const settleMs = 100

let change: (concerned: string) => void
let router: Router
beforeEach(() => {
  vi.useFakeTimers()
  const listeners = new Set<(change: SourceChange) => void>()
  const source: ToolSource = {
    list: () => [],
    find: () => undefined,
    onChange: (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
  change = (concerned) => {
    for (const listener of listeners) listener({ concerns: ({ id }) => id === concerned })
  }
  router = new Router({
    catalogue: new Catalogue([source]),
    version: '1',
    pageSize: 5,
    maxListenersPerCaller: 5,
    settleMs,
    callFailed: () => undefined,
  })
})
afterEach(() => {
  router.close()
  vi.useRealTimers()
})

/** A listen stream of a caller, and the number of list changes that it heard of. */
function listen(id: string): { readonly exchange: Exchange; readonly told: () => number } {
  const messages: string[] = []
  const exchange: Exchange = {
    answer: (_status, message) => void messages.push(message),
    tell: (message) => void messages.push(message),
  }
  const principal: Principal = { id, issuer: 'test', name: id, roles: [] }
  const caller: Caller = {
    principal: () => principal,
    requestId: 'r',
    trace: {},
    idempotencyKey: 'k',
    seen: () => undefined,
  }
  const request = {
    id: '1',
    method: 'subscriptions/listen',
    params: new Map([['notifications', '{"toolsListChanged":true}']]),
    meta: new Map([[metaKey.subscriptionId, '1']]),
  } as unknown as ModernRequest
  router.request(caller, request, exchange)
  return {
    exchange,
    told: () => messages.filter((message) => message.includes('/list_changed')).length,
  }
}

test('a listen stream hears of many changes once, a fixed time after the first', () => {
  const { told } = listen('alice')
  for (let count = 0; count < 5; count += 1) {
    change('alice')
    vi.advanceTimersByTime(settleMs / 5 - 1)
  }
  expect(told()).toBe(0)
  vi.advanceTimersByTime(5)
  expect(told()).toBe(1)

  change('alice')
  vi.advanceTimersByTime(settleMs)
  expect(told()).toBe(2)
})

test('a listen stream hears of no change that its caller cannot see', () => {
  const [alice, bob] = [listen('alice'), listen('bob')]
  change('alice')
  vi.advanceTimersByTime(10 * settleMs)
  expect([alice.told(), bob.told()]).toEqual([1, 0])
})

test('a listen stream whose client has left hears of no more changes', () => {
  const { exchange, told } = listen('alice')
  change('alice')
  router.gone(exchange)
  change('alice')
  vi.advanceTimersByTime(10 * settleMs)
  expect(told()).toBe(0)
})
