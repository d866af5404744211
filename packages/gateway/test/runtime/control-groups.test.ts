import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { hasEnded } from '@mcp-gateway/testkit'
import { expect, test } from 'vitest'
import { ControlGroups, held, type ControlGroup } from '../../src/runtime/process/control-groups.ts'

const tried = await ControlGroups.open(randomUUID(), 'tried')
if (typeof tried !== 'string') await tried.end()

async function open(series: string, name: string): Promise<ControlGroups> {
  const groups = await ControlGroups.open(series, name)
  if (typeof groups === 'string') throw new Error(groups)
  return groups
}

test.skipIf(typeof tried === 'string')(
  'control groups end at their opening what an earlier gateway left, and nothing else',
  async () => {
    const [series, otherSeries] = [randomUUID(), randomUUID()]
    const left = (await open(series, 'earlier')).make('replica')
    const others = await open(otherSeries, 'of-another-gateway')
    const start = (group: ControlGroup) => {
      const [command, ...args] = held('/bin/sleep', ['60'])
      const child = spawn(command, args, { detached: true, stdio: ['pipe', 'ignore', 'ignore'] })
      group.take(child.pid ?? 0)
      child.stdin.end('\n')
      return { folder: group.folder, child }
    }
    const [hidden, other] = [start(left), start(others.make('replica'))]
    for (const { folder, child } of [hidden, other])
      await expect
        .poll(() => readFileSync(join(folder, 'cgroup.procs'), 'utf8').trim())
        .toBe(String(child.pid))

    const later = await open(series, 'later')
    try {
      await expect.poll(() => hasEnded(hidden.child), { timeout: 5000 }).toBe(true)
      expect(existsSync(hidden.folder)).toBe(false)
      expect(hasEnded(other.child)).toBe(false)
    } finally {
      await later.end()
      await others.end()
    }
    await expect.poll(() => hasEnded(other.child)).toBe(true)
  },
)

test('a held process begins nothing when its gateway ends before it releases it', async () => {
  const [command, ...args] = held('/bin/echo', ['begun'])
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'ignore'] })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  child.stdin.end()

  expect(await once(child, 'close')).toEqual([126, null])
  expect(output).toBe('')
})
