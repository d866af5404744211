import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

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

/** Without figures of earlier runs, the largest files come first. The one that takes longest is small: its tests are those of every runtime. */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const longest = (file: TestSpecification): number =>
      Number(file.moduleId.endsWith('/runtime.test.ts'))
    return (await super.sort(files)).toSorted((one, other) => longest(other) - longest(one))
  }
}

/** On a real, disposable cluster: KUBECONFIG names it, and REGISTRY a registry that both it and this machine reach. */
export default defineConfig({
  test: {
    globalSetup: 'test/kubernetes/setup.ts',
    reporters: ['default', './test/closing-line-reporter.ts'],
    sequence: { sequencer: LongestFirst },
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
