import { afterAll, beforeAll } from 'vitest'
import { describeRuntime } from '../../packages/gateway/test/contracts/runtime-contract.ts'
import { TestNamespace } from './fixtures/cluster.ts'

let namespace: TestNamespace
beforeAll(async () => {
  namespace = await TestNamespace.open()
})
afterAll(() => namespace[Symbol.asyncDispose]())

describeRuntime('kubernetes', {
  open: () =>
    namespace.openRuntime({
      overrides: ['failing', 'silent'].map((mode) => ({
        image: `contract-${mode}:*`,
        name: '*',
        args: ['node', 'server.js', mode],
      })),
    }),
  images: { server: 'contract-server', failing: 'contract-failing', silent: 'contract-silent' },
  timeoutMs: 150_000,
})
