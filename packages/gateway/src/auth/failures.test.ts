import type { IncomingMessage } from 'node:http'
import { expect, test } from 'vitest'
import { GatewayError } from '../core/errors.ts'
import type { Principal } from '../core/principal.ts'
import { FailureLimit } from './failures.ts'

const from = (address: string) => ({ address }) as unknown as IncomingMessage
const somebody: Principal = { id: 'a', issuer: 'b', name: 'c', roles: [] }

async function codeOf(answer: unknown): Promise<unknown> {
  try {
    await answer
    return 200
  } catch (error) {
    return (error as GatewayError).code
  }
}

test('all bad credentials of one address share one limit, which recovers', async () => {
  let now = 0
  const limit = new FailureLimit({
    addressOf: (request) => (request as unknown as { address: string }).address,
    now: () => now,
  })
  const keys = limit.counting(() => {
    throw new GatewayError('unauthenticated')
  })
  for (let index = 0; index < 100; index += 1) {
    expect(await codeOf(keys(from('one')))).toBe('unauthenticated')
    expect(await codeOf(limit.refuse(from('one'), new GatewayError('insufficient_scope')))).toBe(
      'insufficient_scope',
    )
  }
  expect(await codeOf(keys(from('one')))).toBe('too_many_requests')
  expect(await codeOf(limit.refuse(from('one'), new GatewayError('unauthenticated')))).toBe(
    'too_many_requests',
  )
  expect(await codeOf(limit.count('one'))).toBe('too_many_requests')
  expect(await codeOf(keys(from('another')))).toBe('unauthenticated')
  now += 100
  expect(await codeOf(keys(from('one')))).toBe('unauthenticated')
  expect(await codeOf(keys(from('one')))).toBe('too_many_requests')
})

test('all addresses of a client’s IPv6 network share one limit', async () => {
  const limit = new FailureLimit({
    addressOf: (request) => (request as unknown as { address: string }).address,
    now: () => 0,
  })
  const refuse = (address: string) =>
    codeOf(limit.refuse(from(address), new GatewayError('unauthenticated')))
  for (let index = 0; index < 200; index += 1)
    expect(await refuse(`2001:db8:1:2::${index.toString(16)}`)).toBe('unauthenticated')
  expect(await refuse('2001:db8:1:2:ffff::1')).toBe('too_many_requests')
  expect(await refuse('2001:db8:1:3::1')).toBe('unauthenticated')
})

test('a good credential, and none at all, do not count', async () => {
  const limit = new FailureLimit({ addressOf: () => 'one', now: () => 0 })
  const [good, none] = [limit.counting(() => somebody), limit.counting(() => undefined)]
  for (let index = 0; index < 300; index += 1)
    expect([good(from('')), none(from(''))]).toEqual([somebody, undefined])
  expect(limit.count('one')).toBeUndefined()
})

test('an attempt that turns out to be no failure takes nothing from the limit', async () => {
  const limit = new FailureLimit({ addressOf: () => 'one', now: () => 0 })
  for (let index = 0; index < 1000; index += 1) {
    expect(limit.count('one')).toBeUndefined()
    limit.giveBack('one')
  }
  // The limit still has the whole burst, and no more.
  for (let index = 0; index < 200; index += 1) expect(limit.count('one')).toBeUndefined()
  expect(await codeOf(limit.count('one'))).toBe('too_many_requests')
})
