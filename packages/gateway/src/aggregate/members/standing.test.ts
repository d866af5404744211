import { describe, expect, test } from 'vitest'
import { sampleResource } from '../../../test/contracts/samples.ts'
import type { DirectoryEntry } from '../../core/directories/directory.ts'
import type { Adapter } from '../../core/resource.ts'
import type { Replica, ReplicaPhase } from '../../core/workload.ts'
import type { MemberSnapshot } from '../lists/member-lists.ts'
import { adapterStanding } from './standing.ts'

const adapter = sampleResource('a', { uid: 'now' }) as Adapter
const none = { items: [], mistakes: [] }
const snapshot: MemberSnapshot = {
  lists: { tools: none, prompts: none, resources: none, templates: none },
  title: undefined,
  instructions: undefined,
  completes: false,
}
const read = { snapshot, failure: undefined }
const unread = { snapshot: undefined, failure: undefined }

const replica = (phase: ReplicaPhase, more: Partial<Replica> = {}): Replica => ({
  name: 'a-0',
  index: 0,
  phase,
  path: '/mcp',
  generation: 1,
  restarts: 0,
  ...more,
})
const replicas = (...all: readonly Replica[]): DirectoryEntry => ({
  uid: 'now',
  desiredReplicas: 1,
  replicas: all,
})

/** The state of an adapter whose lists are known, by its workload. */
const stateOf = (entry: DirectoryEntry | undefined, of = adapter): string =>
  adapterStanding(of, entry, read).state

describe('the standing of an adapter', () => {
  test('one replica that is ready is enough', () => {
    expect(stateOf(replicas(replica('backoff'), replica('ready')))).toBe('Ready')
  })

  test.each(['pending', 'starting', 'terminating'] as const)(
    'an adapter whose only replica is %s is starting',
    (phase) => {
      expect(stateOf(replicas(replica(phase)))).toBe('Starting')
      expect(adapterStanding(adapter, replicas(replica(phase)), unread).state).toBe('Starting')
    },
  )

  test('an adapter without any replica yet is starting', () => {
    expect(stateOf(undefined)).toBe('Starting')
    expect(stateOf(replicas())).toBe('Starting')
  })

  test.each([
    ['crashed', replica('backoff', { reason: 'exited with code 1' })],
    ['has crashed and starts again', replica('starting', { restarts: 1 })],
    ['is on a host that is silent', replica('lost')],
  ])('an adapter whose only replica %s is down at once, though its lists are fresh', (_, only) => {
    expect(stateOf(replicas(only))).toBe('Down')
  })

  test('the reason of a crash is that of the replica', () => {
    const entry = replicas(replica('backoff', { reason: 'exited with code 1' }))
    expect(adapterStanding(adapter, entry, read).reason).toBe(
      'No replica is ready: exited with code 1.',
    )
  })

  test('a workload that cannot run here is down, and the reason says why', () => {
    const { reason, state } = adapterStanding(
      adapter,
      { ...replicas(), refused: 'no such image' },
      read,
    )
    expect([state, reason]).toEqual(['Down', 'It cannot run here: no such image.'])
  })

  test('replicas of an earlier incarnation do not count', () => {
    expect(stateOf({ ...replicas(replica('ready')), uid: 'before' })).toBe('Starting')
  })

  test.each([
    ['the definition', { ...adapter, spec: { ...adapter.spec, replicaCount: 0 } }, replicas()],
    ['the runtime', adapter, { ...replicas(), desiredReplicas: 0 }],
  ])('an adapter that %s stops is stopped', (_, of, entry) => {
    expect(stateOf(entry, of)).toBe('Stopped')
  })

  test('an endpoint has no replicas, so its lists alone decide', () => {
    const spec = { ...adapter.spec, endpoint: 'https://a.example/mcp' }
    const endpoint: Adapter = { ...adapter, spec }
    expect(stateOf(undefined, endpoint)).toBe('Ready')
    expect(adapterStanding(endpoint, undefined, unread).state).toBe('Starting')
    const failing = { snapshot, failure: 'It is gone.' }
    expect(adapterStanding(endpoint, undefined, failing)).toEqual({
      state: 'Down',
      reason: 'It is gone.',
    })
  })

  test('an adapter whose lists have mistakes is degraded', () => {
    const lists = { ...snapshot.lists, prompts: { items: [], mistakes: ['A name is illegible.'] } }
    const known = { snapshot: { ...snapshot, lists }, failure: undefined }
    expect(adapterStanding(adapter, replicas(replica('ready')), known)).toEqual({
      state: 'Degraded',
      reason: 'A name is illegible.',
    })
  })

  test('an adapter that is gone is missing', () => {
    expect(adapterStanding(undefined, replicas(replica('ready')), read).state).toBe('Missing')
  })
})
