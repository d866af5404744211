// npm run repeat -- TIMES SUITE [ARGUMENTS]: runs a suite of package.json so many times, and sums
// the tests that failed, or passed only when they were repeated. The output of each run is in
// .cache/repeat.
import { spawn } from 'node:child_process'
import { createWriteStream, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const folder = join(root, '.cache/repeat')

/** One run of a suite, as its closing lines tell it. */
export interface Run {
  /** `N passed, N failed, N skipped`; undefined if the run ended before it. */
  readonly closing: string | undefined
  readonly failed: readonly string[]
  readonly flaky: readonly string[]
}

/** Reads the closing lines that test/closing-line-reporter.ts prints. */
export function runIn(output: string): Run {
  const lines = output.split('\n')
  const named = (kind: string): string[] =>
    lines
      .filter((line) => line.startsWith(`${kind}: `))
      // The message of the error follows the name of the test.
      .map((line) => /^\w+: (.*?)(?:: .*)?$/.exec(line)?.[1] ?? line)
  const closing = lines.findLast((line) => /^\d+ passed, \d+ failed, \d+ skipped$/.test(line))
  return { closing, failed: named('FAILED'), flaky: named('FLAKY') }
}

/** Sums the runs: a line for each test that failed or was repeated, the most frequent one first. */
export function sumOf(runs: readonly Run[]): string {
  const counts = new Map<string, { failed: number; flaky: number }>()
  for (const run of runs)
    for (const kind of ['failed', 'flaky'] as const)
      for (const name of run[kind]) {
        const count = counts.get(name) ?? { failed: 0, flaky: 0 }
        counts.set(name, { ...count, [kind]: count[kind] + 1 })
      }

  const rows = [...counts]
    .toSorted(([, one], [, other]) => other.failed - one.failed || other.flaky - one.flaky)
    .map(([name, { failed, flaky }]) => `${failed} failed, ${flaky} repeated: ${name}`)
  const all = (kind: 'failed' | 'flaky'): number =>
    runs.reduce((sum, run) => sum + run[kind].length, 0)
  const broken = runs.filter(({ closing }) => closing === undefined).length
  const closing =
    `${runs.length} runs: ${all('failed')} failures, ${all('flaky')} repeats,` +
    ` ${broken} runs without a closing line`
  return [...rows, closing].join('\n')
}

async function runOnce(suite: string, words: readonly string[], file: string): Promise<Run> {
  const child = spawn('npm', ['run', '--silent', suite, '--', ...words], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
  await pipeline(child.stdout, createWriteStream(file))
  return runIn(output)
}

async function repeat(times: number, suite: string, words: readonly string[]): Promise<void> {
  mkdirSync(folder, { recursive: true })
  const runs: Run[] = []
  for (let number = 1; number <= times; number += 1) {
    const begun = performance.now()
    const run = await runOnce(
      suite,
      words,
      join(folder, `${suite.replaceAll(':', '-')}-${number}.log`),
    )
    runs.push(run)
    const seconds = Math.round((performance.now() - begun) / 1000)
    const told = run.closing ?? 'no closing line'
    console.log(`${number}/${times}: ${told}, ${run.flaky.length} repeated, ${seconds} s`)
  }

  console.log(`\n${sumOf(runs)}`)
  const isGood = ({ closing, failed }: Run): boolean => closing !== undefined && failed.length === 0
  if (!runs.every(isGood)) process.exitCode = 1
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [times = '', suite, ...words] = process.argv.slice(2)
  if (!/^[1-9]\d*$/.test(times) || suite === undefined) {
    console.error('Say how often, and which suite: npm run repeat -- 10 test:e2e')
    process.exitCode = 1
  } else await repeat(Number(times), suite, words)
}
