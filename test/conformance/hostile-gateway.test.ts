import { GatewayProcess, quoted, stdioFixtures } from '@mcp-gateway/testkit'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { hostileTools } from '../../packages/testkit/src/conformance/hostile-behaviours.ts'

/**
 * Servers that break the rules, behind the translation. Whatever they do, a client of the other era
 * gets one well-formed answer or a clear end, and the gateway serves the next client.
 */
let gateway: GatewayProcess
const kinds = { legacy: 'unknown_method', modern: 'modern_only' } as const
type Era = keyof typeof kinds

beforeAll(async () => {
  const hostile = (era: Era): readonly string[] => stdioFixtures.hostile(kinds[era])
  const program = (era: Era): readonly string[] =>
    hostile(era).map((word) => word.replace('hostile-stdio-server', 'hostile-http-server'))
  const images = {
    'hostile-legacy': { command: program('legacy') },
    'hostile-modern': { command: program('modern') },
  }
  gateway = await GatewayProcess.start({ config: { runtime: { images } } })
  for (const era of ['legacy', 'modern'] as const) {
    const [command = '', ...words] = hostile(era)
    const environmentVariables = {
      MCP_COMMAND: command,
      MCP_ARGS: quoted(words),
    }
    await gateway.api('POST', '/adapters', {
      name: `${era}-stdio`,
      imageName: 'mcp-proxy',
      imageVersion: '1',
      environmentVariables,
    })
    await gateway.api('POST', '/adapters', {
      name: `${era}-http`,
      imageName: `hostile-${era}`,
      imageVersion: '1',
    })
  }
})
afterAll(() => gateway[Symbol.asyncDispose]())

interface Told {
  readonly id?: unknown
  readonly method?: unknown
  readonly result?: unknown
  readonly error?: { readonly code: number; readonly message: string }
}

const base = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' }

/** Gives the messages until the answer is whole or broken, or no more can come. */
async function call(
  server: string,
  client: Era,
  tool: string,
  id: string,
  session: string | undefined,
  patienceMs = 3000,
): Promise<readonly Told[]> {
  const modern = {
    'io.modelcontextprotocol/protocolVersion': '2026-07-28',
    'io.modelcontextprotocol/clientCapabilities': { elicitation: {} },
  }
  const params = {
    name: tool,
    arguments: {},
    _meta: { progressToken: id, ...(client === 'modern' ? modern : {}) },
  }
  let text = ''
  try {
    const response = await fetch(`${gateway.origin}/adapters/${server}/mcp`, {
      method: 'POST',
      signal: AbortSignal.timeout(patienceMs),
      headers: {
        ...base,
        ...(client === 'modern'
          ? { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', 'mcp-name': tool }
          : {}),
        ...(session === undefined ? {} : { 'mcp-session-id': session }),
      },
      body: JSON.stringify({ jsonrpc: '2.0', id, method: 'tools/call', params }),
    })
    const decoder = new TextDecoder('utf-8', { fatal: true })
    for await (const chunk of response.body ?? [])
      text += decoder.decode(chunk as Uint8Array, { stream: true })
    if (!response.headers.get('content-type')?.startsWith('text/event-stream'))
      return [JSON.parse(text) as Told]
  } catch (error) {
    // The client gave up, or the connection broke. It knows that there is no answer.
    if (!/abort|terminated|fetch failed/i.test(String(error))) throw error
  }
  const whole = text.slice(0, text.lastIndexOf('\n\n') + 1)
  return [...whole.matchAll(/^data: (.+)$/gm)].map(([, data = '']) => JSON.parse(data) as Told)
}

async function openSession(server: string): Promise<string> {
  const response = await fetch(`${gateway.origin}/adapters/${server}/mcp`, {
    method: 'POST',
    headers: base,
    body: JSON.stringify({
      jsonrpc: '2.0',
      id: 0,
      method: 'initialize',
      params: {
        protocolVersion: '2025-11-25',
        capabilities: { elicitation: {} },
        clientInfo: { name: 't', version: '1' },
      },
    }),
  })
  expect(response.status).toBe(200)
  await response.text()
  return response.headers.get('mcp-session-id') ?? ''
}

describe.each([
  ['modern', 'legacy-http'],
  ['modern', 'legacy-stdio'],
  ['legacy', 'modern-http'],
  ['legacy', 'modern-stdio'],
] as const)('a %s client in front of %s', (client, server) => {
  test('each call gets at most one well-formed answer, and the next client is served', async () => {
    const session = client === 'legacy' ? await openSession(server) : undefined
    const work = hostileTools.map((tool, index) => async () => {
      const told = await call(server, client, tool, `${tool}-${index}`, session)
      const answers = told.filter(({ method }) => method === undefined)
      expect([tool, answers.length <= 1]).toEqual([tool, true])
      for (const { id, result, error } of answers) {
        expect([tool, id]).toEqual([tool, `${tool}-${index}`])
        expect([tool, (result === undefined) !== (error === undefined)]).toEqual([tool, true])
        if (error !== undefined)
          expect([tool, typeof error.code, typeof error.message]).toEqual([
            tool,
            'number',
            'string',
          ])
      }
    })
    for (let from = 0; from < work.length; from += 12)
      await Promise.all(work.slice(from, from + 12).map((one) => one()))
    const again = client === 'legacy' ? await openSession(server) : undefined
    const [echoed] = await call(server, client, 'echo', 'after', again, 60_000)
    expect(echoed).toMatchObject({ id: 'after', result: expect.anything() })
    expect((await gateway.api('GET', '/ping')).status).toBe(200)
  }, 120_000)
})
