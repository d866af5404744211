import { spawn, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  type Era,
  FixtureProcess,
  freePort,
  programs,
  quoted,
  RoundRobin,
  stdioFixtures,
} from '@mcp-gateway/testkit'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openStore } from '../../packages/gateway/src/store/open.ts'
import { sampleResource } from '../../packages/gateway/test/contracts/samples.ts'
import { toLegacyServer } from './baseline.ts'
import type { PlaneOptions } from './plane.ts'
import { runServerSuite, tally, type ServerSuite } from './run-suite.ts'

/**
 * Two gateway processes with only the same key, store and servers, behind a plain round-robin: each
 * request of a client reaches the other process than the request before.
 */
const folder = mkdtempSync(join(tmpdir(), 'mcpgw-replicas-'))
const planes: { readonly child: ChildProcess; readonly address: string }[] = []
const fixtures: FixtureProcess[] = []
const bridges: ChildProcess[] = []
let front: RoundRobin

/** A bridge in front of the fixture on stdio. Resolves with its origin. */
async function bridge(era: Era): Promise<string> {
  const [command = '', ...words] = stdioFixtures.conformance(era)
  const environment = {
    MCP_COMMAND: command,
    MCP_ARGS: quoted(words),
    MCPGW_REPLICA_NAME: `${era}-stdio-0`,
    PORT: '0',
  }
  const child = spawn(process.execPath, [programs.bridge], {
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  bridges.push(child)
  const [text] = (await once(child.stdout.setEncoding('utf8'), 'data')) as [string]
  return new URL(/http\S+/.exec(text)?.[0] ?? '').origin
}

beforeAll(async () => {
  const store = await openStore({ dataDir: folder })
  const servers: PlaneOptions['servers'][number][] = []
  for (const era of ['legacy', 'modern', 'dual'] as const) {
    const fixture = await FixtureProcess.conformance(era, { unguarded: true })
    fixtures.push(fixture)
    const origins = { [era]: new URL(fixture.url).origin, [`${era}-stdio`]: await bridge(era) }
    for (const [name, address] of Object.entries(origins)) {
      const resource = sampleResource(name, { owner: { id: 'dev', issuer: 'development' } })
      await store.create(resource)
      servers.push({ name, uid: resource.uid, origin: address })
    }
  }
  await store[Symbol.asyncDispose]()
  const ports = { one: await freePort(), two: await freePort() }
  const peers = { one: `http://127.0.0.1:${ports.one}`, two: `http://127.0.0.1:${ports.two}` }
  const key = randomBytes(32).toString('base64')
  for (const name of ['one', 'two'] as const) {
    const options: PlaneOptions = { name, port: ports[name], peers, dataDir: folder, key, servers }
    const program = fileURLToPath(new URL('plane.ts', import.meta.url))
    const child = spawn(
      process.execPath,
      ['--import', 'tsx', '--conditions=mcpgw-source', program, JSON.stringify(options)],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    )
    planes.push({ child, address: peers[name] })
    await once(child.stdout, 'data')
  }
  front = await RoundRobin.start([ports.one, ports.two])
})

afterAll(async () => {
  await front[Symbol.asyncDispose]()
  for (const { child } of planes) child.kill('SIGKILL')
  for (const child of bridges) child.kill('SIGTERM')
  for (const fixture of fixtures) await fixture[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
})

const run = (
  server: string,
  options: Pick<ServerSuite, 'suite' | 'requirements'>,
): ReturnType<typeof runServerSuite> =>
  runServerSuite({ ...options, url: `${front.origin}/adapters/${server}/mcp` })

/** The edge checks Host and Origin. No server has tasks. */
const failing = (results: Awaited<ReturnType<typeof run>>): readonly string[] =>
  tally(results).failing.filter(
    (scenario) => !scenario.startsWith('tasks-') && scenario !== 'dns-rebinding-protection',
  )

describe('two gateways behind a round-robin are like one', () => {
  test.each(['legacy', 'dual', 'modern', 'legacy-stdio', 'dual-stdio', 'modern-stdio'])(
    'a legacy client of a %s server sees one gateway',
    async (server) => {
      expect(failing(await run(server, { suite: 'next', requirements: '2025-11-25' }))).toEqual([])
      expect(failing(await run(server, { suite: 'stable' }))).toEqual([])
    },
  )

  test.each(['modern', 'dual', 'legacy', 'modern-stdio', 'dual-stdio', 'legacy-stdio'])(
    'a modern client of a %s server sees one gateway',
    async (server) => {
      const known = server.startsWith('legacy')
        ? [...new Set(toLegacyServer.map(({ scenario }) => scenario))]
        : []
      const results = await run(server, { suite: 'next', requirements: '2026-07-28' })
      expect(failing(results).filter((scenario) => !known.includes(scenario))).toEqual([])
    },
  )

  test('the gateways hand to each other what the other one holds', async () => {
    for (const { address } of planes)
      expect(Number(await (await fetch(`${address}/handed`)).text())).toBeGreaterThan(10)
  })
})

describe('what only looks handed over', () => {
  test.each(['x', `${Date.now()}.e30.x.y`])(
    'a request that the header %s makes look handed over is refused',
    async (header) => {
      const answer = await fetch(`${front.origin}/adapters/dual/mcp`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'x-mcpgw-hop': header },
        body: '{"jsonrpc":"2.0","id":1,"method":"ping"}',
      })
      expect(answer.status).toBe(401)
    },
  )
})

describe('what an owner held that died', () => {
  const post = (
    address: string,
    body: object,
    headers: Record<string, string> = {},
  ): Promise<Response> =>
    fetch(address, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
        ...headers,
      },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, ...body }),
    })
  const modernCall = (params: object): [object, Record<string, string>] => [
    {
      method: 'tools/call',
      params: {
        name: 'test_input_required_result_elicitation',
        arguments: {},
        ...params,
        _meta: {
          'io.modelcontextprotocol/protocolVersion': '2026-07-28',
          'io.modelcontextprotocol/clientCapabilities': { elicitation: {} },
        },
      },
    },
    {
      'mcp-protocol-version': '2026-07-28',
      'mcp-method': 'tools/call',
      'mcp-name': 'test_input_required_result_elicitation',
    },
  ]

  test('a dead owner’s session or call can be started again, and never hangs', async () => {
    const [one, two] = planes.map(({ address }) => address)
    const initialize = {
      method: 'initialize',
      params: {
        protocolVersion: '2025-11-25',
        capabilities: {},
        clientInfo: { name: 't', version: '1' },
      },
    }
    const opened = await post(`${two}/adapters/modern/mcp`, initialize)
    const session = { 'mcp-session-id': opened.headers.get('mcp-session-id') ?? '' }
    expect((await post(`${one}/adapters/modern/mcp`, { method: 'ping' }, session)).status).toBe(200)

    const parked = (await (await post(`${two}/adapters/legacy/mcp`, ...modernCall({}))).json()) as {
      result: { requestState: string; inputRequests: Record<string, unknown> }
    }
    const { requestState, inputRequests } = parked.result
    const [, owner] = planes.map(({ child }) => child)
    owner?.kill('SIGKILL')
    if (owner?.signalCode === null) await once(owner, 'exit')
    const lost = await post(`${one}/adapters/modern/mcp`, { method: 'ping' }, session)
    expect(lost.status).toBe(404)

    const inputResponses = Object.fromEntries(
      Object.keys(inputRequests).map((key) => [key, { action: 'accept', content: { name: 'x' } }]),
    )
    const [body, headers] = modernCall({ requestState, inputResponses })
    const retried = (await (await post(`${one}/adapters/legacy/mcp`, body, headers)).json()) as {
      error: { code: number; message: string }
    }
    const [other] = modernCall({ requestState: 'never-was', inputResponses })
    const unknown = (await (await post(`${one}/adapters/legacy/mcp`, other, headers)).json()) as {
      error: { code: number }
    }
    expect(retried.error).toEqual(unknown.error)
    expect(retried.error.code).toBe(-32602)
  })
})
