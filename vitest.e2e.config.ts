import { defineConfig } from 'vitest/config'
import { slowFirst } from './test/slow-first.ts'

const shared = {
  pool: 'forks',
  // The reporter lists a test that passed only then as FLAKY.
  retry: 1,
  testTimeout: 120_000,
  hookTimeout: 120_000,
  expect: { poll: { timeout: 30_000 } },
} as const
const source = {
  resolve: { conditions: ['mcpgw-source'] },
  ssr: { resolve: { conditions: ['mcpgw-source'] } },
}
/** Every client with every server, each in a process. Some clients wait a second for a message. */
const matrices = ['test/e2e/**/sdks.test.ts']

export default defineConfig({
  test: {
    reporters: ['default', './test/closing-line-reporter.ts'],
    sequence: { sequencer: slowFirst('matrix', 'real-servers', 'processes') },
    projects: [
      {
        ...source,
        test: {
          ...shared,
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          exclude: matrices,
          maxWorkers: 2,
          sequence: { groupOrder: 0 },
        },
      },
      {
        ...source,
        test: {
          ...shared,
          name: 'sdks',
          include: matrices,
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
})
