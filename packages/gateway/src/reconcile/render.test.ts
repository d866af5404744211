import { expect, test } from 'vitest'
import type { SecretSources } from '../secrets/sources.ts'
import { sampleResource } from '../../test/contracts/samples.ts'
import { renderWorkload } from './render.ts'

test('an environment that is too large with its secrets is withheld and reported', async () => {
  const store = { admits: async () => true, read: async () => ({ value: 'x'.repeat(64 * 1024) }) }
  const sources: SecretSources = { store, file: store, kubernetes: store }
  const render = (variables: number) => {
    const { spec } = sampleResource('a')
    const references = Array.from({ length: variables }, (_, index) => [
      `V${index}`,
      { secretRef: { source: 'store', name: 's' } },
    ])
    return renderWorkload(
      sampleResource('a', {
        spec: { ...spec, environmentVariables: Object.fromEntries(references) },
      }),
      sources,
    )
  }
  expect(Object.keys((await render(11))?.environment ?? {})).toHaveLength(11)
  const withheld = await render(13)
  expect(withheld?.environment).toEqual({})
  expect(withheld).toMatchObject({
    withheld: {
      reason: 'EnvironmentTooLarge',
      message: expect.stringMatching(/has 852010 bytes; it may have 786432/),
    },
  })
})
