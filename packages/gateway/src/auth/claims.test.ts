import { describe, expect, test } from 'vitest'
import { claimAt, principalOf } from './claims.ts'

const identity = { id: undefined, names: ['name'], roles: ['roles'] }
const rolesOf = (claims: Record<string, unknown>, ...roles: (string | string[])[]) =>
  principalOf({ sub: 'a', ...claims }, 'i', { ...identity, roles }).roles

describe('a claim', () => {
  test.each([
    ['roles', { roles: 1 }, 1],
    ['realm_access.roles', { realm_access: { roles: 2 } }, 2],
    ['https://example.com/roles', { 'https://example.com/roles': 3 }, 3],
    ['cognito:groups', { 'cognito:groups': 4 }, 4],
    [
      ['resource_access', 'my.client', 'roles'],
      { resource_access: { 'my.client': { roles: 5 } } },
      5,
    ],
    ['a.b', { 'a.b': 6, a: { b: 7 } }, 6],
    ['a.b', { a: 'text' }, undefined],
    ['constructor', {}, undefined],
    ['__proto__.polluted', {}, undefined],
    ['roles.length', { roles: null }, undefined],
  ])('the claim at %j of %j is %j', (path, claims, found) => {
    expect(claimAt(claims, path)).toBe(found)
  })
})

describe('the caller in claims', () => {
  test.each([undefined, '', '   ', 7, null, ['a'], 'a\nb', 'a\u0000', 'x'.repeat(513)])(
    'claims with the sub %j name no caller',
    (sub) => {
      expect(() => principalOf({ sub }, 'i', identity)).toThrow(/names no caller|cannot be an id/)
    },
  )

  test('a caller may have an id beyond ASCII', () => {
    expect(principalOf({ sub: 'Zoë-用户' }, 'i', identity).id).toBe('Zoë-用户')
  })

  test('a caller has the first name that exists, else its id, and no forged line', () => {
    const names = ['name', 'preferred_username']
    expect(
      principalOf({ sub: 'a', preferred_username: 'al' }, 'i', { ...identity, names }).name,
    ).toBe('al')
    expect(principalOf({ sub: 'a', name: ' ' }, 'i', { ...identity, names }).name).toBe('a')
    expect(
      principalOf({ sub: 'a', name: 'A\r\nX: y\u202e' }, 'i', { ...identity, names }).name,
    ).toBe('A  X: y')
    expect(
      principalOf({ sub: 'a', name: '🦊'.repeat(999) }, 'i', { ...identity, names }).name,
    ).toBe('🦊'.repeat(256))
  })
})

describe('roles', () => {
  test('roles are trimmed, distinct, and gathered from all claims', () => {
    expect(rolesOf({ roles: [' a ', 'a', '', 'b'], groups: ['c'] }, 'roles', 'groups')).toEqual([
      'a',
      'b',
      'c',
    ])
  })

  test('a comma is part of a role: it does not become two', () => {
    expect(rolesOf({ roles: ['reader,mcp.admin'] }, 'roles')).toEqual(['reader,mcp.admin'])
  })

  test.each([
    'reader\nmcp.admin',
    'a\rb',
    'a\u0000',
    'a\u2028b',
    'a\u009fb',
    'x'.repeat(257),
    7,
    null,
    {},
  ])('the value %j is no role', (role) => {
    expect(rolesOf({ roles: [role, 'kept'] }, 'roles')).toEqual(['kept'])
  })

  test('scopes are a list in one text, and other texts are one role', () => {
    expect(rolesOf({ scp: 'a b', roles: 'one role' }, 'scp', 'roles')).toEqual([
      'a',
      'b',
      'one role',
    ])
  })

  test('too many roles are refused rather than forgotten in part', () => {
    expect(() =>
      rolesOf({ scp: Array.from({ length: 10_000 }, (_, index) => `s${index}`) }, 'scp'),
    ).toThrow(/more than 500 roles/)
  })
})
