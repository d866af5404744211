import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'
import { slowFirst } from './test/slow-first.ts'

/** The tests that run compilers and programs of other languages. */
const readers = 'test/readers.test.ts'
/** The tests that replace modules, which needs a process for each file. */
const replacing = ['packages/gateway/test/runtime/sandbox-without-setpriv.test.ts']
/** Sockets and processes are real. The reporter lists a test that passed only then as FLAKY. */
const real = {
  pool: 'forks',
  retry: 1,
  testTimeout: 60_000,
  hookTimeout: 60_000,
  expect: { poll: { timeout: 30_000 } },
} as const
const source = {
  resolve: { conditions: ['mcpgw-source'] },
  ssr: { resolve: { conditions: ['mcpgw-source'] } },
}

export default defineConfig({
  test: {
    reporters: ['default', './test/closing-line-reporter.ts'],
    // Integration tests wait more than they work, so two cores are enough for five files at a time.
    maxWorkers: Math.max(5, availableParallelism()),
    sequence: {
      sequencer: slowFirst(
        'stdio-bridge',
        'readers',
        'runtime-process',
        'auth/permissions',
        'proxy/shares',
        'runtime/sandbox',
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
          ...real,
          name: 'integration',
          include: ['packages/*/test/**/*.test.ts'],
          exclude: replacing,
          // Files share processes, because each new one takes a second to import the gateway.
          isolate: false,
          unstubEnvs: true,
        },
      },
      {
        ...source,
        test: { ...real, name: 'replacing', include: replacing },
      },
      {
        ...source,
        test: { ...real, name: 'readers', include: [readers] },
      },
    ],
  },
})
