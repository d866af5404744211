import { readObject, type RawObject } from '@mcp-gateway/protocol'
import { describe, expect, test } from 'vitest'
import { ListCollector, listLimits } from './member-list.ts'

function page(result: unknown): RawObject {
  return readObject(JSON.stringify(result)) as RawObject
}

describe('a collected list', () => {
  test('a list keeps the items of all pages, byte by byte', () => {
    const collector = new ListCollector('tools')
    const [a, b] = [
      '{"name":"a","inputSchema":{"type":"object"},"x":10000000000000000001}',
      '{"name":"b", "inputSchema":{ "type":"object"}}',
    ]
    const first = readObject(`{"tools":[${a}],"nextCursor":"2"}`)
    expect(collector.take(first as RawObject)).toBe('"2"')
    expect(collector.take(readObject(`{"tools":[${b}]}`) as RawObject)).toBeUndefined()
    expect(collector.end()).toEqual({
      items: [
        { key: 'a', json: a },
        { key: 'b', json: b },
      ],
      mistakes: [],
    })
  })

  test.each([
    ['has no name', {}, 'An item has no name.'],
    ['has a number as its name', { name: 7 }, 'An item has no name.'],
    ['has a line feed in its name', { name: 'a\nb' }, 'contains control characters'],
    ['has half a surrogate in its name', { name: '\ud800' }, 'contains control characters'],
    ['has a name of 10 kB', { name: 'x'.repeat(10_000) }, 'longer than 256 characters'],
    ['is larger than its bound', { name: 'a', description: 'x'.repeat(300_000) }, '256 KiB'],
    ['is no object', 'a', 'An item has no name.'],
    ['has a schema that is none', { name: 'a', inputSchema: 'x' }, 'is no schema of an object'],
  ])('a list leaves out an item that %s, and says so', (_what, item, mistake) => {
    const collector = new ListCollector('tools')
    collector.take(page({ tools: [item, { name: 'good' }] }))
    const { items, mistakes } = collector.end()
    expect(items.map(({ key }) => key)).toEqual(['good'])
    expect(mistakes).toEqual([expect.stringContaining(mistake)])
  })

  test('a list keeps an item without the part that breaks the protocol, and says so', () => {
    const collector = new ListCollector('tools')
    collector.take(page({ tools: [{ name: 'a', inputSchema: { type: 'object' }, title: 7 }] }))
    expect(collector.end()).toEqual({
      items: [{ key: 'a', json: '{"name":"a","inputSchema":{"type":"object"}}' }],
      mistakes: ['The part title of "a" breaks the protocol, and is left out.'],
    })
  })

  test('a list keeps the first of two items with one key', () => {
    const collector = new ListCollector('resources')
    collector.take(page({ resources: [{ uri: 'a:1', name: '1' }], nextCursor: 'x' }))
    collector.take(page({ resources: [{ uri: 'a:1', name: '2' }] }))
    const { items, mistakes } = collector.end()
    expect(items).toEqual([{ key: 'a:1', json: '{"uri":"a:1","name":"1"}' }])
    expect(mistakes).toEqual(['"a:1" is listed twice. The first counts.'])
  })

  test('a list ends when the server gives a cursor again', () => {
    const collector = new ListCollector('prompts')
    expect(collector.take(page({ prompts: [], nextCursor: 'a' }))).toBe('"a"')
    expect(collector.take(page({ prompts: [], nextCursor: 'b' }))).toBe('"b"')
    expect(collector.take(page({ prompts: [], nextCursor: 'a' }))).toBeUndefined()
    expect(collector.end().mistakes).toEqual([expect.stringContaining('cursor again')])
  })

  test('a list ends after its most pages', () => {
    const collector = new ListCollector('prompts')
    let pages = 0
    while (collector.take(page({ prompts: [], nextCursor: `c${pages}` })) !== undefined) pages += 1
    expect(pages).toBe(listLimits.pages - 1)
    expect(collector.end().mistakes).toEqual([expect.stringContaining('100 pages')])
  })

  test('a list ends after its most items and bytes', () => {
    const many = new ListCollector('tools')
    const names = Array.from({ length: listLimits.items + 1 }, (_, n) => ({ name: `t${n}` }))
    expect(many.take(page({ tools: names, nextCursor: 'x' }))).toBeUndefined()
    expect(many.end().items).toHaveLength(listLimits.items)

    const large = new ListCollector('tools')
    const heavy = Array.from({ length: 50 }, (_, n) => ({ name: `t${n}`, d: 'x'.repeat(200_000) }))
    expect(large.take(page({ tools: heavy, nextCursor: 'x' }))).toBeUndefined()
    expect(large.end().items).toHaveLength(41)
    expect(large.end().mistakes).toEqual([expect.stringContaining('8 MiB')])
  })

  test('a list counts the mistakes that it does not name', () => {
    const collector = new ListCollector('tools')
    collector.take(page({ tools: Array.from({ length: 20 }, () => ({})) }))
    expect(collector.end().mistakes).toHaveLength(6)
    expect(collector.end().mistakes.at(-1)).toBe('15 more mistakes are not shown.')
  })

  test('an answer without its list is a mistake of the server', () => {
    const collector = new ListCollector('templates')
    expect(collector.take(page({ resources: [] }))).toBeUndefined()
    expect(collector.end()).toEqual({
      items: [],
      mistakes: ["The server's answer has no list of resourceTemplates."],
    })
  })
})
