import { ListToolsResultSchema } from '@modelcontextprotocol/sdk/types.js'
import { describe, expect, test } from 'vitest'
import { shapeItem } from './item-shape.ts'
import type { ListKind } from './list-kinds.ts'

const schema = { type: 'object' }

function shaped(kind: ListKind, item: object): Readonly<Record<string, unknown>> {
  const result = shapeItem(kind, 'x', JSON.stringify(item))
  return 'mistake' in result ? { mistake: result.mistake } : JSON.parse(result.json)
}

describe('the definition of an item', () => {
  test('a sound definition stays as it is, byte by byte', () => {
    const json =
      '{ "name":"x", "inputSchema":{"type":"object","properties":{"n":{"maximum":1E2}}},\n' +
      '"annotations":{"readOnlyHint":true,"mine":[1]},"other":10000000000000000001 }'
    expect(shapeItem('tools', 'x', json)).toEqual({ json, leftOut: [] })
  })

  test.each([
    ['inputSchema', 'text', 'inputSchema of "x" is no schema of an object'],
    ['inputSchema', { type: 'array' }, 'inputSchema of "x" is no schema of an object'],
    ['inputSchema', { ...schema, properties: [] }, 'is no schema of an object'],
    ['inputSchema', { ...schema, properties: { a: 'text' } }, 'is no schema of an object'],
    ['inputSchema', { ...schema, required: 'a' }, 'is no schema of an object'],
    ['inputSchema', { ...schema, required: [1] }, 'is no schema of an object'],
    ['description', 'half \ud800', 'has half of a character'],
    ['_meta', { '\udc00': 1 }, 'has half of a character'],
  ])('a tool with %s = %j is left out, and its mistake is named', (name, value, mistake) => {
    const item = { name: 'x', inputSchema: schema, [name]: value }
    expect(shaped('tools', item)['mistake']).toContain(mistake)
  })

  test.each([
    ['a number that is too large', '1e999', 'has a number that is too large'],
    ['endless nesting', '['.repeat(5000) + ']'.repeat(5000), 'more than 100 levels deep'],
  ])('a tool with %s is left out, and its mistake is named', (_what, raw, mistake) => {
    const json = `{"name":"x","inputSchema":{"type":"object","default":${raw}}}`
    expect(shapeItem('tools', 'x', json)).toEqual({ mistake: expect.stringContaining(mistake) })
  })

  test.each([
    ['tools', 'title', 7],
    ['tools', 'description', ['a']],
    ['tools', 'annotations', { readOnlyHint: 'yes' }],
    ['tools', 'annotations', true],
    ['tools', 'icons', [{ src: 7 }]],
    ['tools', 'execution', { taskSupport: 'maybe' }],
    ['tools', 'outputSchema', 'text'],
    ['tools', '_meta', []],
    ['prompts', 'arguments', { name: 'a' }],
    ['prompts', 'arguments', [{ description: 'no name' }]],
    ['resources', 'mimeType', 1],
    ['resources', 'size', '12'],
    ['resources', 'annotations', { priority: 7 }],
    ['templates', 'annotations', { lastModified: 'yesterday' }],
  ] as const)(
    'the definitions of %s lose a malformed %s = %j, and nothing else',
    (kind, name, value) => {
      const item = { name: 'x', inputSchema: schema, good: 1 }
      const result = shapeItem(kind, 'x', JSON.stringify({ ...item, [name]: value }))
      if ('mistake' in result) throw new Error(result.mistake)
      expect(JSON.parse(result.json)).toEqual(item)
      expect(result.leftOut).toEqual([`${name} of "x"`])
    },
  )

  test('null counts as absent, as some libraries write it', () => {
    const nulls = { title: null, description: null, annotations: null, inputSchema: null }
    const json = JSON.stringify({ name: 'x', ...nulls })
    expect(shapeItem('tools', 'x', json)).toEqual({
      json: '{"name":"x","inputSchema":{"type":"object"}}',
      leftOut: [],
    })
  })

  test.each([
    [undefined, schema],
    [{}, schema],
    [{ properties: { a: {} } }, { ...schema, properties: { a: {} } }],
    [
      { ...schema, properties: { any: true, none: false, text: { type: 'string' } } },
      { ...schema, properties: { any: {}, none: { not: {} }, text: { type: 'string' } } },
    ],
  ])('an inputSchema of %j becomes %j, which means the same', (given, shown) => {
    const tool = shaped('tools', { name: 'x', inputSchema: given })
    expect(tool['inputSchema']).toEqual(shown)
    expect(ListToolsResultSchema.safeParse({ tools: [tool] }).success).toBe(true)
  })

  test('a resource without a name is called by its address', () => {
    expect(shaped('resources', { uri: 'x' })).toEqual({ uri: 'x', name: 'x' })
    expect(shaped('templates', { uriTemplate: 'x', name: 7 })['name']).toBe('x')
  })
})
