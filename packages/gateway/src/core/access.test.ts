import { describe, expect, test } from 'vitest'
import { accessRules, holdsOneOf, type AccessSettings } from './access.ts'
import { authorizeCreate, checkWorkloadIdentity } from './permission.ts'
import type { Principal } from './principal.ts'
import type { ResourceKind } from './resource.ts'

const unset: AccessSettings = { create: {}, images: [], logs: 'write' }
const caller = (...roles: string[]): Principal => ({ id: 'alice', issuer: 'https://idp.example', name: 'Alice', roles })
const anonymous: Principal = { id: '', issuer: 'anonymous', name: 'anonymous', roles: ['mcp.admin', 'mcp.engineer'] }

const codeOf = (work: () => unknown): unknown => {
  try {
    work()
    return 'done'
  } catch (error) {
    return (error as { code: unknown }).code
  }
}
const creating = (
  principal: Principal,
  settings: Partial<AccessSettings>,
  { development = false, kind = 'adapter' as ResourceKind, image = 'mcp-proxy:1.0.0' } = {},
): unknown => {
  const [name = '', version = ''] = image.split(':')
  const rules = accessRules({ ...unset, ...settings }, development)
  return codeOf(() => authorizeCreate(principal, rules, kind, image === '' ? undefined : { name, version }))
}

describe('creating', () => {
  test('is for everyone with development identity, and otherwise for engineers and administrators', () => {
    expect(creating(caller(), {}, { development: true })).toBe('done')
    expect(creating(caller('mcp.reader'), {})).toBe('forbidden')
    expect(creating(caller('mcp.engineer'), {})).toBe('done')
    expect(creating(caller('mcp.admin'), {})).toBe('done')
  })

  test('is governed kind by kind', () => {
    const create = { adapter: ['builder'], tool: ['*'] }
    expect(creating(caller(), { create })).toBe('forbidden')
    expect(creating(caller('Builder'), { create })).toBe('done')
    expect(creating(caller(), { create }, { kind: 'tool', image: '' })).toBe('done')
    expect(creating(caller('mcp.engineer'), { create })).toBe('forbidden')
  })

  test('is for nobody but administrators where no role is named', () => {
    expect(creating(caller('mcp.engineer'), { create: { adapter: [] } })).toBe('forbidden')
    expect(creating(caller('mcp.admin'), { create: { adapter: [] } })).toBe('done')
  })

  test('of an image is governed by the first rule whose pattern fits all of it', () => {
    const images = [
      { pattern: 'mcp-proxy:*', roles: ['runs-commands'] },
      { pattern: 'team/*:1.?', roles: ['*'] },
      { pattern: 'team/*:*', roles: [] },
    ]
    const outcome = (image: string, ...roles: string[]): unknown => creating(caller(...roles), { images }, { image })
    expect(outcome('mcp-proxy:1.0.0', 'mcp.engineer')).toBe('forbidden')
    expect(outcome('mcp-proxy:1.0.0', 'runs-commands')).toBe('done')
    expect(outcome('mcp-proxy:1.0.0', 'mcp.admin')).toBe('done')
    expect(outcome('team/a/b:1.2')).toBe('done')
    expect(outcome('team/a/b:1.22', 'mcp.engineer')).toBe('forbidden')
    // What no pattern fits is governed by the kind.
    expect(outcome('xmcp-proxy:1.0.0', 'runs-commands')).toBe('forbidden')
    expect(outcome('mcp-proxy-2:1.0.0', 'mcp.engineer')).toBe('done')
    expect(creating(caller('mcp.engineer'), { images: [{ pattern: '*:*', roles: [] }] }, { kind: 'tool', image: '' })).toBe('done')
  })

  test('is never for the anonymous caller, whatever roles it claims', () => {
    expect(creating(anonymous, { create: { adapter: ['*'] } })).toBe('forbidden')
    expect(creating(anonymous, {}, { development: true })).toBe('forbidden')
    expect(holdsOneOf(anonymous, ['*', 'mcp.admin'])).toBe(false)
  })
})

test('lending the identity of the platform needs a role that is named, and with development identity the one that it gives', () => {
  const turning = (principal: Principal, settings: Partial<AccessSettings>, development: boolean): unknown =>
    codeOf(() => checkWorkloadIdentity(principal, accessRules({ ...unset, ...settings }, development)))
  expect(turning(caller('mcp.dev'), {}, true)).toBe('done')
  expect(turning(caller('mcp.dev', 'mcp.engineer'), {}, false)).toBe('forbidden')
  expect(turning(caller('lender'), { workloadIdentityRoles: ['lender'] }, false)).toBe('done')
  expect(turning(caller('mcp.admin'), {}, false)).toBe('done')
})
