import { describe, expect, test } from 'vitest'
import { sampleResource } from '../../../test/contracts/samples.ts'
import { aggregate, ana, ScriptedMember } from '../../../test/fixtures/scripted-aggregate.ts'
import type { Adapter } from '../../core/resource.ts'
import type { MemberSpec } from '../../core/virtual-servers/virtual-server.ts'
import { AdapterMember } from '../members/adapter-member.ts'
import type { MemberLists, MemberSnapshot } from '../lists/member-lists.ts'

const withTemplate = (alias: string, uriTemplate: string): ScriptedMember => {
  const member = new ScriptedMember(alias)
  member.list('templates', uriTemplate, { uriTemplate, name: 'data' })
  return member
}
const uris = ({ requests }: ScriptedMember): unknown[] =>
  requests.map(({ params }) => JSON.parse(params.get('uri') ?? 'null') as unknown)

describe('an address that no list has', () => {
  test.each([
    ['test://template/{id}/data', 'test://template/123/data'],
    ['https://h.example/{id}', 'https://h.example/5'],
    ['https://h.example/find{?q,page}', 'https://h.example/find?q=x&page=2'],
    ['file:///{+path}', 'file:///a/b.txt'],
    ['{scheme}://x', 'a://x'],
  ])('the template %s of one member leads %s to this member', (template, address) => {
    const a = withTemplate('a', template)
    const b = withTemplate('b', 'other://{id}')
    aggregate([a, b]).ask('resources/read', { uri: address })
    expect(uris(a)).toEqual([address])
    expect(uris(b)).toEqual([])
  })

  test.each([
    ['test://template/{id}/data', 'test://template/123/date'],
    ['test://{a}/x/{b}/y', 'test://1/y/2/x'],
    ['test://{id}/data', 'test://data'],
  ])('the template %s leads %s nowhere', (template, address) => {
    const a = withTemplate('a', template)
    const { error } = aggregate([a]).ask('resources/read', { uri: address }).message
    expect(error).toMatchObject({ code: -32602, data: { uri: address } })
    expect(uris(a)).toEqual([])
  })

  test('templates of several members lead to an error that names the candidates', () => {
    const members = [withTemplate('a', 'test://{id}'), withTemplate('b', 'test://{+path}')]
    const { error } = aggregate(members).ask('resources/read', { uri: 'test://1' }).message
    expect(error.message).toContain('a+test://1 or b+test://1')
    expect(members.flatMap(uris)).toEqual([])
  })

  test('a resource that a member lists comes before a template of another member', () => {
    const a = withTemplate('a', 'test://{id}')
    const b = new ScriptedMember('b')
    b.list('resources', 'test://1', { uri: 'test://1', name: 'one' })
    aggregate([a, b]).ask('resources/read', { uri: 'test://1' })
    expect(uris(b)).toEqual(['test://1'])
    expect(uris(a)).toEqual([])
  })
})

describe('a member that shows some resources', () => {
  const reads = (spec: Partial<MemberSpec>, uri: string): boolean => {
    const none = { items: [], mistakes: [] }
    const uriTemplate = 'test://{id}/data'
    const templates = {
      items: [{ key: uriTemplate, json: JSON.stringify({ uriTemplate }) }],
      mistakes: [],
    }
    const snapshot: MemberSnapshot = {
      lists: { tools: none, resources: none, prompts: none, templates },
      title: undefined,
      instructions: undefined,
      completes: false,
    }
    const adapter = sampleResource('files', { owner: { id: 'ana', issuer: 'i' } }) as Adapter
    const member = new AdapterMember({
      membership: {
        alias: 'a',
        kind: 'adapter',
        name: 'files',
        spec: { adapter: 'files', ...spec },
      },
      adapter: () => adapter,
      servers: { request: () => undefined, gone: () => undefined, stateOwner: () => undefined },
      guard: { rulesOf: () => undefined, watchCalls: () => undefined },
      lists: { snapshot } as MemberLists,
      clashes: () => false,
    })
    return member.reads(ana, uri)
  }

  test('a template that is shown gives its addresses, without those that are left out', () => {
    const include = { resources: ['test://{id}/data'] }
    expect(reads({ include }, 'test://5/data')).toBe(true)
    expect(reads({ include }, 'test://5/other')).toBe(false)
    expect(reads({ include, exclude: { resources: ['test://5/*'] } }, 'test://5/data')).toBe(false)
    expect(reads({ exclude: { resources: ['*{id}*'] } }, 'test://5/data')).toBe(true)
  })
})
