import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'

/** Unit tests share threads (they own no process-wide state); integration tests each get a process of their own. */
const source = {
  resolve: { conditions: ['mcpgw-source'] },
  ssr: { resolve: { conditions: ['mcpgw-source'] } },
}

export default defineConfig({
  test: {
    reporters: ['default', './test/closing-line-reporter.ts'],
    // They wait more than they work, so that two cores are enough for two files at a time.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    projects: [
      {
        ...source,
        test: {
          name: 'unit',
          include: ['packages/*/src/**/*.test.ts', 'samples/*/src/**/*.test.ts', 'test/*.test.ts'],
          pool: 'threads',
          isolate: false,
          // Far more than any takes: a machine may stand still for a while.
          testTimeout: 60_000,
          expect: { poll: { timeout: 15_000 } },
        },
      },
      {
        ...source,
        test: {
          name: 'integration',
          include: ['packages/*/test/**/*.test.ts'],
          pool: 'forks',
          // Sockets and processes are real. The reporter lists a test that passed only then as FLAKY.
          retry: 1,
          testTimeout: 60_000,
          hookTimeout: 60_000,
          expect: { poll: { timeout: 30_000 } },
        },
      },
    ],
  },
})
