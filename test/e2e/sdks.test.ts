import { readFileSync, writeFileSync } from 'node:fs'
import { GatewayProcess } from '@mcp-gateway/testkit'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { register, run, startDirect, steps, works, type Cell } from './sdks/cells.ts'
import { missing, sdks, type SdkClient } from './sdks/languages.ts'
import { figures, heading, partOf } from './sdks/page.ts'
import { reasonFor } from './sdks/reasons.ts'

const page = new URL('../../docs/eras-matrix.md', import.meta.url)
const ready = sdks.filter((sdk) => missing(sdk) === undefined)
const servers = ready.flatMap((sdk) => sdk.servers)
const clients = ready.flatMap((sdk) => sdk.clients)

let gateway: GatewayProcess
const stops: (() => Promise<unknown>)[] = []
const cells: Cell[] = []
beforeAll(async () => {
  const images = servers
    .filter(({ transport }) => transport === 'HTTP')
    .map(({ name, command }): [string, object] => [name, { command }])
  // The programs stand in folders that a sandbox hides.
  const runtime = { images: Object.fromEntries(images), sandbox: 'none' }
  gateway = await GatewayProcess.start({ config: { runtime } })
  const targets = await Promise.all(
    servers.map(async (server) => {
      const direct = await startDirect(server)
      stops.push(direct.stop)
      return { server, direct: direct.target, url: await register(gateway, server) }
    }),
  )

  const runAll = async (lane: readonly SdkClient[]): Promise<void> => {
    for (const client of lane) {
      const all = targets.flatMap(({ direct, url }) => [direct, { url }])
      const start = performance.now()
      const seen = await run(client, all)
      console.log(`${client.title}: ${((performance.now() - start) / 1000).toFixed(1)} s`)
      for (const [index, { server }] of targets.entries())
        cells.push({
          client,
          server,
          direct: seen[2 * index] ?? new Map(),
          through: seen[2 * index + 1] ?? new Map(),
        })
    }
  }
  // Modern clients are one caller and share what is on stdio, so they run one after the other.
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

const pairs = servers.flatMap((server) => clients.map((client) => ({ server, client })))
const cellOf = (pair: (typeof pairs)[number]): Cell | undefined =>
  cells.find(({ server, client }) => server === pair.server && client === pair.client)

describe('an official SDK', () => {
  // What is missing is seen in the report, as a test that was skipped.
  test.for(sdks)('is there to be tested: $title', (sdk, { skip }) => {
    const reason = missing(sdk)
    skip(reason !== undefined, reason)
    expect(reason).toBeUndefined()
  })
})

describe('through the gateway', () => {
  test.each(pairs)(
    'the client of $client.title does with the server of $server.title all that it does without, and all that can be repaired',
    (pair) => {
      const cell = cellOf(pair)
      const failed = steps.flatMap((step) =>
        cell !== undefined && works(cell.through, step)
          ? []
          : [
              {
                step,
                direct: cell?.direct.get(step),
                through: cell?.through.get(step),
                reason: cell && reasonFor(cell, step),
              },
            ],
      )
      const worse = failed.filter(({ step }) => cell && works(cell.direct, step))
      expect(worse).toEqual([])
      expect(failed.filter(({ reason }) => reason === undefined)).toEqual([])
    },
  )

  test('the page about it says so', ({ skip }) => {
    skip(ready.length < sdks.length, 'not every SDK is there')
    const reasons = new Set(
      cells.flatMap((cell) =>
        steps.flatMap((step) => (works(cell.through, step) ? [] : (reasonFor(cell, step) ?? []))),
      ),
    )
    const part = partOf(ready, cells, [...reasons])
    const [before = ''] = readFileSync(page, 'utf8').split(heading)
    if (process.env['WRITE_DOCS'] === '1') writeFileSync(page, `${before.trimEnd()}\n\n${part}`)
    expect(readFileSync(page, 'utf8').slice(before.length)).toBe(part)
    console.log(figures(cells))
  })
})
