import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { watchHealth } from './health.ts'

const settings = { periodSeconds: 3600, timeoutSeconds: 60, unreadyAfter: 100, restartAfter: 100 }
const never = new AbortController().signal

/** The address of a server that takes connections and never answers. */
async function silentServer(): Promise<{ host: string; port: number }> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  return { host: '127.0.0.1', port: (server.address() as AddressInfo).port }
}

test('a replica whose port another server holds is restarted before its next check', async () => {
  const failures: number[] = []
  const isOwn = async (): Promise<boolean> => false
  const watch = { isOwn, periodMs: 10 }
  const ailment = await watchHealth(
    { address: await silentServer(), watch },
    settings,
    never,
    (count) => failures.push(count),
  )

  expect(ailment).toBe('PortTaken')
  expect(failures).toEqual([])
})

test('a replica whose listener is unknown counts as failing', async () => {
  const isOwn = () => Promise.reject(new Error('no descriptors are left'))
  const few = { ...settings, periodSeconds: 0.02, restartAfter: 2 }
  const watch = { isOwn, periodMs: 5 }
  const failures: number[] = []
  const ailment = await watchHealth({ address: await silentServer(), watch }, few, never, (count) =>
    failures.push(count),
  )

  expect(ailment).toBe('NotResponding')
  expect(failures).toEqual([1, 2])
})

test('a replica that owns its port is asked for answers once in a period', async () => {
  let looks = 0
  let asked = 0
  const server = createServer(() => (asked += 1)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  const address = { host: '127.0.0.1', port: (server.address() as AddressInfo).port }
  const isOwn = async (): Promise<boolean> => (looks += 1) < 20

  const watched = { address, watch: { isOwn, periodMs: 1 } }
  expect(await watchHealth(watched, settings, never, () => undefined)).toBe('PortTaken')
  expect(asked).toBe(0)
})
