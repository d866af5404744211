import { expect, test } from 'vitest'
import { rawHeader } from './raw-header.ts'

test('a header of an answer is found by its name whatever the case', () => {
  const raw = ['Mcp-Session-ID', 'a', 'mcp-session-id', 'b'].map((text) => Buffer.from(text))
  expect(rawHeader(raw, 'mcp-session-id')).toBe('a')
  expect(rawHeader(raw, 'mcp-session')).toBeUndefined()
})
