import { defineConfig } from 'vitest/config'
import { slowFirst } from './test/slow-first.ts'

const source = {
  resolve: { conditions: ['mcpgw-source'] },
  ssr: { resolve: { conditions: ['mcpgw-source'] } },
}
const shared = {
  pool: 'forks',
  // The reporter lists a test that passed only then as FLAKY.
  retry: 1,
  testTimeout: 180_000,
  hookTimeout: 180_000,
  expect: { poll: { timeout: 60_000 } },
} as const
/** They stop what holds the cluster up, fill its nodes or drain them, for everybody who is on it. */
const outages = ['test/kubernetes/outages.test.ts', 'test/kubernetes/platform.test.ts']

/** On a real, disposable cluster: KUBECONFIG names it, and REGISTRY a registry that both it and this machine reach. */
export default defineConfig({
  test: {
    globalSetup: 'test/kubernetes/setup.ts',
    reporters: ['default', './test/closing-line-reporter.ts'],
    sequence: { sequencer: slowFirst('runtime', 'faults', 'local-story') },
    projects: [
      {
        ...source,
        test: {
          ...shared,
          name: 'kubernetes',
          include: ['test/kubernetes/**/*.test.ts'],
          exclude: outages,
          // Each is in a namespace of its own, and waits for the cluster most of the time.
          maxWorkers: 2,
          sequence: { groupOrder: 0 },
        },
      },
      {
        ...source,
        test: {
          ...shared,
          name: 'outages',
          include: outages,
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
})
