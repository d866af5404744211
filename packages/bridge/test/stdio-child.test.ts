import { pino } from 'pino'
import { expect, test } from 'vitest'
import { StdioChild } from '../src/stdio-child.ts'

test('all that a child wrote before it ended is heard, also when this process stands still just then', async () => {
  const script = `process.stdout.write(JSON.stringify({ jsonrpc: '2.0', id: 1, result: 'x'.repeat(120_000) }) + '\\n', () => process.exit())`
  const child = new StdioChild({
    command: process.execPath,
    args: ['-e', script],
    environment: process.env,
    stopGraceMs: 500,
    maxLineBytes: 1024 * 1024,
    log: pino({ level: 'silent' }),
  })
  let heard = 0
  let over = false
  const ended = new Promise((resolve) => child.listen({ line: () => (heard += 1), ended: resolve }))
  // As for a client that reads slowly: what the child writes stays in the pipe.
  child.pause()
  const standStill = (): void => {
    for (const end = performance.now() + 250; performance.now() < end;);
    if (!over) setImmediate(standStill)
  }
  setImmediate(standStill)
  await ended
  over = true
  expect(heard).toBe(1)
})
