import { describe, expect, test } from 'vitest'
import type { Principal } from '../core/principal.ts'
import { ClusterSource } from './cluster-source.ts'

const base64 = (text: string | Buffer): string => Buffer.from(text).toString('base64')
const held: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  one: { password: base64('hidden\n') },
  two: { user: base64('me'), password: base64('héllo') },
  none: {},
  bytes: { value: base64(Buffer.from([0xff, 0xfe])) },
  nul: { value: base64('a\0b') },
  long: { value: base64('x'.repeat(64 * 1024 + 1)) },
  closed: { value: base64('never') },
}
const { closed: _closed, ...opened } = held
const source = new ClusterSource(
  Object.fromEntries(
    [...Object.keys(opened), 'away'].map((name) => [
      name,
      { requiredRoles: name === 'two' ? [] : ['engineer'] },
    ]),
  ),
  { get: (name) => held[name], onChange: () => () => undefined },
)
const principal = (...roles: string[]): Principal => ({ id: 'a', issuer: 'i', name: 'a', roles })

describe('a reference to a Secret of the cluster', () => {
  test.each([
    [{ name: 'one' }, { value: 'hidden\n' }],
    [{ name: 'two', key: 'password' }, { value: 'héllo' }],
    [
      { name: 'two' },
      { reason: 'SecretMissing', message: expect.stringContaining('must name a key') },
    ],
    [
      { name: 'none' },
      { reason: 'SecretMissing', message: expect.stringContaining('has 0 values') },
    ],
    [
      { name: 'one', key: 'user' },
      { reason: 'SecretMissing', message: expect.stringContaining("by the key 'user'") },
    ],
    [{ name: 'one', key: 'constructor' }, { reason: 'SecretMissing' }],
    [
      { name: 'away' },
      { reason: 'SecretMissing', message: expect.stringContaining('has no Secret') },
    ],
    [
      { name: 'closed' },
      { reason: 'SecretMissing', message: expect.stringContaining('opens no Secret') },
    ],
    [{ name: 'bytes' }, { reason: 'SecretUnreadable' }],
    [{ name: 'nul' }, { reason: 'SecretUnreadable' }],
    [{ name: 'long' }, { reason: 'SecretUnreadable' }],
  ])('a reference by %j gives what the cluster has, or why nothing', (reference, expected) => {
    expect(source.find({ source: 'kubernetes', ...reference })).toMatchObject(expected)
  })

  test('a reference is for configured callers and configured Secrets alone', async () => {
    const admits = (name: string, ...roles: string[]) =>
      source.admits(principal(...roles), { source: 'kubernetes', name })
    expect(await admits('one', 'engineer')).toBe(true)
    expect(await admits('one', 'other')).toBe(false)
    expect(await admits('two', 'engineer')).toBe(false)
    expect(await admits('two', 'mcp.admin')).toBe(true)
    expect(await admits('closed', 'mcp.admin')).toBe(false)
  })
})
