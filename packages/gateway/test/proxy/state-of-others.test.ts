import { IdentityProvider, quoted, stdioFixtures } from '@mcp-gateway/testkit'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestGateway, type Exchange } from '../fixtures/gateway.ts'
import { messagesOf, modernRequest } from '../fixtures/mcp-requests.ts'

/**
 * The state that the gateway and its bridges keep for one caller. Other callers with good
 * credentials try to reach it.
 */

const audience = 'mcp-gateway'
const accounts = { alice: { roles: ['mcp.engineer', 'user'] }, bob: { roles: ['user'] } }
let provider: IdentityProvider
let second: IdentityProvider
let gateway: TestGateway
let bobsKey = ''

type Headers = Readonly<Record<string, string>>
const bearer = (token: string): Headers => ({ authorization: `Bearer ${token}` })
const alice = async (): Promise<Headers> => bearer(await provider.token('alice'))
const others: readonly (readonly [string, () => Promise<Headers>])[] = [
  ['another caller', async () => bearer(await provider.token('bob'))],
  ['somebody of the same name at another issuer', async () => bearer(await second.token('alice'))],
  ['an API key of another caller', async () => ({ 'x-api-key': bobsKey })],
]

const json = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' }

beforeAll(async () => {
  provider = await IdentityProvider.start({ shape: 'keycloak', audience, accounts })
  second = await IdentityProvider.start({ shape: 'keycloak', audience, accounts })
  const images = Object.fromEntries(
    (['legacy', 'dual'] as const).map((era) => {
      const [node = '', program = ''] = stdioFixtures.conformance(era)
      return [`fixture-${era}`, { command: [node, program, '--era', era, '--transport', 'http'] }]
    }),
  )
  const issuers = [provider, second].map(({ issuer }) => ({
    preset: 'keycloak',
    issuer,
    audiences: [audience],
  }))
  gateway = await TestGateway.open({ runtime: { images }, identity: { mode: 'oidc', issuers } })
  gateway.credentials = await alice()
  const headers = { ...bearer(await provider.token('bob')), ...json }
  const made = await gateway.send('/api-keys', {
    headers,
    body: '{"name":"robot","roles":["user"]}',
  })
  bobsKey = (JSON.parse(made.body.toString()) as { key: string }).key
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await second[Symbol.asyncDispose]()
  await provider[Symbol.asyncDispose]()
})

type Transport = 'http' | 'stdio'

/** Registers a fixture of one era, directly or behind a bridge, that all callers may use. */
async function register(
  era: 'legacy' | 'dual',
  transport: Transport,
  more: object,
): Promise<string> {
  const [command = '', ...words] = stdioFixtures.conformance(era)
  const program =
    transport === 'http'
      ? { imageName: `fixture-${era}` }
      : {
          imageName: 'mcp-proxy',
          environmentVariables: {
            MCP_COMMAND: command,
            MCP_ARGS: quoted(words),
          },
        }
  return gateway.register({ ...program, requiredRoles: ['user'], ...more })
}

/** The parts of an answer that a client can tell apart. */
const seen = ({ status, headers, body }: Exchange): unknown => {
  const { date: _date, ...rest } = headers
  return { status, headers: rest, body: body.toString() }
}

/** Sends an id of the test, because ids of the gateway differ. */
const send = (
  adapter: string,
  method: string,
  headers: Headers,
  body?: string,
): Promise<Exchange> =>
  gateway.send(`/adapters/${adapter}/mcp`, {
    method,
    headers: { ...json, 'x-request-id': 'the-request', ...headers },
    ...(body === undefined ? {} : { body }),
  })

describe.each<readonly [string, Transport, object]>([
  ['translated by the gateway', 'http', {}],
  [
    'translated by the gateway, whose server is not told who calls',
    'http',
    { callerIdentity: 'none' },
  ],
  ['translated by a bridge', 'stdio', {}],
  ['translated by a bridge that is not told who calls', 'stdio', { callerIdentity: 'none' }],
])('a call that waits for input, %s', (_way, transport, more) => {
  const name = 'test_input_required_result_elicitation'
  let adapter = ''
  beforeAll(async () => {
    adapter = await register('legacy', transport, more)
  })

  function ask(headers: Headers, requestState?: string): Promise<Exchange> {
    const retry = {
      requestState,
      inputResponses: { 'input-1': { action: 'accept', content: { name: 'Ada' } } },
    }
    const params = { name, arguments: {}, ...(requestState === undefined ? {} : retry) }
    const capabilities = { 'io.modelcontextprotocol/clientCapabilities': { elicitation: {} } }
    const request = modernRequest('tools/call', params, capabilities)
    return send(adapter, 'POST', { ...request.headers, ...headers }, request.body)
  }

  test.each(others)(
    'a waiting call does not exist for %s, and its own caller continues it',
    async (_who, other) => {
      const parked = await ask(await alice())
      const [{ result }] = messagesOf(parked.body.toString(), parked.headers['content-type']) as [
        { result: { requestState: string } },
      ]
      const { requestState } = result
      const stranger = await other()
      const [tried, never] = [
        await ask(stranger, requestState),
        await ask(stranger, `${requestState.slice(0, -4)}aaaa`),
      ]
      expect(JSON.stringify(seen(tried))).toContain('requestState is unknown or has expired')
      expect(seen(tried)).toEqual(seen(never))
      expect((await ask(await alice(), requestState)).body.toString()).toContain('Ada')
    },
  )
})

describe.each<readonly [string, Transport]>([
  ['translated by the gateway', 'http'],
  ['translated by a bridge', 'stdio'],
])('a session %s', (_way, transport) => {
  let adapter = ''
  beforeAll(async () => {
    adapter = await register('dual', transport, { legacyLeg: 'translate' })
  })

  const initialize = JSON.stringify({
    jsonrpc: '2.0',
    id: 1,
    method: 'initialize',
    params: {
      protocolVersion: '2025-11-25',
      capabilities: {},
      clientInfo: { name: 't', version: '1' },
    },
  })
  const list = '{"jsonrpc":"2.0","id":2,"method":"tools/list"}'

  test.each(others)(
    'a session does not exist for %s, and its own caller continues it',
    async (_who, other) => {
      const session = String(
        (await send(adapter, 'POST', await alice(), initialize)).headers['mcp-session-id'],
      )
      const stranger = await other()
      for (const method of ['POST', 'GET', 'DELETE']) {
        const use = (id: string): Promise<Exchange> =>
          send(
            adapter,
            method,
            { ...stranger, 'mcp-session-id': id },
            method === 'POST' ? list : undefined,
          )
        const tried = await use(session)
        expect(tried.status).toBe(404)
        expect(seen(tried)).toEqual(seen(await use(`${session.slice(0, -4)}aaaa`)))
      }
      const own = await send(
        adapter,
        'POST',
        { ...(await alice()), 'mcp-session-id': session },
        list,
      )
      expect([own.status, own.body.toString()]).toEqual([200, expect.stringContaining('"tools"')])
    },
  )
})
