import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import {
  type Era,
  FixtureProcess,
  GatewayProcess,
  quoted,
  stdioFixtures,
} from '@mcp-gateway/testkit'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { toLegacyServer } from './baseline.ts'
import {
  compareRuns,
  runServerSuite,
  tally,
  type Difference,
  type ScenarioResult,
  type ServerSuite,
} from './run-suite.ts'

/**
 * The official suites through the gateway, for each era of client and server and each transport.
 * Each stands beside a run on the same fixture without a gateway. The HTTP fixtures behind the
 * gateway check neither Host nor Origin.
 */
type Transport = 'http' | 'stdio'
type Run = Pick<ServerSuite, 'suite' | 'requirements'>

const stable: Run = { suite: 'stable' }
const legacy: Run = { suite: 'next', requirements: '2025-11-25' }
const modern: Run = { suite: 'next', requirements: '2026-07-28' }

interface Cell {
  readonly client: string
  readonly server: Era
  readonly transport: Transport
  readonly run: Run
  /** The era of the fixture for the direct run of the same suite. */
  readonly direct: Era
  readonly kind: 'same era' | 'to a modern server' | 'to a legacy server'
}

const cells: readonly Cell[] = (['http', 'stdio'] as const).flatMap((transport) => [
  {
    client: '0.1.16, all',
    server: 'legacy',
    transport,
    run: stable,
    direct: 'legacy',
    kind: 'same era',
  },
  {
    client: '2025-11-25',
    server: 'legacy',
    transport,
    run: legacy,
    direct: 'legacy',
    kind: 'same era',
  },
  {
    client: '2025-11-25',
    server: 'dual',
    transport,
    run: legacy,
    direct: 'legacy',
    kind: 'same era',
  },
  {
    client: '2026-07-28',
    server: 'modern',
    transport,
    run: modern,
    direct: 'modern',
    kind: 'same era',
  },
  {
    client: '2026-07-28',
    server: 'dual',
    transport,
    run: modern,
    direct: 'modern',
    kind: 'same era',
  },
  {
    client: '0.1.16, all',
    server: 'modern',
    transport,
    run: stable,
    direct: 'legacy',
    kind: 'to a modern server',
  },
  {
    client: '2025-11-25',
    server: 'modern',
    transport,
    run: legacy,
    direct: 'legacy',
    kind: 'to a modern server',
  },
  {
    client: '2026-07-28',
    server: 'legacy',
    transport,
    run: modern,
    direct: 'modern',
    kind: 'to a legacy server',
  },
])

/**
 * Each server decides on its use of HTTP: on streams that break off and resume, and on answers as
 * streams.
 */
const ofHttpServers =
  /^server-sse-polling |^server-sse-multiple-streams server-sse-streams-functional /
/** The tasks extension: no server in reach has it, so it fails directly as well. */
const isTask = (scenario: string): boolean => scenario.startsWith('tasks-')

let gateway: GatewayProcess
const direct = new Map<string, readonly ScenarioResult[]>()
const rows: string[] = []
const keyOf = ({ suite, requirements }: Run): string => `${suite} ${requirements ?? ''}`

beforeAll(async () => {
  const eras = ['legacy', 'modern', 'dual'] as const
  const images = Object.fromEntries(
    eras.map((era) => [`fixture-${era}`, { command: httpFixture(era) }]),
  )
  gateway = await GatewayProcess.start({ config: { runtime: { images } } })
  for (const era of eras) {
    await register({ name: `${era}-http`, imageName: `fixture-${era}`, imageVersion: '1' })
    const [command = '', ...words] = stdioFixtures.conformance(era)
    // Each question that a modern client leaves open holds a child.
    const environmentVariables = {
      MCP_COMMAND: command,
      MCP_ARGS: quoted(words),
      MCP_WARM_SPARES: '3',
    }
    await register({
      name: `${era}-stdio`,
      imageName: 'mcp-proxy',
      imageVersion: '1',
      environmentVariables,
    })
  }
  const fixtures = [
    await FixtureProcess.conformance('legacy'),
    await FixtureProcess.conformance('modern'),
  ]
  const [one = '', other = ''] = fixtures.map(({ url }) => url)
  await Promise.all([
    runServerSuite({ ...stable, url: one }).then((results) => direct.set(keyOf(stable), results)),
    runServerSuite({ ...legacy, url: one }).then((results) => direct.set(keyOf(legacy), results)),
    runServerSuite({ ...modern, url: other }).then((results) => direct.set(keyOf(modern), results)),
  ])
  for (const fixture of fixtures) await fixture[Symbol.asyncDispose]()
}, 300_000)

afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  if (process.env['WRITE_DOCS'] === '1')
    writeFileSync(fileURLToPath(new URL('../../docs/conformance.md', import.meta.url)), page())
})

function httpFixture(era: Era): readonly string[] {
  const [node = '', program = ''] = stdioFixtures.conformance(era)
  return [node, program, '--era', era, '--transport', 'http', '--unguarded']
}

async function register(adapter: object): Promise<void> {
  const { status, body } = await gateway.api('POST', '/adapters', adapter)
  expect(body).toMatchObject(adapter)
  expect(status).toBe(201)
}

describe.concurrent.each(cells)('a client of $client, a $server server over $transport', (cell) => {
  test('the cell’s results equal those of a direct run, except for documented ones', async () => {
    const { run, server, transport, kind } = cell
    const before = direct.get(keyOf(run)) ?? []
    const through = await runServerSuite({
      ...run,
      url: `${gateway.origin}/adapters/${server}-${transport}/mcp`,
    })
    const differences = compareRuns(before, through).filter((difference) =>
      counts(cell, difference),
    )
    note(cell, before, through, differences)
    if (kind !== 'to a legacy server') return expect(differences).toEqual([])
    // The suite skips the steps after a failed one.
    const known = new Set(toLegacyServer.map(({ scenario }) => scenario))
    const told = differences.filter(
      ({ scenario, through: status }) => status !== 'absent' || !known.has(scenario),
    )
    expect(named(told)).toEqual(named(toLegacyServer))
    expect(failing(through)).toHaveLength(3)
  })
})

function counts({ kind, transport }: Cell, { scenario, check }: Difference): boolean {
  if (isTask(scenario)) return false
  return (
    (transport === 'http' && kind === 'same era') || !ofHttpServers.test(`${scenario} ${check} `)
  )
}

function named(checks: readonly { readonly scenario: string; readonly check: string }[]): string[] {
  return checks.map(({ scenario, check }) => `${scenario} ${check.split(' ')[0]}`).toSorted()
}

function failing(results: readonly ScenarioResult[]): readonly string[] {
  return tally(results).failing.filter((scenario) => !isTask(scenario))
}

function note(
  { client, server, transport }: Cell,
  before: readonly ScenarioResult[],
  through: readonly ScenarioResult[],
  differences: readonly Difference[],
): void {
  const figures = (results: readonly ScenarioResult[]): string => {
    const { passed, failed } = tally(results.filter(({ scenario }) => !isTask(scenario)))
    return `${passed} / ${failed}`
  }
  const said =
    differences.length === 0
      ? 'none'
      : [...new Set(differences.map(({ scenario }) => scenario))].toSorted().join(', ')
  rows.push(
    `| ${client} | ${server} | ${transport} | ${figures(before)} | ${figures(through)} | ${said} |`,
  )
}

function page(): string {
  const reasons = toLegacyServer.map(
    ({ scenario, check, reason }) => `| ${scenario} | ${check} | ${reason} |`,
  )
  return `# Conformance

\`WRITE_DOCS=1 npm run test:conformance\` writes this page; CI runs it. The official suites are
those of \`@modelcontextprotocol/conformance\` 0.1.16 (all of it) and 0.2.0-alpha.12 (the
requirements of each version, and its unscored scenarios). Each suite runs on a fixture once
directly and once through the gateway, and this page compares the two runs check by check.
Figures are checks passed / failed. They leave out the tasks extension, because no available
server has it.

| client | server | over | directly | through the gateway | scenarios that differ |
|---|---|---|---|---|---|
${rows.toSorted().join('\n')}

Other tests of the same run show more. \`replicas.test.ts\` repeats every cell through two gateway
processes that take turns for each request, and no other scenario fails. \`clients.test.ts\` runs
the client suites, except for authorization, with the gateway in between, and each gives the
same result as the client alone. \`dns-rebinding-protection\` runs in front of HTTP servers that
check nothing, which are those of the table. \`hostile-gateway.test.ts\` runs servers that break
the rules in fifty ways.

## What a modern client cannot have of a legacy server

| scenario | check | why |
|---|---|---|
${reasons.join('\n')}

A server decides by itself how it uses HTTP. So two scenarios are compared only for HTTP servers
of the client's own era: \`server-sse-polling\` (streams that break off and are resumed), and
whether the answers of \`server-sse-multiple-streams\` are streams at all. The bridge and the
translation have no reason to break streams off, and answer with JSON where nothing comes before
the answer.
`
}
