import { readObject, writeObject, type RawObject } from '@mcp-gateway/protocol'
import { describe, expect, test } from 'vitest'
import { showResult } from './member-messages.ts'

const never = (): boolean => false
function shown(method: string, result: unknown): unknown {
  const raw = readObject(JSON.stringify(result)) as RawObject
  return JSON.parse(writeObject(showResult(method, raw, 'fs', never)))
}

describe('results of a member', () => {
  test('links and embedded resources of a tool get the addresses that clients can read', () => {
    expect(
      shown('tools/call', {
        content: [
          { type: 'text', text: 'see file:///a' },
          { type: 'resource_link', uri: 'file:///a', name: 'a' },
          { type: 'resource', resource: { uri: 'file:///b', text: 'file:///b' } },
          { type: 'resource_link', uri: 'https://a.example/' },
          { type: 'image', data: 'AA==', mimeType: 'image/png' },
        ],
        structuredContent: { uri: 'file:///a' },
      }),
    ).toEqual({
      content: [
        { type: 'text', text: 'see file:///a' },
        { type: 'resource_link', uri: 'fs+file:///a', name: 'a' },
        { type: 'resource', resource: { uri: 'fs+file:///b', text: 'file:///b' } },
        { type: 'resource_link', uri: 'https://a.example/' },
        { type: 'image', data: 'AA==', mimeType: 'image/png' },
      ],
      structuredContent: { uri: 'file:///a' },
    })
  })

  test('read contents and prompt messages get the addresses that clients can read', () => {
    expect(shown('resources/read', { contents: [{ uri: 'file:///a', text: 'x' }] })).toEqual({
      contents: [{ uri: 'fs+file:///a', text: 'x' }],
    })
    expect(
      shown('prompts/get', {
        messages: [
          { role: 'user', content: { type: 'resource', resource: { uri: 'file:///a' } } },
          { role: 'user', content: [{ type: 'resource_link', uri: 'file:///b' }] },
          { role: 'user', content: { type: 'text', text: 'x' } },
        ],
      }),
    ).toEqual({
      messages: [
        { role: 'user', content: { type: 'resource', resource: { uri: 'fs+file:///a' } } },
        { role: 'user', content: [{ type: 'resource_link', uri: 'fs+file:///b' }] },
        { role: 'user', content: { type: 'text', text: 'x' } },
      ],
    })
  })

  test('a link whose type is written with escapes gets its address, too', () => {
    const link = String.raw`{"type":"\u0072esource_lin\u006b","uri":"file:///a"}`
    const raw = readObject(`{"content":[${link}]}`) as RawObject
    expect(JSON.parse(writeObject(showResult('tools/call', raw, 'fs', never)))).toEqual({
      content: [{ type: 'resource_link', uri: 'fs+file:///a' }],
    })
  })

  test('a result without addresses keeps its bytes', () => {
    const raw = readObject('{"content":[ {"type":"text","text":"x"} ], "n":1.0}') as RawObject
    expect(showResult('tools/call', raw, 'fs', never)).toBe(raw)
  })

  test.each([
    ['content that is no list', { content: 'x' }],
    ['blocks that are no objects', { content: ['resource_link', null, 7] }],
    ['links without addresses', { content: [{ type: 'resource_link' }, { type: 'resource' }] }],
    ['addresses that are no text', { content: [{ type: 'resource_link', uri: 7 }] }],
  ])('a result with %s stays as it is', (_what, result) => {
    expect(shown('tools/call', result)).toEqual(result)
  })
})
