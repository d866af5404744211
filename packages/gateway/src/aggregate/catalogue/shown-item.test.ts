import { describe, expect, test } from 'vitest'
import { showItem, uiResourceOf, withoutUi } from './shown-item.ts'

const member = { alias: 'gh', name: 'github' }
const show = (kind: Parameters<typeof showItem>[0], key: string, json: string): unknown =>
  JSON.parse(showItem(kind, member, { key, json }).json)

describe('the shown form of an item', () => {
  test('a tool keeps all bytes but those of its name', () => {
    const json = '{"name":"go","inputSchema":{"maximum":1e400,"x" : [ 12345678901234567890 ]}}'
    const shown = showItem('tools', member, { key: 'go', json })
    expect(shown.shown).toBe('gh_go')
    expect(shown.json).toBe(
      '{"name":"gh_go","inputSchema":{"maximum":1e400,"x" : [ 12345678901234567890 ]},' +
        '"_meta":{"mcp-gateway/origin":{"member":"github","name":"go"}}}',
    )
  })

  test('an item names its member and its original name', () => {
    expect(show('resources', 'file:///a', '{"uri":"file:///a","name":"a"}')).toEqual({
      uri: 'gh+file:///a',
      name: 'a',
      _meta: { 'mcp-gateway/origin': { member: 'github', name: 'file:///a' } },
    })
    expect(show('templates', 'x:{a}', '{"uriTemplate":"x:{a}"}')).toMatchObject({
      uriTemplate: 'gh+x:{a}',
    })
    expect(show('prompts', 'greet', '{"name":"greet"}')).toMatchObject({ name: 'gh_greet' })
  })

  test('a member cannot speak for the protocol or for the gateway', () => {
    const meta = {
      'io.modelcontextprotocol/serverInfo': { name: 'other' },
      'modelcontextprotocol.io/x': 1,
      'mcp-gateway/origin': { member: 'other', name: 'x' },
      'vendor/x': 1,
    }
    expect(show('tools', 'go', JSON.stringify({ name: 'go', _meta: meta }))).toEqual({
      name: 'gh_go',
      _meta: { 'vendor/x': 1, 'mcp-gateway/origin': { member: 'github', name: 'go' } },
    })
  })

  test('a tool names its user interface by the address that clients can read', () => {
    const meta = {
      ui: { resourceUri: 'ui://chart/main', visibility: ['app'] },
      'ui/resourceUri': 'ui://chart/main',
    }
    const { json } = showItem('tools', member, {
      key: 'go',
      json: JSON.stringify({ name: 'go', _meta: meta }),
    })
    expect(JSON.parse(json)).toMatchObject({
      _meta: {
        ui: { resourceUri: 'ui://gh+chart/main', visibility: ['app'] },
        'ui/resourceUri': 'ui://gh+chart/main',
      },
    })
    expect(uiResourceOf(json)).toBe('ui://gh+chart/main')
    expect(uiResourceOf(withoutUi(json))).toBeUndefined()
    expect(withoutUi(json)).toContain('mcp-gateway/origin')
  })

  test('an override changes name, title, description and hints, and nothing else', () => {
    const json = '{"name":"rm","description":"old","annotations":{"title":"t","readOnlyHint":true}}'
    const override = {
      name: 'delete',
      title: 'Delete',
      description: 'Deletes a file.',
      annotations: { readOnlyHint: false, destructiveHint: true },
    }
    const shown = showItem('tools', member, { key: 'rm', json }, { override })
    expect(shown).toMatchObject({ shown: 'gh_delete', original: 'rm' })
    expect(JSON.parse(shown.json)).toMatchObject({
      name: 'gh_delete',
      title: 'Delete',
      description: 'Deletes a file.',
      annotations: { title: 't', readOnlyHint: false, destructiveHint: true },
      _meta: { 'mcp-gateway/origin': { member: 'github', name: 'rm' } },
    })
  })

  test('a web address that two members list names its member', () => {
    const item = { key: 'https://a.example/x', json: '{"uri":"https://a.example/x"}' }
    expect(showItem('resources', member, item).shown).toBe('https://a.example/x')
    expect(showItem('resources', member, item, { clashes: true }).shown).toBe(
      'gh+https://a.example/x',
    )
  })
})
