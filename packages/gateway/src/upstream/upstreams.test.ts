import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { ReplicaDirectory, type DirectoryEntry } from '../core/directories/directory.ts'
import type { Replica } from '../core/workload.ts'
import { createAddressPolicy } from '../lib/net/address-policy.ts'
import { sampleResource } from '../../test/contracts/samples.ts'
import { Upstreams } from './upstreams.ts'

const resource = sampleResource('x')
const anHourMs = 3_600_000

function upstreamsWith(...replicas: Partial<Replica>[]): {
  upstreams: Upstreams
  directory: ReplicaDirectory
} {
  const directory = new ReplicaDirectory()
  directory.set('x', {
    uid: resource.uid,
    desiredReplicas: replicas.length,
    replicas: replicas.map((more, index) => ({
      name: `x-${index}`,
      index,
      phase: 'pending',
      path: '/mcp',
      generation: 1,
      restarts: 0,
      ...more,
    })),
  })
  const upstreams = new Upstreams(directory, {
    connectTimeoutMs: 1000,
    keepAliveMs: 1000,
    coldStartMs: anHourMs,
    endpointPolicy: createAddressPolicy([]),
    endpointConnections: { most: 1, beyond: 'refuse' },
  })
  return { upstreams, directory }
}

const never = new AbortController().signal

test.each<Partial<Replica>>([
  { phase: 'backoff', reason: 'ErrImagePull' },
  { phase: 'backoff', reason: 'CrashLoopBackOff' },
  { phase: 'backoff', reason: 'Exited', restarts: 2 },
  { phase: 'pending', reason: 'Unschedulable' },
])('a request does not wait out the cold start for a replica that is %o', async (stuck) => {
  const { upstreams } = upstreamsWith(stuck)

  await expect(upstreams.waitFor(resource, undefined, never)).rejects.toMatchObject({
    code: 'no_ready_replica',
    message: expect.stringContaining(`(${stuck.reason})`),
  })
})

test('a request waits for a replica that has crashed once, until it is ready', async () => {
  const { upstreams, directory } = upstreamsWith({
    phase: 'backoff',
    reason: 'Exited',
    restarts: 1,
  })
  const waiting = upstreams.waitFor(resource, undefined, never)
  const entry = directory.get('x')
  directory.set('x', {
    uid: resource.uid,
    desiredReplicas: 1,
    replicas: [
      { ...(entry?.replicas[0] as Replica), phase: 'ready', origin: 'http://127.0.0.1:1' },
    ],
  })

  expect((await waiting).replica.name).toBe('x-0')
  await upstreams[Symbol.asyncDispose]()
})

test('a request waits as long as one of several replicas may become ready', async () => {
  const { upstreams } = upstreamsWith({ phase: 'backoff', reason: 'ErrImagePull' }, {})
  const left = new AbortController()
  const waiting = upstreams.waitFor(resource, undefined, left.signal)
  const first = await Promise.race([
    waiting.catch(() => 'refused'),
    new Promise((resolve) => setTimeout(resolve, 3000, 'still waiting')),
  ])

  expect(first).toBe('still waiting')
  left.abort()
  await waiting.catch(() => undefined)
})

const opened = { replica: 'x-0', issuedAt: Date.parse('2026-01-02T03:00:00Z') }
const later = opened.issuedAt + 60_000
const gone = Number.POSITIVE_INFINITY

test.each<[string, Partial<Replica>]>([
  ['is about to be deleted', { phase: 'terminating', keepsSince: gone }],
  ['is gone', { phase: 'pending', keepsSince: gone }],
  ['is replaced by one that starts', { phase: 'starting', keepsSince: later }],
  ['is replaced by one without an image', { phase: 'backoff', keepsSince: later }],
])('a session ends at once when its pod %s', async (_what, replica) => {
  const { upstreams } = upstreamsWith(replica, { phase: 'ready', origin: 'http://127.0.0.1:1' })

  await expect(upstreams.waitFor(resource, opened, never)).rejects.toMatchObject({
    code: 'session_not_found',
  })
})

test.each<[string, Partial<Replica>]>([
  ['is not ready for a moment', { phase: 'starting', keepsSince: opened.issuedAt - 60_000 }],
  ['restarts on this machine', { phase: 'terminating' }],
])('a call of a session waits while its replica %s', async (_what, replica) => {
  const { upstreams } = upstreamsWith(replica)

  expect(upstreams.pick(resource, opened)).toBeUndefined()
})

test('a call waits for the next pod when an earlier session has outlived its pod', async () => {
  const { upstreams, directory } = upstreamsWith({
    phase: 'ready',
    origin: 'http://127.0.0.1:1',
    keepsSince: later,
  })
  const upstream = upstreams.pick(resource, opened)
  const deletePod = (): void => {
    const entry = directory.get('x')
    const [replica] = entry?.replicas ?? []
    directory.set('x', {
      uid: resource.uid,
      desiredReplicas: 1,
      replicas: [{ ...(replica as Replica), phase: 'terminating', keepsSince: gone }],
    })
  }
  if (upstream === undefined) throw new Error('The replica is ready.')

  upstreams.learn(resource, opened, upstream, 200)
  deletePod()
  expect(upstreams.pick(resource, opened)).toBeUndefined()

  upstreams.learn(resource, opened, upstream, 404)
  expect(() => upstreams.pick(resource, opened)).toThrow('The session is not known')
  await upstreams[Symbol.asyncDispose]()
})

test('a call that names a pod about to be deleted goes elsewhere', () => {
  const { upstreams } = upstreamsWith({ phase: 'terminating', keepsSince: gone }, {})

  expect(upstreams.has(resource, 'x-0')).toBe(false)
  expect(upstreams.has(resource, 'x-1')).toBe(true)
})

test('a request on a replica whose port another server has taken is cut', async () => {
  const thief = createServer(() => undefined)
  thief.listen(0, '127.0.0.1')
  await once(thief, 'listening')
  const { port } = thief.address() as AddressInfo
  const { upstreams, directory } = upstreamsWith({
    phase: 'ready',
    origin: `http://127.0.0.1:${port}`,
  })
  const upstream = upstreams.pick(resource, opened)
  const cut = new Promise((resolve) => {
    upstream?.via('').dispatch(
      { method: 'GET', path: '/mcp' },
      {
        onConnect: () => undefined,
        onError: resolve,
        onHeaders: () => true,
        onData: () => true,
        onComplete: () => undefined,
      },
    )
  })
  await once(thief, 'request')

  const entry = directory.get('x') as DirectoryEntry
  const taken = entry.replicas.map(({ origin: _gone, ...replica }) => ({
    ...replica,
    phase: 'terminating' as const,
    reason: 'PortTaken',
  }))
  directory.set('x', { ...entry, replicas: taken })

  expect(await cut).toBeInstanceOf(Error)
  expect(upstreams.pick(resource, opened)).toBeUndefined()

  await upstreams[Symbol.asyncDispose]()
  thief.close()
})
