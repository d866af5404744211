import { describe, expect, test } from 'vitest'
import { apiKeyId, digestOf, newApiKey } from './api-key.ts'

describe('an API key', () => {
  test('a key begins so that scanners and people recognise it, and names its id', () => {
    const { id, text } = newApiKey()
    expect(text).toMatch(/^mcpgw_[0-9a-f]{16}_[0-9A-Za-z]{49}$/)
    expect(text.startsWith(`mcpgw_${id}_`)).toBe(true)
    expect(apiKeyId(text)).toBe(id)
  })

  test('a key is recognised by its digest, which gives nothing of it away', () => {
    const { text, digest } = newApiKey()
    expect(digestOf(text).toString('hex')).toBe(digest)
    expect(digest).toMatch(/^[0-9a-f]{64}$/)
  })

  test('a key is never made twice', () => {
    const made = Array.from({ length: 1000 }, newApiKey)
    expect(new Set(made.map(({ id }) => id)).size).toBe(1000)
    expect(new Set(made.map(({ text }) => text.slice(23, -6))).size).toBe(1000)
  })

  test('a key with one character mistyped, lost or doubled reveals the mistake', () => {
    const { text } = newApiKey()
    for (let index = 0; index < text.length; index += 1) {
      const other = text[index] === 'a' ? 'b' : 'a'
      expect(apiKeyId(text.slice(0, index) + other + text.slice(index + 1))).toBeUndefined()
      expect(apiKeyId(text.slice(0, index) + text.slice(index + 1))).toBeUndefined()
      expect(apiKeyId(text.slice(0, index + 1) + text.slice(index))).toBeUndefined()
    }
  })

  test('a key has its form whatever the random bytes', () => {
    for (let count = 0; count < 300; count += 1) expect(apiKeyId(newApiKey().text)).toBeDefined()
  })
})
