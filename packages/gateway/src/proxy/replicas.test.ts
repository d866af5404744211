import { expect, test } from 'vitest'
import { ReplicaDirectory } from '../core/directory.ts'
import type { Replica } from '../core/workload.ts'
import { createAddressPolicy } from '../lib/address-policy.ts'
import { sampleResource } from '../store/store-contract.ts'
import { Upstreams } from './replicas.ts'

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

test('a request waits for a replica that has crashed once, and gets it when it is ready', async () => {
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

test('a request waits as long as one of several replicas may become ready by itself', async () => {
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
