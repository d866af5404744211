import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { longestSecret } from '@mcp-gateway/contract'
import { afterAll, expect, test } from 'vitest'
import { fileSource } from './file-source.ts'

const folder = mkdtempSync(join(tmpdir(), 'mcpgw-secret-'))
afterAll(() => rmSync(folder, { recursive: true }))

const path = join(folder, 'secret')
const source = fileSource({ one: { path, requiredRoles: [] } })
const read = (text: string): ReturnType<typeof source.read> => {
  writeFileSync(path, text)
  return source.read({ source: 'file', name: 'one' })
}

test.each(['', '\n', '\r\n'])(
  'a file of the greatest length is read whole, with %j behind it',
  async (end) => {
    const value = `${'x'.repeat(longestSecret - 1)}y`
    expect(await read(value + end)).toEqual({ value })
  },
)

test.each([1, 2, 3, 100_000])('a file that is %i bytes too long gives nothing', async (more) => {
  expect(await read('x'.repeat(longestSecret + more))).toMatchObject({
    reason: 'SecretUnreadable',
    message: expect.stringContaining(`longer than ${longestSecret} bytes`),
  })
})
