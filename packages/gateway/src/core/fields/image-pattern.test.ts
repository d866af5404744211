import { describe, expect, test } from 'vitest'
import { ConfigSchema } from '../../config/config.ts'
import { accessRules } from '../access.ts'
import { imagePattern } from './image-pattern.ts'

const digest = `sha256:${'0123456789abcdef'.repeat(4)}`

describe('a pattern of images', () => {
  test.each([
    ['team/tool:1.*', 'team/tool', '1.2'],
    ['team/*:1.?', 'team/tool', '1.2'],
    ['team/tool:*', 'team/tool', '1.2'],
    ['team/tool:*', 'team/tool', digest],
    ['team/tool:**', 'team/tool', `1.2@${digest}`],
    ['team/tool', 'team/tool', `1.2@${digest}`],
    ['team/*', 'team/tool', '1.2'],
    [`team/tool@${digest}`, 'team/tool', digest],
    [`team/tool@${digest}`, 'team/tool', `1.2@${digest}`],
    ['team/tool@sha256:0123*', 'team/tool', `whatever@${digest}`],
    ['team/tool@sha256:*', 'team/tool', digest],
  ])('the pattern %s fits %s in the version %s', (pattern, name, version) => {
    expect(imagePattern(pattern)({ name, version })).toBe(true)
  })

  test.each([
    ['team/tool:1.*', 'team/tool', '2.1'],
    ['team/tool:1.*', 'team/tools', '1.2'],
    [`team/tool@${digest}`, 'team/tool', `sha256:${'f'.repeat(64)}`],
    [`team/tool@${digest}`, 'team/other', digest],
    ['team/tool@sha256:*', 'team/tool', '1.2'],
  ])('the pattern %s does not fit %s in the version %s', (pattern, name, version) => {
    expect(imagePattern(pattern)({ name, version })).toBe(false)
  })

  test.each([
    ['1.*', `1.2@${digest}`],
    ['1.*', `1.@${digest}`],
    ['1.2', `1.2@${digest}`],
    ['?*', `1.2@${digest}`],
    ['*f', `1.2@${digest}`],
    ['s*', digest],
    ['????????*', digest],
  ])(
    'a pattern with the tags %s does not fit the digest %s, which decides what runs',
    (tags, version) => {
      expect(imagePattern(`team/tool:${tags}`)({ name: 'team/tool', version })).toBe(false)
    },
  )
})

test('a rule for tags does not admit another image of that name by its digest', () => {
  const rules = accessRules(
    {
      create: { adapter: ['builder'] },
      images: [
        { pattern: 'team/tool:1.*', roles: ['*'] },
        { pattern: `team/tool@${digest}`, roles: ['pinned'] },
      ],
      logs: 'write',
      quotas: {
        adapters: 1,
        tools: 1,
        replicas: 1,
        servers: 1,
        bytes: 1,
        totalBytes: 1,
        exemptRoles: [],
      },
    },
    { development: false, anonymous: false },
  )
  const needed = (version: string): readonly string[] =>
    rules.deployRoles('adapter', { name: 'team/tool', version })
  expect(needed('1.0')).toEqual(['*'])
  expect(needed(`1.0@${digest}`)).toEqual(['pinned'])
  expect(needed(`1.0@sha256:${'f'.repeat(64)}`)).toEqual(['builder'])
})

test('a configuration can name tags, digests and all versions of an image', () => {
  const readable = (pattern: string): boolean =>
    ConfigSchema.safeParse({ access: { images: [{ pattern, roles: [] }] } }).success
  for (const pattern of ['a:1.*', 'a:*', `a/b@${digest}`, 'a@sha256:*'])
    expect(readable(pattern)).toBe(true)
  for (const pattern of ['a', 'a@1.0', 'a@sha256:', 'a:sha256:12', `a:1@${digest}`])
    expect(readable(pattern)).toBe(false)
})
