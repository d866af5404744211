import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { FixtureProcess, GatewayProcess, stdioFixtures, type Era } from '@mcp-gateway/testkit'
import {
  listedPrompts,
  listedResources,
  listedTools,
  resourceTemplates,
} from '../../packages/testkit/src/conformance/catalogue.ts'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { aggregatesHeading, aggregatesPart, type AggregateRow } from './aggregates-page.ts'
import { toLegacyServer, toLegacyStdioMember } from './baseline.ts'
import { PlainNames } from './plain-names.ts'
import {
  compareRuns,
  runServerSuite,
  tally,
  type Difference,
  type ScenarioResult,
  type ServerSuite,
} from './run-suite.ts'

/**
 * The official suites through virtual servers, beside a direct run. Some have one member. Others
 * have five, which share the items of the fixture in five ways, so that every item comes through
 * every member.
 */
type Run = Pick<ServerSuite, 'suite' | 'requirements'>

const clients = {
  '0.1.16, all': { suite: 'stable' },
  '2025-11-25': { suite: 'next', requirements: '2025-11-25' },
  '2026-07-28': { suite: 'next', requirements: '2026-07-28' },
} as const satisfies Record<string, Run>
type Client = keyof typeof clients
const clientNames = Object.keys(clients) as Client[]

const members = ['legacy-http', 'modern-http', 'legacy-stdio', 'modern-stdio', 'dual-http'] as const
type MemberName = (typeof members)[number]
const aliases = ['a', 'b', 'c', 'd', 'e'] as const

/** Items that belong to one member: a change of a list, and the list that changes. */
const together: ReadonlySet<string> = new Set([
  'test_trigger_tool_change',
  'test_trigger_prompt_change',
  'test_trigger_resource_change',
  'test_trigger_resource_update',
  'test_wait',
  'test_cancelled_calls',
])

/** The number of a turn, and for each member the items that it serves in that turn. */
function shareOf(
  turn: number,
  member: number,
): Record<'tools' | 'prompts' | 'resources', string[]> {
  const mine = (name: string, index: number): boolean =>
    (together.has(name) ? turn : turn + index) % members.length === member
  const kept = (names: readonly string[]): string[] => [...names.filter(mine), 'nothing-else']
  return {
    tools: kept(listedTools().map(({ name }) => name)),
    prompts: kept(listedPrompts().map(({ name }) => name)),
    resources: kept([
      ...listedResources().map(({ uri }) => uri),
      ...resourceTemplates.map(({ uriTemplate }) => uriTemplate),
    ]),
  }
}

const turns = [0, 1, 2, 3, 4] as const
const questions = { elicitation: true, urlHosts: ['*'], sampling: true, roots: true }

/** Each server decides on its use of HTTP. A virtual server has no reason to break streams off. */
const ofHttpServers =
  /^server-sse-polling |^server-sse-multiple-streams server-sse-streams-functional /
const isTask = (scenario: string): boolean => scenario.startsWith('tasks-')

let gateway: GatewayProcess
let front: PlainNames
const direct = new Map<Client, readonly ScenarioResult[]>()
/** The last result of each pair, since a failed test runs again. */
const rows = new Map<string, AggregateRow>()

beforeAll(async () => {
  const eras = ['legacy', 'modern', 'dual'] as const
  const images = Object.fromEntries(
    eras.map((era) => [`fixture-${era}`, { command: httpFixture(era) }]),
  )
  gateway = await GatewayProcess.start({ config: { runtime: { images } } })
  front = await PlainNames.start(gateway.origin)
  for (const member of members) await make('/adapters', adapterOf(member))
  for (const member of members)
    await make('/servers', {
      name: `one-${member}`,
      members: [{ adapter: member, alias: 'a', questions }],
    })
  for (const turn of turns)
    await make('/servers', {
      name: `mixed-${turn}`,
      members: members.map((adapter, index) => ({
        adapter,
        alias: aliases[index],
        include: shareOf(turn, index),
        questions,
      })),
    })

  for (const client of clientNames) {
    await using fixture = await FixtureProcess.conformance(
      client === '2026-07-28' ? 'modern' : 'legacy',
    )
    direct.set(client, await runServerSuite({ ...clients[client], url: fixture.url }))
  }
}, 300_000)

