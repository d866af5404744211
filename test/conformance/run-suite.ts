import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * The official suite: `stable` is the latest release (0.1.16), `next` knows 2026-07-28
 * (0.2.0-alpha.12).
 */
export type Suite = 'stable' | 'next'

export interface Check {
  readonly id: string
  readonly name: string
  readonly status: 'SUCCESS' | 'FAILURE' | 'WARNING' | 'SKIPPED' | 'INFO'
  readonly errorMessage?: string
}

export interface ScenarioResult {
  readonly scenario: string
  readonly checks: readonly Check[]
}

export interface ServerSuite {
  readonly suite: Suite
  readonly url: string
  /**
   * The requirements of one revision, at its wire; every scenario of the suite by default. Only
   * `next` knows this option.
   */
  readonly requirements?: '2025-11-25' | '2026-07-28'
  /** One scenario alone, at the wire of `specVersion`. */
  readonly scenario?: string
  readonly specVersion?: string
  readonly signal?: AbortSignal
}

const here = dirname(fileURLToPath(import.meta.url))

/**
 * Runs an official suite against a server. Returns the outcome of every check of every scenario.
 */
export async function runServerSuite(options: ServerSuite): Promise<readonly ScenarioResult[]> {
  const { suite, url, requirements, scenario, specVersion, signal } = options
  const words = ['server', '--url', url]
  if (scenario !== undefined) words.push('--scenario', scenario)
  else if (requirements === undefined) words.push('--suite', 'all')
  if (requirements !== undefined && scenario === undefined)
    words.push('--requirements', requirements)
  if (specVersion !== undefined) words.push('--spec-version', specVersion)
  const results = await runSuite(suite, words, signal)
  return requirements === undefined
    ? results
    : Promise.all(results.map((result) => onceMore(result, options, requirements)))
}

/**
 * The suite waits 500 to 1,500 ms for the events of a stream. A busy machine does not always start
 * a process within that time.
 */
const tooSlow = new RegExp(
  `^(${[
    'Failed to receive progressive stream chunk',
    'Logging target endpoint context dropped',
    'Failed to open or receive frames',
    'Strict subscription filtering line failed',
    String.raw`Mutated the \w+ list but no`,
  ].join('|')})`,
)

/** Runs a scenario again, alone, if it was short of time. The second result counts. */
async function onceMore(
  result: ScenarioResult,
  { suite, url, signal }: ServerSuite,
  specVersion: NonNullable<ServerSuite['requirements']>,
): Promise<ScenarioResult> {
  const { scenario, checks } = result
  if (!checks.some(({ errorMessage = '' }) => tooSlow.test(errorMessage))) return result
  const again = await runSuite(
    suite,
    ['server', '--url', url, '--scenario', scenario, '--spec-version', specVersion],
    signal,
  )
  return again.find((each) => each.scenario === scenario) ?? result
}

/**
 * Runs one client scenario of the `next` suite: the command gets the URL of the suite's server as
 * its last argument.
 */
export async function runClientScenario(options: {
  readonly command: string
  readonly scenario: string
  readonly specVersion: string
  readonly environment?: Readonly<Record<string, string>>
}): Promise<readonly ScenarioResult[]> {
  const { command, scenario, specVersion, environment } = options
  return runSuite(
    'next',
    ['client', '--command', command, '--scenario', scenario, '--spec-version', specVersion],
    undefined,
    environment,
  )
}

/**
 * The part of a run that counts: the numbers of passed and failed checks, and the scenarios with a
 * failed one.
 */
export function tally(results: readonly ScenarioResult[]): {
  passed: number
  failed: number
  failing: readonly string[]
} {
  const count = (status: Check['status']): number =>
    results.flatMap(({ checks }) => checks).filter((check) => check.status === status).length
  const failing = results
    .filter(({ checks }) => checks.some(({ status }) => status === 'FAILURE'))
    .map(({ scenario }) => scenario)
  return { passed: count('SUCCESS'), failed: count('FAILURE'), failing }
}

