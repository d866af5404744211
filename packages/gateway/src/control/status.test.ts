import { expect, test } from 'vitest'
import type { Replica, WorkloadStatus } from '../core/workload.ts'
import { sampleResource } from '../../test/contracts/samples.ts'
import { statusOf } from './status.ts'

const resource = sampleResource('x')

function summaryOf(more: Partial<Replica>): string {
  const replica: Replica = {
    name: 'x-0',
    index: 0,
    phase: 'pending',
    path: '/mcp',
    generation: resource.generation,
    restarts: 0,
    ...more,
  }
  const found: WorkloadStatus = {
    name: 'x',
    uid: resource.uid,
    observedGeneration: resource.generation,
    image: 'image:1',
    desiredReplicas: 1,
    replicas: [replica],
    conditions: [],
  }

  return statusOf(
    { ...resource, spec: { ...resource.spec, replicaCount: 1 } },
    found,
    undefined,
    true,
  ).replicaStatus
}

test('a server that was just created is Progressing, and not Degraded', () => {
  expect(summaryOf({})).toBe('Progressing: 0/1 ready')
  expect(summaryOf({ phase: 'starting' })).toBe('Progressing: 0/1 ready')
})

test.each<Partial<Replica>>([
  { phase: 'backoff', reason: 'ErrImagePull' },
  { phase: 'pending', reason: 'Unschedulable' },
  { phase: 'starting', restarts: 1, reason: 'Error' },
  { phase: 'terminating' },
])('a server whose only replica is %o is Degraded', (more) => {
  expect(summaryOf(more)).toBe('Degraded: 0/1 ready')
})
