import { spawn, type ChildProcess } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { processesWith, skipNote } from '@mcp-gateway/testkit'
import { afterEach, describe, expect, test } from 'vitest'
import { endMarked, newMark, startWarden } from '../src/warden.ts'

// Wardens read /proc. Other systems have process groups alone.
const linux = process.platform === 'linux'
const children: ChildProcess[] = []
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
})

/**
 * Runs a shell script in a session of its own, and waits until all `count` processes run. A tag in
 * the arguments finds them again.
 */
async function run(
  script: string,
  mark: { name: string; value: string } | undefined,
  count = 1,
): Promise<string> {
  const tag = `warden-${randomUUID()}`
  const env = {
    PATH: process.env['PATH'],
    ...(mark === undefined ? {} : { [mark.name]: mark.value }),
  }
  children.push(
    spawn('/bin/sh', ['-c', script, 'sh', tag], { detached: true, stdio: 'ignore', env }),
  )
  await expect.poll(() => processesWith(tag).length).toBe(count)
  return tag
}
/** True if a process ignores or handles a signal. A shell that starts does not yet. */
function minds(pid: number | undefined, signal: number): boolean {
  const masks = readFileSync(`/proc/${pid}/status`, 'utf8').matchAll(/^Sig(?:Ign|Cgt):\s+(\w+)$/gm)
  return [...masks].some(([, mask]) => ((BigInt(`0x${mask}`) >> BigInt(signal - 1)) & 1n) === 1n)
}
/** True if a process ignores the signals of a terminal and of an operator. */
function isDeaf(pid: number | undefined): boolean {
  return pid !== undefined && [1, 2, 15].every((signal) => minds(pid, signal))
}
const forever = 'while :; do sleep 0.1; done'
const stubborn = `trap "" TERM HUP INT; ${forever}`

const note = skipNote(linux ? undefined : 'needs Linux')

describe.runIf(linux)(`the end of marked processes${note}`, () => {
  test.each([
    ['a process that obeys SIGTERM', forever, 1],
    ['one that ignores SIGTERM', stubborn, 1],
    ['a grandchild in a session of its own', `setsid sh -c '${stubborn}' sh "$1" & ${forever}`, 2],
    ['a grandchild whose parent has ended', `(setsid sh -c '${stubborn}' sh "$1" &) ; exit 0`, 1],
    [
      'a grandchild with a clean environment in a session of its own, while its parent lives',
      `env -i setsid sh -c '${stubborn}' sh "$1" & ${forever}`,
      2,
    ],
    [
      'a child with a clean environment that lost its parent and stayed in the session',
      `(env -i sh -c '${stubborn}' sh "$1" &) ; ${forever}`,
      2,
    ],
  ])('the warden ends %s', async (_what, script, count) => {
    const mark = newMark('MCPGW_TEST')
    const tag = await run(script, mark, count)
    expect(await endMarked({ mark: mark.text, graceSeconds: 0.3 })).toBe(true)
    expect(processesWith(tag)).toEqual([])
  })

  test('the warden ends a named process with its descendants, though none is marked', async () => {
    const tag = await run(`env -i setsid sh -c '${stubborn}' sh "$1" & ${forever}`, undefined, 2)
    const mark = 'MCPGW_TEST=nobody'
    const pid = children.at(-1)?.pid

    expect(await endMarked({ mark, graceSeconds: 0.3, pid })).toBe(true)
    expect(processesWith(tag)).toEqual([])
  })

  test('the warden leaves all others alone, also those whose mark only begins alike', async () => {
    const mark = newMark('MCPGW_TEST')
    const ours = await run(forever, mark)
    const others = await Promise.all([
      run(forever, undefined),
      run(forever, newMark('MCPGW_TEST')),
      run(forever, { name: mark.name, value: `${mark.value}0` }),
    ])
    await endMarked({ mark: mark.text, graceSeconds: 0.3 })
    expect(processesWith(ours)).toEqual([])
    // A shell that calls a program has two processes for a moment.
    await expect.poll(() => others.map((tag) => processesWith(tag).length)).toEqual([1, 1, 1])
  })

  test('the warden gives a process the grace to end by itself', async () => {
    const mark = newMark('MCPGW_TEST')
    const tag = await run(`trap "sleep 0.5; exit 0" TERM; ${forever}`, mark)
    const child = children.at(-1) as ChildProcess
    const exit = once(child, 'exit')
    await expect.poll(() => minds(child.pid, 15)).toBe(true)
    await endMarked({ mark: mark.text, graceSeconds: 5 })
    expect(await exit).toEqual([0, null])
    expect(processesWith(tag)).toEqual([])
  })

  test('the warden is done at once when there is nothing', async () => {
    expect(await endMarked({ mark: 'MCPGW_TEST=nobody', graceSeconds: 5 })).toBe(true)
  })
})

describe.runIf(linux)(`a warden${note}`, () => {
  test('the warden ends marked processes when its owner lets go, and then itself', async () => {
    const mark = newMark('MCPGW_TEST')
    const warden = startWarden({ mark: mark.text, graceSeconds: 0.3 })
    const tag = await run(stubborn, mark)
    // The warden runs by then, and ends nothing until its owner lets go.
    await expect.poll(() => isDeaf(processesWith(mark.value)[0])).toBe(true)
    // A newly forked process still looks like its parent.
    await expect.poll(() => processesWith(tag)).toHaveLength(1)
    warden.release()
    await expect.poll(() => processesWith(tag)).toEqual([])
    await expect.poll(() => processesWith(mark.value)).toEqual([])
  })

  test('the warden outlives the signals of a terminal, and is replaced when killed', async () => {
    const mark = newMark('MCPGW_TEST')
    const warden = startWarden({ mark: mark.text, graceSeconds: 0.3 })
    const tag = await run(stubborn, mark)
    await expect.poll(() => isDeaf(processesWith(mark.value)[0])).toBe(true)
    const [pid = 0] = processesWith(mark.value)
    // The kernel drops what a process ignores before `kill` returns.
    for (const signal of ['SIGINT', 'SIGHUP', 'SIGTERM'] as const) process.kill(pid, signal)
    expect(isDeaf(pid)).toBe(true)
    expect(processesWith(mark.value)).toEqual([pid])
    process.kill(pid, 'SIGKILL')
    await expect
      .poll(() => processesWith(mark.value).filter((each) => each !== pid))
      .toHaveLength(1)
    warden.release()
    await expect.poll(() => processesWith(tag)).toEqual([])
  })
})
