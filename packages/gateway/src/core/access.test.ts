import { describe, expect, test } from 'vitest'
import { accessRules, checkQuotas, type AccessSettings } from './access.ts'
import { authorizeCreate, checkWorkloadIdentity } from './permission.ts'
import { holdsOneOf, type Principal } from './principal.ts'
import type { ResourceKind } from './resource.ts'

const quotas = {
  adapters: 2,
  tools: 1,
  replicas: 5,
  servers: 1,
  bytes: 1000,
  totalBytes: 2000,
  exemptRoles: [],
}
const unset: AccessSettings = { create: {}, images: [], logs: 'write', quotas }
const caller = (...roles: string[]): Principal => ({
  id: 'alice',
  issuer: 'https://idp.example',
  name: 'Alice',
  roles,
})
const anonymous: Principal = {
  id: '',
  issuer: 'anonymous',
  name: 'anonymous',
  roles: ['mcp.admin', 'mcp.engineer'],
}

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
  const rules = accessRules({ ...unset, ...settings }, { development, anonymous: false })
  return codeOf(() =>
    authorizeCreate(principal, rules, kind, image === '' ? undefined : { name, version }),
  )
}

describe('creating', () => {
  test('creation is open under development identity, else to engineers and admins', () => {
    expect(creating(caller(), {}, { development: true })).toBe('done')
    expect(creating(caller('mcp.reader'), {})).toBe('forbidden')
    expect(creating(caller('mcp.engineer'), {})).toBe('done')
    expect(creating(caller('mcp.admin'), {})).toBe('done')
  })

  test('creation is governed kind by kind', () => {
    const create = { adapter: ['builder'], tool: ['*'] }
    expect(creating(caller(), { create })).toBe('forbidden')
    expect(creating(caller('Builder'), { create })).toBe('done')
    expect(creating(caller(), { create }, { kind: 'tool', image: '' })).toBe('done')
    expect(creating(caller('mcp.engineer'), { create })).toBe('forbidden')
  })

  test('a refused image reads as English for adapters and tools', () => {
    const rules = accessRules(unset, { development: false, anonymous: false })
    const image = { name: 'mcp-proxy', version: '1' }
    const refused = (kind: ResourceKind) => () => authorizeCreate(caller(), rules, kind, image)
    expect(refused('adapter')).toThrow("Creating an adapter of image 'mcp-proxy:1', or changing")
    expect(refused('tool')).toThrow("Creating a tool of image 'mcp-proxy:1', or changing")
  })

  test('creation is closed to all but administrators where no role is named', () => {
    expect(creating(caller('mcp.engineer'), { create: { adapter: [] } })).toBe('forbidden')
    expect(creating(caller('mcp.admin'), { create: { adapter: [] } })).toBe('done')
  })

  test('the first rule that fits a whole image governs its creation', () => {
    const images = [
      { pattern: 'mcp-proxy:*', roles: ['runs-commands'] },
      { pattern: 'team/*:1.?', roles: ['*'] },
      { pattern: 'team/*:*', roles: [] },
    ]
    const outcome = (image: string, ...roles: string[]): unknown =>
      creating(caller(...roles), { images }, { image })
    expect(outcome('mcp-proxy:1.0.0', 'mcp.engineer')).toBe('forbidden')
    expect(outcome('mcp-proxy:1.0.0', 'runs-commands')).toBe('done')
    expect(outcome('mcp-proxy:1.0.0', 'mcp.admin')).toBe('done')
    expect(outcome('team/a/b:1.2')).toBe('done')
    expect(outcome('team/a/b:1.22', 'mcp.engineer')).toBe('forbidden')
    // The kind decides about images that match no pattern.
    expect(outcome('xmcp-proxy:1.0.0', 'runs-commands')).toBe('forbidden')
    expect(outcome('mcp-proxy-2:1.0.0', 'mcp.engineer')).toBe('done')
    expect(
      creating(
        caller('mcp.engineer'),
        { images: [{ pattern: '*:*', roles: [] }] },
        { kind: 'tool', image: '' },
      ),
    ).toBe('done')
  })

  test('creation is closed to the anonymous caller, whatever roles it claims', () => {
    expect(creating(anonymous, { create: { adapter: ['*'] } })).toBe('unauthenticated')
    expect(creating(anonymous, {}, { development: true })).toBe('unauthenticated')
    expect(holdsOneOf(anonymous, ['*', 'mcp.admin'])).toBe(false)
  })
})

