import { expect, test } from 'vitest'
import type { Replica } from '../core/workload.ts'
import { judge } from './conditions.ts'

const replica = (index: number, more: Partial<Replica>): Replica => ({
  name: `x-${index}`,
  index,
  phase: 'ready',
  path: '/mcp',
  generation: 2,
  restarts: 0,
  ...more,
})

test('a stuck roll says how many replicas were updated, and how many of these are ready', () => {
  const replicas = [
    replica(0, { generation: 1 }),
    replica(1, { generation: 1 }),
    replica(2, { phase: 'backoff', reason: 'ErrImagePull' }),
  ]
  const conditions = judge({ desired: 3, generation: 2, replicas })

  expect(conditions.find(({ type }) => type === 'Progressing')).toEqual({
    type: 'Progressing',
    status: 'True',
    reason: 'Rolling',
    message: '1 of 3 replicas have the present generation, and 0 of these are ready.',
  })
})
