import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'
import { slowFirst } from './test/slow-first.ts'

/** The tests that run compilers and programs of other languages. */
const readers = 'test/readers.test.ts'
const source = {
  resolve: { conditions: ['mcpgw-source'] },
  ssr: { resolve: { conditions: ['mcpgw-source'] } },
}

export default defineConfig({
  test: {
    reporters: ['default', './test/closing-line-reporter.ts'],
    // Integration tests wait more than they work, so two cores are enough for four files at a time.
    maxWorkers: Math.max(4, availableParallelism()),
    sequence: {
      sequencer: slowFirst(
        'stdio-bridge',
        'readers',
        'runtime-process',
        'permissions',
        'shares',
        'sandbox',
        'key-vault',
        'silent-servers',
        'store-postgres-faults',
        'edge-requests',
      ),
    },
    projects: [
      {
        ...source,
        test: {
          name: 'unit',
          include: ['packages/*/src/**/*.test.ts', 'samples/*/src/**/*.test.ts', 'test/*.test.ts'],
          exclude: [readers],
          // They share threads, because they own no state of the process.
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
          include: ['packages/*/test/**/*.test.ts', readers],
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