test('lending the identity of the platform needs a named role', () => {
  const turning = (
    principal: Principal,
    settings: Partial<AccessSettings>,
    development: boolean,
  ): unknown =>
    codeOf(() =>
      checkWorkloadIdentity(
        principal,
        accessRules({ ...unset, ...settings }, { development, anonymous: false }),
      ),
    )
  expect(turning(caller('mcp.dev'), {}, true)).toBe('done')
  expect(turning(caller('mcp.dev', 'mcp.engineer'), {}, false)).toBe('forbidden')
  expect(turning(caller('lender'), { workloadIdentityRoles: ['lender'] }, false)).toBe('done')
  expect(turning(caller('mcp.admin'), {}, false)).toBe('done')
})

test('nobody lends a cluster’s identity under development identity by default', () => {
  const turning = (...workloadIdentityRoles: string[]): unknown => {
    const named = workloadIdentityRoles.length === 0 ? {} : { workloadIdentityRoles }
    const rules = accessRules(
      { ...unset, ...named },
      { development: true, lendsIdentity: true, anonymous: false },
    )
    return codeOf(() => checkWorkloadIdentity(caller('mcp.dev', 'mcp.admin'), rules))
  }

  expect(turning()).toBe('forbidden')
  expect(turning('mcp.dev')).toBe('done')
})

describe('an image that runs', () => {
  const rules = accessRules(
    { ...unset, images: [{ pattern: 'team/*:*', roles: ['team'] }] },
    { development: false, anonymous: false },
  )
  const refusal = (name: string, ...roles: string[]): string | undefined =>
    rules.checkImage({ roles }, { name, version: '1' })

  test('an image runs as long as its owner has a role of the fitting rule', () => {
    expect(refusal('team/one', 'other', 'TEAM')).toBeUndefined()
    expect(refusal('team/one', 'mcp.admin')).toBeUndefined()
    expect(refusal('team/one', 'mcp.engineer')).toMatch(/'team\/\*:\*'.*'team\/one:1'.*team/)
    expect(refusal('team/one')).toBeDefined()
  })

  test('an image that no rule fits runs on, also without a role for creation', () => {
    expect(refusal('other/one')).toBeUndefined()
  })
})

describe('a quota', () => {
  const rules = accessRules(unset, { development: false, anonymous: false })
  type Counts = Parameters<typeof checkQuotas>[1]
  const asking = (held: Counts, more: Counts, toOwner = true): string => {
    try {
      checkQuotas(rules, held, more, toOwner)
      return 'done'
    } catch (error) {
      return (error as Error).message
    }
  }

  test('each quota is reached exactly, and by itself', () => {
    expect(asking({ adapters: 1 }, { adapters: 1, replicas: 5 })).toBe('done')
    expect(asking({ adapters: 2 }, { adapters: 1 })).toContain('access.quotas.adapters')
    expect(asking({ tools: 1 }, { tools: 1 })).toContain('access.quotas.tools')
    expect(asking({ replicas: 3 }, { replicas: 3 })).toContain('access.quotas.replicas')
    expect(asking({ servers: 0 }, { servers: 1 })).toBe('done')
    expect(asking({ servers: 1 }, { servers: 1 })).toContain('access.quotas.servers')
  })

  test('an overdrawn quota prevents nothing that adds nothing to it', () => {
    expect(asking({ adapters: 9, replicas: 99 }, { tools: 1, replicas: 0 })).toBe('done')
  })

  test('a quota shows its figures to the owner alone', () => {
    expect(asking({ replicas: 4 }, { replicas: 2 })).toContain(
      'You have 4 replicas and ask for 2 more, but may have 5',
    )
    expect(asking({ replicas: 4 }, { replicas: 2 }, false)).not.toContain('4')
  })
})
