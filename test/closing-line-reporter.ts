import type { Reporter, TestCase, TestModule } from 'vitest/node'

/**
 * Prints `N passed, N failed, N skipped` last, by which CI counts tests. Above it stand a
 * `FAILED: ` line for each failed test, `FLAKY: ` for each that passed only when repeated, and
 * `SKIPPED: ` for missing things.
 */
export default class ClosingLineReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly Failure[]): void {
    const count = { passed: 0, failed: unhandledErrors.length, skipped: 0, pending: 0 }
    const failures = unhandledErrors.map((error) =>
      failureLine('FAILED', 'outside of any test', [error]),
    )
    const flaky: string[] = []
    const skipped = new Map<string, number>()
    for (const module of modules) {
      if (module.state() === 'failed' && module.errors().length > 0) {
        count.failed += 1
        failures.push(failureLine('FAILED', module.relativeModuleId, module.errors()))
      }
      for (const test of module.children.allTests()) {
        const result = test.result()
        count[result.state] += 1
        if (result.state === 'failed') {
          failures.push(failureLine('FAILED', nameOf(test), result.errors))
        }
        if (test.diagnostic()?.flaky === true) {
          flaky.push(failureLine('FLAKY', nameOf(test), result.errors ?? []))
        }
        const reason = result.state === 'skipped' ? reasonOf(test, result.note) : undefined
        if (reason !== undefined) skipped.set(reason, (skipped.get(reason) ?? 0) + 1)
      }
    }
    const left = count.skipped + count.pending
    const closing = `${count.passed} passed, ${count.failed} failed, ${left} skipped`
    const skips = [...skipped].map(([reason, tests]) => `SKIPPED: ${reason}: ${tests}`)
    const lines = [...failures, ...flaky, ...skips, closing]
    setImmediate(() => process.stdout.write(`\n${lines.join('\n')}\n`))
  }
}

interface Failure {
  readonly message?: string
  readonly stack?: string
}

function nameOf(test: TestCase): string {
  return `${test.module.relativeModuleId} > ${test.fullName}`
}

/**
 * Gives the reason of a skip, in one text for all tests of a group. A filter of names gives no
 * reason.
 */
function reasonOf(test: TestCase, note: string | undefined): string | undefined {
  const name = nameOf(test)
  return (
    /^.* \(skipped: [^)]*\)/.exec(name)?.[0] ??
    (note === undefined ? undefined : `${name} (${note})`)
  )
}

function failureLine(kind: 'FAILED' | 'FLAKY', where: string, errors: readonly Failure[]): string {
  const what = errors
    .map(
      ({ message, stack }) =>
        `${message ?? 'no message'} ${/^ *at .*/m.exec(stack ?? '')?.[0] ?? ''}`,
    )
    .join(' | ')
  return `${kind}: ${where}: ${what.replaceAll(/\s+/g, ' ').slice(0, 1000)}`
}
