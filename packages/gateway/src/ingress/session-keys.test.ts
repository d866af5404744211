import { randomBytes } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { loadSessionKeys } from './session-keys.ts'

let dataDir = ''
beforeEach(() => (dataDir = mkdtempSync(join(tmpdir(), 'mcpgw-keys-'))))
afterEach(() => rmSync(dataDir, { recursive: true, force: true }))
const file = (): string => join(dataDir, 'session.key')

describe('the keys of session ids', () => {
  test('session keys are made once, for the owner alone, and stay at every start', async () => {
    const first = await loadSessionKeys({ dataDir, configured: [] })
    expect(first.map(({ length }) => length)).toEqual([32])
    expect(statSync(file()).mode & 0o777).toBe(0o600)
    expect(await loadSessionKeys({ dataDir, configured: [] })).toEqual(first)
  })

  test('session keys of different data folders differ', async () => {
    const [one] = await loadSessionKeys({ dataDir, configured: [] })
    rmSync(file())
    const [two] = await loadSessionKeys({ dataDir, configured: [] })
    expect(one).not.toEqual(two)
  })

  test('configured session keys are used as they are, and nothing is written', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.uint8Array({ minLength: 32, maxLength: 32 }), { minLength: 1, maxLength: 4 }),
        async (keys) => {
          const configured = keys.map((key) => Buffer.from(key).toString('base64'))
          expect(await loadSessionKeys({ dataDir, configured })).toEqual(
            keys.map((key) => Buffer.from(key)),
          )
        },
      ),
    )
    expect(() => statSync(file())).toThrow('ENOENT')
  })

  test.each([
    ['nothing', ''],
    ['a key that is cut short', randomBytes(16).toString('base64')],
    ['a key that is too long', randomBytes(33).toString('base64')],
    ['something else', 'not a key'],
  ])(
    'a key file that holds %s is refused with advice, and stays as it is',
    async (_what, content) => {
      writeFileSync(file(), content)
      await expect(loadSessionKeys({ dataDir, configured: [] })).rejects.toThrow(
        /session\.key does not hold a key of 32 bytes .* Remove it/,
      )
      expect(readFileSync(file(), 'utf8')).toBe(content)
    },
  )

  test('many processes that start at once share one and the same keys', async () => {
    const all = await Promise.all(
      Array.from({ length: 30 }, () => loadSessionKeys({ dataDir, configured: [] })),
    )
    expect(new Set(all.map(([key]) => key?.toString('base64'))).size).toBe(1)
    expect(readdirSync(dataDir)).toEqual(['session.key'])
  })
})
