import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { takeProcessLock } from '../../src/lib/process-lock.ts'

const module = new URL('../../dist/lib/process-lock.js', import.meta.url).href
const program = `
import { takeProcessLock } from ${JSON.stringify(module)}
const [file, at] = process.argv.slice(1)
while (Date.now() < Number(at));
try {
  takeProcessLock(file)
  console.log('held')
} catch (error) {
  console.log(error.name)
}
process.stdin.resume()
`

let folder = ''
let file = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'mcpgw-lock-'))
  file = join(folder, 'gateway.lock')
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

/**
 * Gives the outcomes of processes that try at the same moment. They live until the last is done.
 */
async function tryAtOnce(count: number): Promise<string[]> {
  const at = Date.now() + 400
  const children = Array.from({ length: count }, () =>
    spawn(process.execPath, ['--input-type=module', '-e', program, file, String(at)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    }),
  )
  const told = await Promise.all(
    children.map(async (child) => {
      const [text] = (await once(child.stdout, 'data')) as [Buffer]
      return text.toString().trim()
    }),
  )
  await Promise.all(
    children.map(async (child) => {
      const exit = once(child, 'exit')
      child.kill('SIGKILL')
      await exit
    }),
  )
  return told.toSorted()
}

describe('the lock of a data folder', () => {
  test('one of several processes holds the lock, also after a killed holder', async () => {
    for (let round = 0; round < 4; round += 1)
      expect(await tryAtOnce(3)).toEqual(['LockHeld', 'LockHeld', 'held'])
  })

  test('a process takes the lock of a killed holder, and says so', async () => {
    expect(await tryAtOnce(1)).toEqual(['held'])
    const lock = takeProcessLock(file)
    expect(lock.wasAbandoned).toBe(true)
    lock.release()
    expect(readdirSync(folder)).toEqual([])
  })

  test.each(['', 'nonsense', '1', `${process.ppid} 1`, `${process.pid} 1`])(
    'a process takes a lock file with %j, which no live process has written',
    (text) => {
      writeFileSync(file, text)
      const lock = takeProcessLock(file)
      expect(lock.wasAbandoned).toBe(true)
      expect(readFileSync(file, 'utf8')).toMatch(new RegExp(`^${process.pid} \\d+\\n$`))
      lock.release()
      expect(readdirSync(folder)).toEqual([])
    },
  )
})
