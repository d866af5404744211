import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { errorCodes, GatewayError } from './errors.ts'

const page = readFileSync(new URL('../../../../docs/adapters.md', import.meta.url), 'utf8')

/**
 * The rows `| statuses | codes |` of the section on errors; codes in parentheses are those of
 * single mistakes.
 */
const rows = page
  .slice(page.indexOf('\n## Errors\n'))
  .split('\n')
  .flatMap((line) => {
    const [, statuses, codes] = /^\| ([\d, ]+?) +\| (.*) \|$/.exec(line) ?? []
    if (statuses === undefined || codes === undefined) return []
    const named = codes.replaceAll(/\([^)]*\)/g, '').matchAll(/`(\w+)`/g)
    return [
      { statuses: statuses.split(', ').map(Number), codes: [...named].map(([, code]) => code) },
    ]
  })

test.each(errorCodes)('the error %s stands in docs/adapters.md at its status', (code) => {
  const { status } = new GatewayError(code)
  expect(rows.filter(({ codes }) => codes.includes(code))).toEqual([
    expect.objectContaining({ statuses: expect.arrayContaining([status]) as number[] }),
  ])
})

test('docs/adapters.md names no error and no status that the gateway does not have', () => {
  // Node's parser reports this one, so it is not in the table of the gateway's errors.
  const known = new Map<string, number>([['request_timeout', 408]])
  for (const code of errorCodes) known.set(code, new GatewayError(code).status)

  for (const { codes, statuses } of rows) {
    expect(codes.filter((code) => !known.has(String(code)))).toEqual([])
    expect(new Set(statuses)).toEqual(new Set(codes.map((code) => known.get(String(code)))))
  }
})
