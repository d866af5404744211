import { describe, expect, test } from 'vitest'
import type { MemberSpec } from '../../core/virtual-servers/virtual-server.ts'
import { AdapterMember } from '../members/adapter-member.ts'
import type { MemberLists, MemberSnapshot } from '../lists/member-lists.ts'
import { sharedItems, type ShownItems } from './shared-items.ts'

function snapshotOf(...uris: readonly string[]): MemberSnapshot {
  const none = { items: [], mistakes: [] }
  const tools = { items: [{ key: 'run', json: '{"name":"run"}' }], mistakes: [] }
  const resources = {
    items: uris.map((key) => ({ key, json: JSON.stringify({ uri: key }) })),
    mistakes: [],
  }
  const lists = { tools, resources, prompts: none, templates: none }
  return { lists, title: undefined, instructions: undefined, completes: false }
}

/** An adapter as a member of a virtual server, over one snapshot. */
function memberOf(
  snapshot: MemberSnapshot,
  { alias = 'a', clashes = false, ...more }: Partial<MemberSpec> & { clashes?: boolean } = {},
): AdapterMember {
  return new AdapterMember({
    membership: { alias, kind: 'adapter', name: 'files', spec: { adapter: 'files', ...more } },
    adapter: () => undefined,
    servers: { request: () => undefined, gone: () => undefined, stateOwner: () => undefined },
    guard: { rulesOf: () => undefined, watchCalls: () => undefined },
    lists: { snapshot } as MemberLists,
    clashes: () => clashes,
  })
}

describe('the shown lists of a member', () => {
  test('virtual servers that show an adapter alike share one copy', () => {
    const snapshot = snapshotOf('https://h/1')
    const first = memberOf(snapshot, { exclude: { tools: ['x'] } })
    const second = memberOf(snapshot, { exclude: { tools: ['x'] }, required: true })
    expect(second.items).toBe(first.items)
    expect(first.items.tools.map(({ shown }) => shown)).toEqual(['a_run'])
  })

  test.each([
    [{ alias: 'b' }],
    [{ exclude: { tools: ['run'] } }],
    [{ include: { tools: ['other'] } }],
    [{ overrides: { run: { name: 'go' } } }],
    [{ overrides: { run: { description: 'Goes.' } } }],
    [{ clashes: true }],
  ])('a virtual server that shows an adapter in another way ( %j ) has its own copy', (other) => {
    const snapshot = snapshotOf('https://h/1')
    const usual = memberOf(snapshot).items
    const items = memberOf(snapshot, other).items
    expect(JSON.stringify(items)).not.toBe(JSON.stringify(usual))
  })

  test('a changed list is shown anew', () => {
    const before = memberOf(snapshotOf('x:1')).items
    const after = memberOf(snapshotOf('x:1', 'x:2')).items
    expect([before, after].map(({ resources }) => resources.length)).toEqual([1, 2])
  })

  test('many forms of one snapshot are all right, though the table drops those of nobody', () => {
    const snapshot = snapshotOf()
    const makes = (form: number): ShownItems =>
      sharedItems(snapshot, String(form), () => ({ ...memberOf(snapshot).items }))
    const kept = Array.from({ length: 200 }, (_, form) => makes(form))
    for (const [form, items] of kept.entries()) expect(makes(form)).toBe(items)
  })
})
