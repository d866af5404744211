import { expect, test } from 'vitest'
import { gatewaysIn, loopMarks } from './loop-mark.ts'

const key = (byte: number): Buffer => Buffer.alloc(32, byte)

test('gateways with the same keys have one name in CDN-Loop, and others have another', () => {
  const [first = ''] = loopMarks([key(1), key(2)])
  expect(loopMarks([key(2), key(1)])).toEqual([...loopMarks([key(2)]), first])
  expect(loopMarks([key(1)])).toEqual([expect.stringMatching(/^mcp-gateway-[0-9a-f]{12}$/)])
})

test('only names of gateways are read from CDN-Loop, and the last ones of many', () => {
  const [mark = ''] = loopMarks([key(1)])
  expect(gatewaysIn({})).toBe('')
  expect(gatewaysIn({ 'cdn-loop': `cdn.example, ${mark};v=1.0, other` })).toBe(mark)

  const many = gatewaysIn({ 'cdn-loop': `mcp-gateway-0123456789ab, ${mark}, `.repeat(1000) + mark })
  expect(many.length).toBeLessThan(600)
  expect(many.endsWith(mark)).toBe(true)
})
