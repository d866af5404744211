import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import {
  authorize,
  authorizeLogs,
  authorizeTransfer,
  mayRead,
  mayReadLogs,
  mayUse,
  type Action,
} from './permission.ts'
import { hasOneRoleOf, type Principal } from './principal.ts'
import type { Adapter, AdapterSpec } from './resource.ts'

const issuer = 'https://idp.example'
const caller = (id: string, ...roles: string[]): Principal => ({ id, issuer, name: id, roles })
const adapter = (
  spec: Partial<AdapterSpec> = {},
  owner = { id: 'olga', issuer },
): Pick<Adapter, 'kind' | 'name' | 'uid' | 'owner' | 'spec'> => ({
  kind: 'adapter',
  name: 'one',
  uid: 'u1',
  owner,
  spec: {
    imageName: 'i',
    imageVersion: '1',
    environmentVariables: {},
    replicaCount: 1,
    description: '',
    useWorkloadIdentity: false,
    requiredRoles: ['reader'],
    ownerRoles: ['keeper'],
    ...spec,
  },
})

const actions: readonly Action[] = ['read', 'use', 'logs', 'write', 'offer', 'decline', 'transfer']
const outcome = (
  principal: Principal,
  action: Action,
  resource: ReturnType<typeof adapter> | undefined,
): string => {
  try {
    if (action === 'transfer') authorizeTransfer(principal, resource, principal)
    else if (action === 'logs') authorizeLogs(principal, resource, { logs: 'write' })
    else authorize(principal, action, resource)
    return 'yes'
  } catch (error) {
    return (error as { code: string }).code
  }
}

const callers: Readonly<Record<string, Principal>> = {
  owner: caller('olga'),
  'co-owner': caller('carl', 'Keeper'),
  reader: caller('rob', 'reader'),
  stranger: caller('sam', 'other'),
  admin: caller('root', 'mcp.admin'),
  'namesake of another issuer': { ...caller('olga'), issuer: 'https://other.example' },
  anonymous: {
    id: '',
    issuer: 'anonymous',
    name: 'anonymous',
    roles: ['mcp.admin', 'keeper', 'reader'],
  },
}