export interface Difference {
  readonly scenario: string
  /** The check's id and name, with a number if the scenario has several of the same. */
  readonly check: string
  readonly direct: Check['status'] | 'absent'
  readonly through: Check['status'] | 'absent'
  readonly message?: string
}

/**
 * Finds every check with different outcomes directly and through a proxy. Checks that only inform
 * do not count.
 */
export function compareRuns(
  direct: readonly ScenarioResult[],
  through: readonly ScenarioResult[],
): readonly Difference[] {
  const scenarios = new Set([...direct, ...through].map(({ scenario }) => scenario))
  return [...scenarios].flatMap((scenario) => {
    const [before, after] = [byCheck(direct, scenario), byCheck(through, scenario)]
    return [...new Set([...before.keys(), ...after.keys()])].flatMap((check) => {
      const [one, other] = [before.get(check), after.get(check)]
      if (one?.status === other?.status) return []
      const message = other?.errorMessage
      return [
        {
          scenario,
          check,
          direct: one?.status ?? ('absent' as const),
          through: other?.status ?? ('absent' as const),
          ...(message === undefined ? {} : { message }),
        },
      ]
    })
  })
}

function byCheck(results: readonly ScenarioResult[], wanted: string): ReadonlyMap<string, Check> {
  const checks = new Map<string, Check>()
  for (const check of results
    .filter(({ scenario }) => scenario === wanted)
    .flatMap((result) => result.checks)) {
    if (check.status === 'INFO') continue
    const name = `${check.id} ${check.name}`
    let key = name
    for (let number = 2; checks.has(key); number += 1) key = `${name} ${number}`
    checks.set(key, check)
  }
  return checks
}

async function runSuite(
  suite: Suite,
  words: readonly string[],
  signal: AbortSignal | undefined,
  environment: Readonly<Record<string, string>> = {},
): Promise<readonly ScenarioResult[]> {
  const program = join(
    dirname(createRequire(import.meta.url).resolve(`conformance-${suite}/package.json`)),
    'dist/index.js',
  )
  const folder = mkdtempSync(join(tmpdir(), 'mcpgw-conformance-'))
  try {
    const output = await outputOf(
      [join(here, 'glob-shim.mjs'), program, ...words, '-o', folder],
      signal,
      environment,
    )
    const results = readdirSync(folder).flatMap((name) => {
      const scenario = /^(?:server-)?(.+)-\d{4}-\d\d-\d\dT[\d-]+Z$/.exec(name)?.[1]
      return scenario === undefined
        ? []
        : [{ scenario, checks: checksIn(join(folder, name, 'checks.json')) }]
    })
    if (results.length === 0) throw new Error(`The suite ran no scenario:\n${output.slice(-2000)}`)
    return [...results, ...withoutResult(output, results)]
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function checksIn(file: string): readonly Check[] {
  const checks = JSON.parse(readFileSync(file, 'utf8')) as readonly Check[]
  return checks.map(({ id, name, status, errorMessage }) => ({
    id,
    name,
    status,
    ...(errorMessage === undefined ? {} : { errorMessage }),
  }))
}

/** A scenario that breaks down leaves no file behind: it failed. */
function withoutResult(
  output: string,
  results: readonly ScenarioResult[],
): readonly ScenarioResult[] {
  const started = [...output.matchAll(/^=== Running scenario: (\S+) ===$/gm)].map(
    ([, scenario = '']) => scenario,
  )
  return started
    .filter((scenario) => !results.some((result) => result.scenario === scenario))
    .map((scenario) => {
      const errorMessage =
        new RegExp(`Failed to run scenario ${scenario}:.*`).exec(output)?.[0] ?? 'No result'
      return { scenario, checks: [{ id: scenario, name: 'Run', status: 'FAILURE', errorMessage }] }
    })
}

function outputOf(
  [shim = '', ...words]: readonly string[],
  signal: AbortSignal | undefined,
  environment: Readonly<Record<string, string>>,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--import', shim, ...words], {
      env: { ...process.env, ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(signal && { signal }),
    })
    let output = ''
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => (output += text))
    child.once('error', reject)
    // The exit code tells only whether some check failed.
    child.once('close', () => resolve(output))
  })
}
