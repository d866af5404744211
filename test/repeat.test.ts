import { expect, test } from 'vitest'
import { runIn, sumOf } from '../scripts/repeat.ts'

const flaky = 'FLAKY: test/e2e/a.test.ts > a group > a test does: "x": expected 1 to be 2'

test('a run of `npm run repeat` is read by its closing lines', () => {
  const failed = 'FAILED: test/e2e/b.test.ts > a test fails: expected [Function] to throw at /x:1:2'
  const output = [
    'some log',
    failed,
    flaky,
    'SKIPPED: no docker: 2',
    '',
    '3 passed, 1 failed, 2 skipped',
  ]

  expect(runIn(output.join('\n'))).toEqual({
    closing: '3 passed, 1 failed, 2 skipped',
    failed: ['test/e2e/b.test.ts > a test fails'],
    flaky: ['test/e2e/a.test.ts > a group > a test does'],
  })
  expect(runIn('Error: no such script').closing).toBeUndefined()
})

test('`npm run repeat` sums failures and repeats for each test, the worst first', () => {
  const run = (failed: string[], repeated: string[]) => ({
    closing: '1 passed, 0 failed, 0 skipped',
    failed,
    flaky: repeated,
  })
  const broken = { closing: undefined, failed: [], flaky: [] }

  expect(sumOf([run([], ['often']), run(['bad'], ['often']), run([], []), broken])).toBe(
    '1 failed, 0 repeated: bad\n0 failed, 2 repeated: often\n' +
      '4 runs: 1 failures, 2 repeats, 1 runs without a closing line',
  )
})
