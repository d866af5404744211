import { expect, test } from 'vitest'
import type { Replica, WorkloadStatus } from '../../core/workload.ts'
import { sampleResource } from '../../../test/contracts/samples.ts'
import { statusOf, type Seen } from './status.ts'

const resource = sampleResource('x')

function foundWith(more: Partial<Replica>): WorkloadStatus {
  const replica: Replica = {
    name: 'x-0',
    index: 0,
    phase: 'pending',
    path: '/mcp',
    generation: resource.generation,
    restarts: 0,
    ...more,
  }
  return {
    name: 'x',
    uid: resource.uid,
    observedGeneration: resource.generation,
    image: 'image:1',
    desiredReplicas: 1,
    replicas: [replica],
    conditions: [],
  }
}

const wanted = { ...resource, spec: { ...resource.spec, replicaCount: 1 } }

function seen(found: WorkloadStatus, problem?: string): Seen {
  return { found, problem, silence: undefined }
}

function summaryOf(more: Partial<Replica>): string {
  const reader = { logs: true, isAdministrator: true }
  return statusOf(wanted, seen(foundWith(more)), reader).replicaStatus
}

test.each([
  ['a reader', { logs: false, isAdministrator: false }, ''],
  ['a reader of logs', { logs: true, isAdministrator: false }, ' Said.'],
  ['an administrator', { logs: true, isAdministrator: true }, ' Said. It is /opt/x.'],
])('%s sees the texts that are for such a reader, and no other', (_who, reader, more) => {
  const texts = { message: 'It ended.', output: 'Said.', internals: 'It is /opt/x.' }
  const found = foundWith({ ...texts, lastExit: { at: '', ...texts } })
  const { replicas } = statusOf(wanted, seen(found), reader)

  expect(replicas).toMatchObject([
    { message: `It ended.${more}`, lastExit: { message: `It ended.${more}` } },
  ])
  expect(JSON.stringify(replicas)).not.toMatch(/output|internals/)
})

test.each([
  'admission webhook "a.example" denied the request: no pods on a Saturday',
  'pods "x-0" is forbidden: exceeded quota: compute, requested: pods=1',
  'StatefulSet.apps "x" is invalid: spec.template: Required value',
  "The Service 'x-service' in the namespace 'adapter' was not made by this gateway, so it stays.",
])('a reader of logs sees a refusal that concerns the workload: %s', (problem) => {
  const textFor = (logs: boolean): string =>
    JSON.stringify(statusOf(wanted, seen(foundWith({}), problem), { logs, isAdministrator: false }))

  expect(textFor(true)).toContain(JSON.stringify(problem).slice(1, -1))
  expect(textFor(false)).not.toContain(JSON.stringify(problem).slice(1, -1))
})

test('an administrator alone sees why the gateway cannot make the workload so', () => {
  const problem = 'The API server at https://10.0.0.1 cannot be reached.'
  const textFor = (isAdministrator: boolean): string =>
    JSON.stringify(statusOf(wanted, seen(foundWith({}), problem), { logs: true, isAdministrator }))

  expect(textFor(true)).toContain('10.0.0.1')
  expect(textFor(false)).toContain('ReconcileFailed')
  expect(textFor(false)).not.toContain('10.0.0.1')
})

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
