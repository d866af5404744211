import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { nextStep, type RollingReplica } from './rolling.ts'

describe('rolling', () => {
  test('rolling reaches the wanted state, and never takes a second replica down', () => {
    const anyReplicas = fc.uniqueArray(
      fc.record({ index: fc.nat(6), current: fc.boolean(), ready: fc.boolean() }),
      {
        selector: ({ index }) => index,
      },
    )
    fc.assert(
      fc.property(anyReplicas, fc.nat(6), (start, desired) => {
        let replicas: RollingReplica[] = start
        for (let steps = 0; steps < 60; steps += 1) {
          const step = nextStep(replicas, desired)
          if (step.do === 'nothing') break
          if (step.do === 'replace') {
            const old = replicas.find(({ index }) => index === step.index)
            expect(old?.current).toBe(false)
            expect(replicas.some(({ current, ready }) => current && !ready)).toBe(false)
          }
          if (step.do === 'stop') replicas = replicas.filter(({ index }) => index !== step.index)
          else if (step.do === 'start')
            replicas = [...replicas, { index: step.index, current: true, ready: false }]
          else if (step.do === 'replace')
            replicas = replicas.map((replica) =>
              replica.index === step.index
                ? { index: step.index, current: true, ready: false }
                : replica,
            )
          else
            replicas = replicas.map((replica) =>
              replica.current ? { ...replica, ready: true } : replica,
            )
        }
        expect(nextStep(replicas, desired).do).toBe('nothing')
        expect(replicas.map(({ index }) => index).toSorted((a, b) => a - b)).toEqual(
          Array.from({ length: desired }, (_, index) => index),
        )
      }),
    )
  })

  test('a broken update stops at the first replica that does not become ready', () => {
    const replicas = [0, 1, 2].map((index) => ({ index, current: index === 2, ready: index !== 2 }))
    expect(nextStep(replicas, 3)).toEqual({ do: 'wait' })
    // An old replica that happens to be down does not change this.
    expect(
      nextStep(
        replicas.map((replica) => ({ ...replica, ready: false })),
        3,
      ),
    ).toEqual({ do: 'wait' })
  })

  test('replicas that are down anyway are replaced first', () => {
    const replicas = [0, 1, 2].map((index) => ({ index, current: false, ready: index !== 1 }))
    expect(nextStep(replicas, 3)).toEqual({ do: 'replace', index: 1 })
  })
})
