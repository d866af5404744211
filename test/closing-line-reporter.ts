import type { Reporter, TestCase, TestModule } from 'vitest/node'

/**
 * Prints `N passed, N failed, N skipped` last, the line by which CI counts tests. Before it, a
 * `FAILED: ` line names each test that failed and how, and a `FLAKY: ` line each that passed only
 * when it was repeated.
 */
export default class ClosingLineReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly Failure[]): void {
    const count = { passed: 0, failed: unhandledErrors.length, skipped: 0, pending: 0 }
    const failures = unhandledErrors.map((error) => failureLine('outside of any test', [error]))
    const flaky: string[] = []
    for (const module of modules) {
      if (module.state() === 'failed' && module.errors().length > 0) {
        count.failed += 1
        failures.push(failureLine(module.relativeModuleId, module.errors()))
      }
      for (const test of module.children.allTests()) {
        const result = test.result()
        count[result.state] += 1
        if (result.state === 'failed') failures.push(failureLine(nameOf(test), result.errors))
        if (test.diagnostic()?.flaky === true) flaky.push(`FLAKY: ${nameOf(test)}`)
      }
    }
    const closing = `${count.passed} passed, ${count.failed} failed, ${count.skipped + count.pending} skipped`
    setImmediate(() => process.stdout.write(`\n${[...failures, ...flaky, closing].join('\n')}\n`))
  }
}

interface Failure {
  readonly message?: string
  readonly stack?: string
}

function nameOf(test: TestCase): string {
  return `${test.module.relativeModuleId} > ${test.fullName}`
}

function failureLine(where: string, errors: readonly Failure[]): string {
  const what = errors
    .map(
      ({ message, stack }) =>
        `${message ?? 'no message'} ${/^ *at .*/m.exec(stack ?? '')?.[0] ?? ''}`,
    )
    .join(' | ')
  return `FAILED: ${where}: ${what.replaceAll(/\s+/g, ' ').slice(0, 1000)}`
}