afterAll(async () => {
  await front[Symbol.asyncDispose]()
  await gateway[Symbol.asyncDispose]()
  if (process.env['WRITE_DOCS'] !== '1') return
  const page = fileURLToPath(new URL('../../docs/conformance.md', import.meta.url))
  const [before = ''] = readFileSync(page, 'utf8').split(aggregatesHeading)
  writeFileSync(page, `${before.trimEnd()}\n\n${aggregatesPart([...rows.values()])}`)
})

function httpFixture(era: Era): readonly string[] {
  const [node = '', program = ''] = stdioFixtures.conformance(era)
  return [node, program, '--era', era, '--transport', 'http', '--unguarded', '--changing']
}

function adapterOf(name: MemberName): object {
  const [era, transport] = name.split('-') as [Era, string]
  if (transport === 'http') return { name, imageName: `fixture-${era}`, imageVersion: '1' }
  const [command, ...words] = [...stdioFixtures.conformance(era), '--changing']
  return {
    name,
    imageName: 'mcp-proxy',
    imageVersion: '1',
    environmentVariables: {
      MCP_COMMAND: command,
      MCP_ARGS: words.map((word) => `'${word}'`).join(' '),
      // Each question that a modern client leaves open holds a child.
      MCP_WARM_SPARES: '3',
    },
  }
}

async function make(path: string, body: object): Promise<void> {
  const { status, body: made } = await gateway.api('POST', path, body)
  expect(made).toMatchObject(body)
  expect(status).toBe(201)
}

/** The differences between the direct run and one through a virtual server. */
async function differences(client: Client, server: string): Promise<readonly Difference[]> {
  const before = direct.get(client) ?? []
  const through = await runServerSuite({
    ...clients[client],
    url: `${front.origin}/servers/${server}/mcp`,
  })
  const found = compareRuns(before, through).filter(
    ({ scenario, check }) => !isTask(scenario) && !ofHttpServers.test(`${scenario} ${check} `),
  )
  const counted = (results: readonly ScenarioResult[]) =>
    tally(results.filter(({ scenario }) => !isTask(scenario)))
  rows.set(`${client} ${server}`, {
    client,
    server,
    direct: counted(before),
    through: counted(through),
    found,
  })
  return found
}

/** The checks of the baselines, by the members that serve their tools, for a modern client. */
function expected(client: Client, ownerOf: (tool: string) => string): string[] {
  if (client !== '2026-07-28') return []
  return [
    ...toLegacyServer.filter(({ tool }) => ownerOf(tool).startsWith('legacy')),
    ...toLegacyStdioMember.filter(({ tool }) => ownerOf(tool) === 'legacy-stdio'),
  ]
    .map(({ scenario, check }) => `${scenario} ${check}`)
    .toSorted()
}

/** The suite skips the steps after a failed one. */
function told(found: readonly Difference[]): string[] {
  const known = new Set(toLegacyServer.map(({ scenario }) => scenario))
  return found
    .filter(({ scenario, through }) => through !== 'absent' || !known.has(scenario))
    .map(({ scenario, check }) => `${scenario} ${check.split(' ')[0]}`)
    .toSorted()
}

async function holdsWith(client: Client, server: string, ownerOf: (tool: string) => string) {
  expect(told(await differences(client, server))).toEqual(expected(client, ownerOf))
}

// Suites of 2026-07-28 change the lists of members, which are read with pauses. So they take turns.
for (const client of clientNames)
  describe(
    `a client of ${client}`,
    { concurrent: client !== '2026-07-28', timeout: 240_000 },
    () => {
      test.each(members)('a virtual server with the one member %s is like the member', (name) =>
        holdsWith(client, `one-${name}`, () => name),
      )

      test.each(turns)('five members that share the items in way %i are like one', (turn) => {
        const owner = (tool: string): string =>
          members.find((_, index) => shareOf(turn, index).tools.includes(tool)) ?? ''
        return holdsWith(client, `mixed-${turn}`, owner)
      })
    },
  )
