import { spawnSync } from 'node:child_process'
import { expect, test } from 'vitest'

const module = new URL('../../dist/telemetry/log.js', import.meta.url).href
const nasty = 'a\nb\r\u0085c\u2028d\u001b[31me\u009b31mf\u202eg\u0000h'

/** Gives the log of a process that logs hostile texts in every place of a line. */
function written(format: string): string {
  const program = `
    import { createLog } from ${JSON.stringify(module)}
    const log = createLog({ level: 'info', format: ${JSON.stringify(format)}, terminal: false })
    const nasty = ${JSON.stringify(nasty)}
    log.error({ path: nasty, err: new Error(nasty), deep: { [nasty]: [nasty] } }, nasty)
    log.info({ path: '/adapters/x/mcp', status: 200, error: 'x status=500' }, 'request')
  `
  const { stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
    encoding: 'utf8',
  })
  return stderr
}

test.each(['json', 'pretty'])(
  'foreign text neither ends a line nor acts on a terminal in the %s log',
  (format) => {
    const text = written(format)
    const lines = text.split('\n')
    expect(lines).toHaveLength(3)
    expect(lines[2]).toBe('')
    // Other characters that end lines for some readers do not occur either.
    for (const line of lines) expect(line).not.toMatch(/[\p{Cc}\u2028\u2029\u202a-\u202e]/u)
    expect(lines[0]).toContain(String.raw`a\nb\r\u0085c\u2028d\u001b[31me\u009b31mf\u202eg\u0000h`)
  },
)

test('foreign text passes for no other member in the pretty log', () => {
  const line = written('pretty').split('\n')[1]
  expect(line).toMatch(/ info request path=\/adapters\/x\/mcp status=200 error="x status=500"$/)
})
