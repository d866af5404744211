import { expect, test } from 'vitest'
import { parseServerPath } from './server-path.ts'

test.each([
  ['/mcp', undefined, false],
  ['/mcp/', undefined, false],
  ['/mcp?session_id=x', undefined, false],
  ['/servers/work/mcp', 'work', false],
  ['/servers/work/mcp/?a=b', 'work', false],
  ['/servers/work/search/mcp', 'work', true],
])('%s is the address of a virtual server', (url, name, searches) => {
  expect(parseServerPath(url)).toMatchObject({ name, searches })
})

test.each([
  '/mcpx',
  '/mcp/x',
  '/servers/mcp',
  '/servers//mcp',
  '/servers/a/b/mcp',
  '/servers/work/search',
  '/servers/work/mcp/mcp',
  '/Servers/work/mcp',
])('%s is no address of a virtual server', (url) => {
  expect(parseServerPath(url)).toBeUndefined()
})

test('the logged address is short, whatever a caller sends', () => {
  expect(parseServerPath(`/servers/${'x'.repeat(5000)}/mcp`)?.logged).toHaveLength(77)
})
