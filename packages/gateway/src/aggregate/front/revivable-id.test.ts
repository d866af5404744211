import { describe, expect, test } from 'vitest'
import { ownIdOf, readRevivableId, revivableId } from './revivable-id.ts'

const initialize = (params: object): string =>
  JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'initialize', params })

describe('the id of a session that any gateway can go on with', () => {
  test('the id carries what the client said of itself, and nothing else', () => {
    const params = {
      protocolVersion: '2025-06-18',
      capabilities: { elicitation: {} },
      clientInfo: { name: 'Ünï', version: '1' },
    }
    const text = revivableId('abc', initialize({ ...params, _meta: { secret: 'x' } }))
    expect(text).toMatch(/^abc~[A-Za-z0-9_-]+$/)
    const { id, greeting } = readRevivableId(text)
    expect(id).toBe('abc')
    expect([ownIdOf(text), ownIdOf('abc')]).toEqual(['abc', 'abc'])
    expect(JSON.parse(greeting ?? '')).toEqual({
      jsonrpc: '2.0',
      id: 'revived',
      method: 'initialize',
      params,
    })
  })

  test('an introduction that is too long for a header is left out', () => {
    const params = { clientInfo: { name: 'x'.repeat(3000), version: '1' } }
    expect(readRevivableId(revivableId('abc', initialize(params)))).toEqual({
      id: 'abc',
      greeting: undefined,
    })
  })
})