describe('what a caller may do', () => {
  const each = (answer: string): Record<string, string> =>
    Object.fromEntries(actions.map((action) => [action, answer]))
  const none = each('not_found')
  const all = each('yes')
  const unknown = each('unauthenticated')
  test.each<[string, Record<string, string>]>([
    ['owner', { ...all, transfer: 'forbidden' }],
    ['co-owner', { ...all, offer: 'forbidden', decline: 'forbidden', transfer: 'forbidden' }],
    ['reader', { ...each('forbidden'), read: 'yes', use: 'yes' }],
    ['stranger', none],
    ['admin', all],
    ['namesake of another issuer', none],
    ['anonymous', unknown],
  ])('the rights of %s are those of the table', (who, expected) => {
    const principal = callers[who] as Principal
    expect(
      Object.fromEntries(actions.map((action) => [action, outcome(principal, action, adapter())])),
    ).toEqual(expected)
    expect(mayRead(principal, adapter())).toBe(expected['read'] === 'yes')
  })

  test('the recipient of an offer may read, accept or decline, but not use', () => {
    const offered = { ...adapter(), offeredTo: { id: 'sam', issuer } }
    const sam = callers['stranger'] as Principal
    const may = { ...each('forbidden'), read: 'yes', decline: 'yes', transfer: 'yes' }
    expect(
      Object.fromEntries(actions.map((action) => [action, outcome(sam, action, offered)])),
    ).toEqual(may)
    expect([mayRead(sam, offered), mayUse(sam, offered)]).toEqual([true, false])
    expect(() => authorizeTransfer(sam, offered, { id: 'mallory', issuer })).toThrow(/mcp\.admin/)
    expect(outcome({ ...sam, issuer: 'https://other.example' }, 'transfer', offered)).toBe(
      'not_found',
    )
    expect(outcome(callers['reader'] as Principal, 'transfer', offered)).toBe('forbidden')
    const toNobody = { ...adapter(), offeredTo: { id: '', issuer: 'anonymous' } }
    expect(outcome(callers['anonymous'] as Principal, 'transfer', toNobody)).toBe('unauthenticated')
  })

  test('readers of logs under access.logs: read are exactly those who may use it', () => {
    const logs = 'read'
    const offered = { ...adapter({ anonymous: true }), offeredTo: { id: 'sam', issuer } }
    const codes = Object.entries(callers).map(([who, principal]) => {
      try {
        authorizeLogs(principal, offered, { logs })
        return [who, 'yes']
      } catch (error) {
        return [who, (error as { code: string }).code]
      }
    })

    expect(Object.fromEntries(codes)).toEqual({
      owner: 'yes',
      'co-owner': 'yes',
      reader: 'yes',
      stranger: 'forbidden',
      admin: 'yes',
      'namesake of another issuer': 'not_found',
      anonymous: 'unauthenticated',
    })
    for (const [who, code] of codes)
      expect(mayReadLogs(callers[who ?? ''] as Principal, offered, { logs })).toBe(code === 'yes')
  })

  test.each(Object.keys(callers))(
    'the refusal of %s tells nothing about hidden and missing resources',
    (who) => {
      const principal = callers[who] as Principal
      const hidden = adapter({ requiredRoles: [], ownerRoles: [] }, { id: 'nobody-here', issuer })
      for (const action of actions) {
        const missing = outcome(principal, action, undefined)
        expect(missing).toBe(who === 'anonymous' ? 'unauthenticated' : 'not_found')
        if (who !== 'admin') expect(outcome(principal, action, hidden)).toBe(missing)
      }
    },
  )

  test('callers without an id are never one, and nobody owns without an id (A20)', () => {
    const principal = callers['anonymous'] as Principal
    const orphan = adapter({}, { id: '', issuer: 'anonymous' })
    for (const action of actions) expect(outcome(principal, action, orphan)).toBe('unauthenticated')
    expect(outcome(caller(''), 'write', adapter({}, { id: '', issuer }))).toBe('unauthenticated')
  })

  test('everybody may use an open adapter, and anonymous callers may not read it', () => {
    const open = adapter({ anonymous: true })
    for (const who of ['anonymous', 'stranger']) {
      const principal = callers[who] as Principal
      expect(outcome(principal, 'use', open)).toBe('yes')
      for (const action of ['read', 'logs', 'write', 'offer', 'decline', 'transfer'] as const)
        expect(outcome(principal, action, open)).not.toBe('yes')
      expect(mayRead(principal, open)).toBe(false)
    }
  })
})

describe('roles', () => {
  test('roles are held as a plain reading says, without case, however many exist', () => {
    const role = fc.constantFrom('a', 'A', 'b', 'ä', 'Ä', 'c', 'd', 'x', 'y', 'z', 'Z')
    const lists = fc.array(role, { maxLength: 15 })
    fc.assert(
      fc.property(lists, lists, (held, wanted) => {
        const plain = wanted.some((one) =>
          held.some((other) => one.toLowerCase() === other.toLowerCase()),
        )
        expect(hasOneRoleOf({ roles: held }, wanted)).toBe(plain)
      }),
      { numRuns: 3000 },
    )
  })

  test('roles of a caller and of 300 tools are compared in few steps', () => {
    const many = (prefix: string): string[] =>
      Array.from({ length: 100 }, (_, index) => `${prefix}-${index}`)
    const tools = Array.from({ length: 300 }, (_, index) =>
      adapter({ requiredRoles: many(`R${index}`), ownerRoles: many(`O${index}`) }),
    )
    const member = caller('mia', ...many('held'), ...many('also'))
    const folding = vi.spyOn(String.prototype, 'toLowerCase')
    try {
      const listed = (): number => tools.filter((tool) => mayUse(member, tool)).length
      expect(listed()).toBe(0)
      const first = folding.mock.calls.length
      expect(listed()).toBe(0)
      const again = folding.mock.calls.length - first
      // The code folds each role once, and the administrator's role for each tool.
      expect(first).toBeLessThan(300 * 200 + 200 + 1000)
      expect(again).toBeLessThan(1000)
    } finally {
      folding.mockRestore()
    }
  })
})
