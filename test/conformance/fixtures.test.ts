import { FixtureProcess, type Era } from '@mcp-gateway/testkit'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { compareRuns, runServerSuite, tally, type ScenarioResult } from './run-suite.ts'

/**
 * Each fixture has to pass by itself. Otherwise the other conformance tests would show nothing
 * about the gateway.
 */
const fixtures = new Map<Era, FixtureProcess>()
beforeAll(async () => {
  for (const era of ['legacy', 'modern', 'dual'] as const)
    fixtures.set(era, await FixtureProcess.conformance(era))
})
afterAll(async () => {
  for (const fixture of fixtures.values()) await fixture[Symbol.asyncDispose]()
})
const urlOf = (era: Era): string => fixtures.get(era)?.url ?? ''

const legacyScenarios = 30
const modernScenarios = 37

/** Scenarios of an extension that no server in reach has. */
const isTask = (scenario: string): boolean => scenario.startsWith('tasks-')
const withoutTasks = (results: readonly ScenarioResult[]): readonly ScenarioResult[] =>
  results.filter(({ scenario }) => !isTask(scenario))

describe.concurrent('a fixture without a gateway', () => {
  test.each(['legacy', 'dual'] as const)('%s passes the stable suite', async (era) => {
    const results = await runServerSuite({ suite: 'stable', url: urlOf(era) })
    expect(tally(results)).toEqual({ passed: 44, failed: 0, failing: [] })
  })

  test.each(['legacy', 'dual'] as const)('%s passes what 2025-11-25 requires', async (era) => {
    const results = await runServerSuite({
      suite: 'next',
      url: urlOf(era),
      requirements: '2025-11-25',
    })
    expect(tally(results)).toEqual({ passed: 84, failed: 0, failing: [] })
    expect(results.length).toBe(legacyScenarios + 3)
  })

  test.each(['modern', 'dual'] as const)('%s passes what 2026-07-28 requires', async (era) => {
    const results = await runServerSuite({
      suite: 'next',
      url: urlOf(era),
      requirements: '2026-07-28',
    })
    expect(tally(withoutTasks(results))).toMatchObject({ failed: 0, failing: [] })
    expect(withoutTasks(results).length).toBe(modernScenarios + 3)
    const all = tally(results)
    expect({ passed: all.passed, failed: all.failed }).toEqual({ passed: 164, failed: 30 })
    expect(all.failing.filter((scenario) => !isTask(scenario))).toEqual([])
  })

  test('legacy closes a stream early and gives the rest to a client that returns', async () => {
    const results = await runServerSuite({
      suite: 'next',
      url: urlOf('legacy'),
      scenario: 'server-sse-polling',
      specVersion: '2025-11-25',
    })
    const named = Object.fromEntries(
      results.flatMap(({ checks }) => checks.map(({ id, status }) => [id, status])),
    )
    expect(named).toMatchObject({
      'server-sse-priming-event': 'SUCCESS',
      'server-sse-retry-field': 'SUCCESS',
      'server-sse-disconnect-resume': 'SUCCESS',
    })
  })

  test.each([
    ['legacy', '2026-07-28', ['tools-call-simple-text', 'server-stateless']],
    ['modern', '2025-11-25', ['tools-call-simple-text', 'server-initialize']],
  ] as const)('%s answers no client of the other era', async (era, specVersion, scenarios) => {
    for (const scenario of scenarios) {
      const results = await runServerSuite({
        suite: 'next',
        url: urlOf(era),
        scenario,
        specVersion,
      })
      expect(tally(results).failing).toEqual([scenario])
    }
  })

  test('an unguarded fixture fails only where Host and Origin are to be checked', async ({
    onTestFinished,
  }) => {
    const open = await FixtureProcess.conformance('legacy', { unguarded: true })
    onTestFinished(() => open[Symbol.asyncDispose]())
    const scenario = 'dns-rebinding-protection'
    const guarded = await runServerSuite({
      suite: 'next',
      url: urlOf('legacy'),
      scenario,
      specVersion: '2025-11-25',
    })
    const unguarded = await runServerSuite({
      suite: 'next',
      url: open.url,
      scenario,
      specVersion: '2025-11-25',
    })
    expect(compareRuns(guarded, unguarded)).toEqual([
      expect.objectContaining({
        scenario,
        direct: 'SUCCESS',
        through: 'FAILURE',
        message: 'Expected HTTP 4xx for invalid Host/Origin headers, got 200',
      }),
    ])
  })

  test('two runs of the same fixture do not differ', async () => {
    const run = () =>
      runServerSuite({ suite: 'next', url: urlOf('dual'), requirements: '2026-07-28' })
    expect(compareRuns(await run(), await run())).toEqual([])
  })
})

describe('the comparison of two runs', () => {
  const run = (...statuses: ('SUCCESS' | 'FAILURE' | 'INFO')[]): readonly ScenarioResult[] => [
    { scenario: 'one', checks: statuses.map((status) => ({ id: 'a', name: 'A', status })) },
  ]

  test('the comparison names each changed check, also when several have one id', () => {
    expect(compareRuns(run('SUCCESS', 'SUCCESS'), run('SUCCESS', 'FAILURE'))).toEqual([
      { scenario: 'one', check: 'a A 2', direct: 'SUCCESS', through: 'FAILURE' },
    ])
  })

  test('the comparison names checks and scenarios that are missing or new', () => {
    expect(compareRuns(run('SUCCESS'), [])).toEqual([
      { scenario: 'one', check: 'a A', direct: 'SUCCESS', through: 'absent' },
    ])
    expect(compareRuns(run(), run('FAILURE'))).toEqual([
      { scenario: 'one', check: 'a A', direct: 'absent', through: 'FAILURE' },
    ])
  })

  test('the comparison leaves out purely informative checks', () => {
    expect(compareRuns(run('INFO', 'SUCCESS'), run('SUCCESS', 'INFO'))).toEqual([])
  })
})

test('a missing server fails the scenario', async () => {
  const results = await runServerSuite({
    suite: 'next',
    url: 'http://127.0.0.1:9/mcp',
    scenario: 'ping',
    specVersion: '2025-11-25',
  })
  expect(tally(results).failing).toEqual(['ping'])
})
