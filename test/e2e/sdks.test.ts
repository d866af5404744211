import { readFileSync, writeFileSync } from 'node:fs'
import { GatewayProcess } from '@mcp-gateway/testkit'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { register, run, startDirect, steps, works, type Cell, type Place } from './sdks/cells.ts'
import { missing, sdks, type SdkClient, type SdkServer } from './sdks/languages.ts'
import { figures, heading, partOf } from './sdks/page.ts'
import { reasonFor } from './sdks/reasons.ts'

const page = new URL('../../docs/eras-matrix.md', import.meta.url)
const ready = sdks.filter((sdk) => missing(sdk) === undefined)
const servers = ready.flatMap((sdk) => sdk.servers)
const clients = ready.flatMap((sdk) => sdk.clients)

let gateway: GatewayProcess
const stops: (() => Promise<unknown>)[] = []
const cells: Cell[] = []
let targets: readonly Target[] = []
beforeAll(async () => {
  const images = servers
    .filter(({ transport }) => transport === 'HTTP')
    .map(({ name, command }): [string, object] => [name, { command }])
  // A sandbox hides the folders of the programs.
  const runtime = { images: Object.fromEntries(images), sandbox: 'none' }
  gateway = await GatewayProcess.start({ config: { runtime } })
  targets = await Promise.all(
    servers.map(async (server) => {
      const direct = await startDirect(server)
      stops.push(direct.stop)
      const through = { url: await register(gateway, server) }
      // A server on stdio cannot assign its log lines to callers, so each lane has a server of its
      // own.
      const apart =
        server.transport === 'stdio'
          ? { url: await register(gateway, server, `${server.name}-legacy`) }
          : through
      return { server, direct: direct.target, through: { modern: through, legacy: apart } }
    }),
  )

  const runAll = async (lane: readonly SdkClient[]): Promise<void> => {
    for (const client of lane) {
      const start = performance.now()
      cells.push(...(await cellsWith(client, targets)))
      console.log(`${client.title}: ${((performance.now() - start) / 1000).toFixed(1)} s`)
    }
  }
  // Modern clients count as one caller and share the servers on stdio, so they run in turn.
  await Promise.all(
    (['legacy', 'modern'] as const).map((era) =>
      runAll(clients.filter((client) => client.era === era)),
    ),
  )
}, 600_000)
afterAll(async () => {
  await gateway?.[Symbol.asyncDispose]()
  await Promise.all(stops.map((stop) => stop()))
})

/** The address of a server without the gateway, and through it. */
interface Target {
  readonly server: SdkServer
  readonly direct: Place
  readonly through: Readonly<Record<SdkClient['era'], Place>>
}

async function cellsWith(client: SdkClient, those: readonly Target[]): Promise<Cell[]> {
  const seen = await run(
    client,
    those.flatMap(({ direct, through }) => [direct, through[client.era]]),
  )
  return those.map(({ server }, index) => ({
    client,
    server,
    direct: seen[2 * index] ?? new Map(),
    through: seen[2 * index + 1] ?? new Map(),
  }))
}

const pairs = servers.flatMap((server) => clients.map((client) => ({ server, client })))

async function cellOf({ server, client }: (typeof pairs)[number], again: boolean): Promise<Cell> {
  const index = cells.findIndex((cell) => cell.server === server && cell.client === client)
  if (again) {
    const only = targets.filter((target) => target.server === server)
    cells.splice(index, 1, ...(await cellsWith(client, only)))
  }
  const cell = cells[index]
  if (cell === undefined) throw new Error('The client did not run.')
  return cell
}

/** Some clients race with their servers, so the direct figure may vary by a step. */
function withoutDirect(text: string): string {
  return text.replaceAll(/\d+( →| work without| work only\s+through)/g, '$1')
}

describe('an official SDK', () => {
  // The report shows a missing SDK as a skipped test.
  test.for(sdks)('the SDK exists for the tests: $title', (sdk, { skip }) => {
    const reason = missing(sdk)
    skip(reason !== undefined, reason)
    expect(reason).toBeUndefined()
  })
})

describe('through the gateway', () => {
  test.for(pairs)(
    'the client of $client.title does all with $server.title that it does directly, or more',
    async (pair, { task }) => {
      const cell = await cellOf(pair, (task.result?.retryCount ?? 0) > 0)
      const failed = steps
        .filter((step) => !works(cell.through, step))
        .map((step) => ({
          step,
          direct: cell.direct.get(step),
          through: cell.through.get(step),
          reason: reasonFor(cell, step),
        }))
      expect(failed.filter(({ step }) => works(cell.direct, step))).toEqual([])
      expect(failed.filter(({ reason }) => reason === undefined)).toEqual([])
    },
  )

  test('the page of the matrix has these results', ({ skip }) => {
    skip(ready.length < sdks.length, 'not every SDK is there')
    const reasons = new Set(
      cells.flatMap((cell) =>
        steps.flatMap((step) => (works(cell.through, step) ? [] : (reasonFor(cell, step) ?? []))),
      ),
    )
    const part = partOf(ready, cells, [...reasons])
    const [before = ''] = readFileSync(page, 'utf8').split(heading)
    if (process.env['WRITE_DOCS'] === '1') writeFileSync(page, `${before.trimEnd()}\n\n${part}`)
    const written = readFileSync(page, 'utf8').slice(before.length)
    expect(withoutDirect(written)).toBe(withoutDirect(part))
    console.log(figures(cells))
  })
})
