import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { GatewayProcess } from '@mcp-gateway/testkit'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { clients } from './clients.ts'
import { cellsOf, register, type Cell } from './matrix.ts'
import { serversIn } from './servers.ts'
import { expectationOf, pageOf } from './table.ts'
import { heading } from '../sdks/page.ts'

const folder = mkdtempSync(join(tmpdir(), 'mcpgw-eras-'))
mkdirSync(join(folder, 'files'))
writeFileSync(join(folder, 'files', 'hello.txt'), 'hello from a file')
const servers = serversIn(folder)
const page = new URL('../../../docs/eras-matrix.md', import.meta.url)

let gateway: GatewayProcess
let cells: readonly Cell[]
beforeAll(async () => {
  const images = servers
    .filter(({ transport }) => transport === 'HTTP')
    .map(({ name, command, environment }): [string, object] => [name, { command, environment }])
  gateway = await GatewayProcess.start({
    config: { runtime: { images: Object.fromEntries(images) } },
  })
  const perServer = servers.map(async (server) => {
    await register(gateway, server)
    return cellsOf(gateway, server, folder)
  })
  cells = (await Promise.all(perServer)).flat()
}, 600_000)
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
})

const pairs = servers.flatMap((server) => clients.map((client) => ({ server, client })))

describe('through the gateway', () => {
  test.each(pairs)(
    '$client.title sees the same of $server.title as without the gateway, as documented',
    ({ server, client }) => {
      const own = cells.filter((cell) => cell.server === server && cell.client === client)
      expect(own.length).toBeGreaterThan(0)
      expect(Object.fromEntries(own.map((cell) => [cell.behaviour, cell.outcome]))).toEqual(
        Object.fromEntries(own.map((cell) => [cell.behaviour, expectationOf(cell).outcome])),
      )
      for (const { behaviour, direct } of own) expect(direct, behaviour).toHaveProperty('seen')
    },
  )

  test('clients that take what they find get modern servers without translation', () => {
    for (const { server, client, translated } of cells)
      if (client.name === 'v2-auto')
        expect(translated, `${client.title} with ${server.title}`).toBe(server.era === 'legacy')
  })

  test('the page of the matrix has these results', () => {
    const written = pageOf(servers, cells)
    expect(written).not.toContain('| NO ')
    const [, others = ''] = readFileSync(page, 'utf8').split(heading)
    if (process.env['WRITE_DOCS'] === '1')
      writeFileSync(page, others === '' ? written : `${written}\n${heading}${others}`)
    expect(readFileSync(page, 'utf8').split(heading)[0]?.trim()).toBe(written.trim())
  })
})

describe('a gateway that is told to stop', () => {
  test('a stopping gateway does not wait for connections on which nothing was sent', async () => {
    const stopped = await GatewayProcess.start()
    const silent = connect(Number(new URL(stopped.origin).port), '127.0.0.1').on(
      'error',
      () => undefined,
    )
    try {
      await new Promise((resolve) => silent.once('connect', resolve))
      const ended = stopped.end('SIGTERM')
      expect(
        await Promise.race([
          ended,
          new Promise((resolve) => setTimeout(resolve, 15_000, 'still there')),
        ]),
      ).toBe(0)
    } finally {
      silent.destroy()
      await stopped[Symbol.asyncDispose]()
    }
  })
})
