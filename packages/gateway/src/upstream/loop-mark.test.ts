import { expect, test } from 'vitest'
import { loopMark } from './loop-mark.ts'

const key = (byte: number): Buffer => Buffer.alloc(32, byte)

test('gateways with the same keys have one name in CDN-Loop, and others have another', () => {
  expect(loopMark([key(1), key(2)])).toBe(loopMark([key(1)]))
  expect(loopMark([key(1)])).not.toBe(loopMark([key(2)]))
  expect(loopMark([key(1)])).toMatch(/^mcp-gateway-[0-9a-f]{12}$/)
})
