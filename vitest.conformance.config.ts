import { defineConfig } from 'vitest/config'
import { slowFirst } from './test/slow-first.ts'

export default defineConfig({
  resolve: { conditions: ['mcpgw-source'] },
  ssr: { resolve: { conditions: ['mcpgw-source'] } },
  test: {
    name: 'conformance',
    include: ['test/conformance/**/*.test.ts'],
    pool: 'forks',
    // The reporter lists a test that passed only then as FLAKY.
    retry: 1,
    // The official suites wait more than they work. Four of them at once keep their times.
    maxWorkers: 2,
    maxConcurrency: 2,
    sequence: { sequencer: slowFirst('replicas', 'cells') },
    testTimeout: 120_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 30_000 } },
    reporters: ['default', './test/closing-line-reporter.ts'],
  },
})
