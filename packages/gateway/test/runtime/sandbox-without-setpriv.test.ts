import { randomUUID } from 'node:crypto'
import { statSync } from 'node:fs'
import { killAll, processesWith, skipNote } from '@mcp-gateway/testkit'
import { expect, test, vi } from 'vitest'
import { openRuntime } from '../../src/runtime/open.ts'
import { ControlGroups } from '../../src/runtime/process/control-groups.ts'
import { processRuntime } from '../fixtures/process-runtime.ts'

vi.mock(import('../../src/runtime/process/sandbox/as-user.ts'), async (original) => ({
  ...(await original()),
  hasSetpriv: () => false,
}))

const tried = await ControlGroups.open(randomUUID(), 'tried')
if (typeof tried !== 'string') await tried.end()
const possible = process.getuid?.() === 0 && typeof tried !== 'string'
const note = skipNote(possible ? undefined : 'needs root and control groups')

/** Leaves a process without marks, parent and session, which has the second argument. */
const escaping = `
  sh -c 'env -i PATH=/usr/bin:/bin setsid sh -c "$1" "$2" >/dev/null 2>&1 & exit 0' sh "$1" "$2"
  exec sleep 60`
const lasting = 'trap "" TERM HUP; while :; do sleep 0.2; done'

test.skipIf(!possible)(
  `a server of an owner's user leaves nothing behind on a machine without setpriv${note}`,
  async () => {
    const tag = `escaped-${randomUUID()}`
    const command = ['/bin/sh', '-c', escaping, 'sh', lasting, tag]
    const options = processRuntime(randomUUID(), {
      sandbox: 'uid',
      images: { escaping: { command } },
    })
    const runtime = await openRuntime(options)
    const { signal } = new AbortController()
    const one = { name: 'one', uid: 'u1' }
    try {
      await runtime.apply(
        {
          ...one,
          kind: 'adapter',
          generation: 1,
          owner: '["development","eve"]',
          image: { name: 'escaping', version: '1' },
          environment: {},
          replicas: 1,
          useWorkloadIdentity: false,
        },
        signal,
      )
      // The server itself has another name by now.
      const escaped = () => processesWith(tag)
      await expect.poll(() => escaped().length, { timeout: 5000 }).toBe(1)
      expect(statSync(`/proc/${escaped()[0]}`).uid).toBeGreaterThanOrEqual(700_000)

      await runtime.remove(one, signal)
      await expect.poll(escaped, { timeout: 5000 }).toEqual([])
    } finally {
      await runtime[Symbol.asyncDispose]()
      killAll(processesWith(tag))
      options.cleanUp()
    }
  },
)
