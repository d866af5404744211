import { expect, test } from 'vitest'
import { gatewaysIn, loopMark } from './loop-mark.ts'

const key = (byte: number): Buffer => Buffer.alloc(32, byte)

test('gateways with the same keys have one name in CDN-Loop, and others have another', () => {
  expect(loopMark([key(1), key(2)])).toBe(loopMark([key(1)]))
  expect(loopMark([key(1)])).not.toBe(loopMark([key(2)]))
  expect(loopMark([key(1)])).toMatch(/^mcp-gateway-[0-9a-f]{12}$/)
})

test('only names of gateways are read from CDN-Loop, and the last ones of many', () => {
  const mark = loopMark([key(1)]) ?? ''
  expect(gatewaysIn({})).toBe('')
  expect(gatewaysIn({ 'cdn-loop': `cdn.example, ${mark};v=1.0, other` })).toBe(mark)

  const many = gatewaysIn({ 'cdn-loop': `mcp-gateway-0123456789ab, ${mark}, `.repeat(1000) + mark })
  expect(many.length).toBeLessThan(600)
  expect(many.endsWith(mark)).toBe(true)
})
