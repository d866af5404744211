import { defineConfig } from 'vitest/config'

/** On a real, disposable cluster: KUBECONFIG names it, and REGISTRY a registry that both it and this machine reach. */
export default defineConfig({
  resolve: { conditions: ['mcpgw-source'] },
  ssr: { resolve: { conditions: ['mcpgw-source'] } },
  test: {
    name: 'kubernetes',
    include: ['test/kubernetes/**/*.test.ts'],
    globalSetup: 'test/kubernetes/setup.ts',
    pool: 'forks',
    fileParallelism: false,
    testTimeout: 180_000,
    hookTimeout: 180_000,
    expect: { poll: { timeout: 30_000 } },
    reporters: ['default', './test/closing-line-reporter.ts'],
  },
})
