import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { MemberSpec } from '../../core/virtual-servers/virtual-server.ts'
import { hintsOf } from '../../core/fields/tool-rules.ts'
import type { Owner } from '../../core/resource.ts'
import {
  compileFilters,
  membershipsOf,
  mostMembers,
  type Candidate,
  type Memberships,
} from './membership.ts'
import { aliasPattern } from '../../core/fields/alias.ts'

const ana: Owner = { id: 'ana', issuer: 'i' }
const bob: Owner = { id: 'bob', issuer: 'i' }

const adapter = (
  name: string,
  labels: Record<string, string> = {},
  more: Partial<Candidate> = {},
): Candidate => ({
  kind: 'adapter',
  name,
  labels,
  owner: ana,
  isOfOperator: false,
  createdAt: '2026-01-01T00:00:00.000Z',
  ...more,
})

/** The members of a virtual server of Ana's. */
function find(members: readonly MemberSpec[], candidates: readonly Candidate[]): Memberships {
  const spec = { description: '', requiredRoles: [], members }
  return membershipsOf({ owner: ana, spec }, candidates)
}

describe('the members of a virtual server', () => {
  test('named servers are members whether they exist or not', () => {
    const members: MemberSpec[] = [{ adapter: 'github', alias: 'gh' }, { tool: 'weather' }]
    expect(find(members, [])).toMatchObject({
      members: [
        { kind: 'adapter', name: 'github', alias: 'gh' },
        { kind: 'tool', name: 'weather', alias: 'weather' },
      ],
    })
  })

  test('a selector finds the servers that have all its labels', () => {
    const members: MemberSpec[] = [
      { adapter: 'a', alias: 'first' },
      { selector: { team: 'data', tier: 'prod' } },
    ]
    const labels = { team: 'data', tier: 'prod' }
    const all = [
      adapter('c', labels),
      adapter('b', { ...labels, more: 'x' }),
      adapter('a', labels),
      adapter('d', { team: 'data' }),
      adapter('e', labels, { kind: 'tool' }),
    ]
    const found = find(members, all).members
    expect(found.map(({ kind, name, alias }) => [kind, name, alias])).toEqual([
      ['adapter', 'a', 'first'],
      ['adapter', 'b', 'b'],
      ['adapter', 'c', 'c'],
      ['tool', 'e', 'e'],
    ])
    expect(find([{ selector: {} }], all).members).toEqual([])
  })

  test('labels of strangers bring nothing into a virtual server', () => {
    const labels = { team: 'data' }
    const all = [
      adapter('own', labels),
      adapter('strange', labels, { owner: bob }),
      adapter('vouched', labels, { owner: bob, isOfOperator: true }),
      adapter('named', labels, { owner: bob }),
    ]
    const { leftOut, members } = find([{ adapter: 'named' }, { selector: labels }], all)
    expect(members.map(({ name }) => name)).toEqual(['named', 'own', 'vouched'])
    expect(leftOut).toEqual([
      { kind: 'adapter', name: 'strange', reason: expect.stringContaining('somebody other') },
    ])
  })

  test('an alias of a selected server depends on its name alone', () => {
    const name = fc.stringMatching(/^[a-z]([-a-z0-9]{0,50}[a-z0-9])?$/)
    const names = fc.uniqueArray(name, { minLength: 1, maxLength: 30 })
    fc.assert(
      fc.property(names, fc.integer({ min: 0, max: 29 }), (all, gone) => {
        const aliases = (present: readonly string[]): Map<string, string> => {
          const candidates = present.map((each) => adapter(each, { x: 'y' }))
          const found = find([{ selector: { x: 'y' } }], candidates).members
          return new Map(found.map((each) => [each.name, each.alias]))
        }
        const before = aliases(all)
        const after = aliases(all.filter((_, index) => index !== gone))
        for (const alias of before.values()) expect(alias).toMatch(aliasPattern)
        for (const [each, alias] of after) expect(before.get(each)).toBe(alias)
      }),
    )
  })

  test('a selector takes a limited number of servers, the oldest first, and names the rest', () => {
    const all = Array.from({ length: 1000 }, (_, n) =>
      adapter(`s${n}`, { x: 'y' }, { createdAt: new Date(1e12 - n).toISOString() }),
    )
    const { members, leftOut } = find([{ selector: { x: 'y' } }], all)
    expect([members.length, leftOut.length]).toEqual([mostMembers, 1000 - mostMembers])
    expect([members[0]?.name, leftOut.at(-1)?.name]).toEqual(['s999', 's0'])
  })
})

describe('what a member shows', () => {
  const tool = (original: string, annotations: object = {}) =>
    ({ kind: 'tools', original, hints: hintsOf(annotations) }) as const
  const resource = { kind: 'resources', original: 'file:///a', hints: undefined } as const

  test('a member without filters shows everything', () => {
    const { shows } = compileFilters({})
    expect([shows(tool('x')), shows(resource)]).toEqual([true, true])
  })

  test('an include limits only the kinds that it speaks of', () => {
    const { shows } = compileFilters({ include: { tools: ['get_*', 'list'] } })
    expect(['get_x', 'list', 'lists', 'set_x'].map((name) => shows(tool(name)))).toEqual([
      true,
      true,
      false,
      false,
    ])
    expect(shows(resource)).toBe(true)
  })

  test('an exclude wins over an include', () => {
    const { shows } = compileFilters({
      include: { tools: ['get_*'] },
      exclude: { tools: ['*_secret'], resources: ['file:*'] },
    })
    expect(shows(tool('get_x'))).toBe(true)
    expect(shows(tool('get_secret'))).toBe(false)
    expect(shows(resource)).toBe(false)
    expect(shows({ ...resource, kind: 'templates' })).toBe(false)
    expect(shows({ ...resource, kind: 'prompts' })).toBe(true)
  })

  test('hints decide together with names', () => {
    const readOnly = { annotations: { readOnlyHint: true } }
    const { shows } = compileFilters({ include: readOnly })
    expect(shows(tool('x', { readOnlyHint: true }))).toBe(true)
    expect(shows(tool('x'))).toBe(false)
    const narrow = compileFilters({ exclude: { tools: ['a*'], ...readOnly } }).shows
    expect(narrow(tool('ab', { readOnlyHint: true }))).toBe(false)
    expect(narrow(tool('ab'))).toBe(true)
    expect(narrow(tool('b', { readOnlyHint: true }))).toBe(true)
  })
})
