import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { killAll, processesWith, skipNote } from '@mcp-gateway/testkit'
import { pino } from 'pino'
import { afterEach, describe, expect, test } from 'vitest'
import { StdioChild } from '../src/children/stdio-child.ts'

test('the bridge hears all that a child wrote before it ended', async () => {
  const script =
    `process.stdout.write(JSON.stringify({ jsonrpc: '2.0', id: 1,` +
    ` result: 'x'.repeat(120_000) }) + '\\n', () => process.exit())`
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
  // A client that reads slowly does the same: the output of the child stays in the pipe.
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

test('a long line of a server’s log is in the log, in marked pieces', async () => {
  const logged: string[] = []
  const log = pino({ level: 'info' }, { write: (line: string) => void logged.push(line) })
  const child = new StdioChild({
    command: process.execPath,
    args: ['-e', `console.error('fatal: no key\\nbegin ' + 'x'.repeat(500_000) + ' end')`],
    environment: process.env,
    stopGraceMs: 500,
    maxLineBytes: 1024,
    log,
  })
  await child.ended()

  const pieces = logged
    .map((line) => (JSON.parse(line) as { stderr?: string }).stderr)
    .filter((piece) => piece !== undefined)
  expect(pieces.length).toBeGreaterThan(50)
  expect(pieces.shift()).toBe('fatal: no key')
  expect(pieces[0]).toMatch(/^begin x+…$/)
  expect(pieces.at(-1)).toMatch(/^…x+ end$/)
  expect(pieces.join('').replaceAll('…', '')).toBe(`begin ${'x'.repeat(500_000)} end`)
  expect(child.endedBecause).toContain('fatal: no key')
})

test('a server that asks on and reads no answers is ended with the reason', async () => {
  const child = new StdioChild({
    command: process.execPath,
    args: ['-e', `setInterval(() => undefined, 1000)`],
    environment: process.env,
    stopGraceMs: 500,
    maxLineBytes: 1024,
    log: pino({ level: 'silent' }),
  })
  const ended = new Promise((resolve) => child.listen({ line: () => undefined, ended: resolve }))
  const answer = Buffer.from(`{"jsonrpc":"2.0","id":1,"result":"${'x'.repeat(1024 * 1024)}"}`)
  for (let count = 0; count < 200; count += 1) child.send(answer)

  expect(child.unread).toBeLessThan(70 * 1024 * 1024)
  expect(await ended).toContain('The server does not read what it is sent.')
})

const linux = process.platform === 'linux'
const note = skipNote(linux ? undefined : 'needs Linux')

describe.runIf(linux)(`a stdio server that started other processes${note}`, () => {
  const forever = 'trap "" TERM HUP; while :; do sleep 0.2; done'
  const clean = 'env -i PATH=/usr/bin:/bin'
  const tag = `family-${randomUUID()}`
  afterEach(() => {
    killAll(processesWith(tag))
  })

  test.each([
    ['one in its group', 'sh -c "$1" "$2" &'],
    ['one in a session of its own', 'setsid sh -c "$1" "$2" &'],
    ['one with a clean environment in a session of its own', `${clean} setsid sh -c "$1" "$2" &`],
    ['one that lost its parent and left its session', '(setsid sh -c "$1" "$2" &);'],
    ['one that lost its parent and has a clean environment', `(${clean} sh -c "$1" "$2" &);`],
    [
      'a child of one that left its session',
      `setsid sh -c '${clean} setsid sh -c "$1" "$2" & wait' sh "$1" "$2" &`,
    ],
  ])('the end of such a server ends %s', async (_what, start) => {
    const child = new StdioChild({
      command: '/bin/sh',
      args: ['-c', `${start} read -r line`, 'sh', forever, tag],
      environment: process.env,
      stopGraceMs: 500,
      maxLineBytes: 1024,
      log: pino({ level: 'silent' }),
    })
    await expect.poll(() => escaped(tag)).toBe(true)

    await child.stop()

    await expect.poll(() => processesWith(tag)).toEqual([])
  })

  test('the end of such a server leaves the processes of others alone', async () => {
    const open = (own: string) =>
      new StdioChild({
        command: '/bin/sh',
        args: ['-c', 'setsid sh -c "$1" "$2" & read -r line', 'sh', forever, own],
        environment: process.env,
        stopGraceMs: 500,
        maxLineBytes: 1024,
        log: pino({ level: 'silent' }),
      })
    const [one, other] = [open(`${tag}-one`), open(`${tag}-other`)]
    for (const own of ['one', 'other']) await expect.poll(() => escaped(`${tag}-${own}`)).toBe(true)

    await one.stop()

    await expect.poll(() => processesWith(`${tag}-one`)).toEqual([])
    expect(escaped(`${tag}-other`)).toBe(true)
    await other.stop()
  })
})

/** True if the loop of a test runs in the process that the bridge must end. */
function escaped(tag: string): boolean {
  return processesWith(tag).some((pid) => {
    const [, script = ''] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0-c\0')
    return script.startsWith('trap')
  })
}
