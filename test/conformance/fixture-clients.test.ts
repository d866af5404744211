import { randomUUID } from 'node:crypto'
import {
  Client,
  LOG_LEVEL_META_KEY,
  StreamableHTTPClientTransport,
  type ElicitRequest,
} from '@modelcontextprotocol/client'
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio'
import { FixtureProcess, stdioFixtures, type Era } from '@mcp-gateway/testkit'
import { afterAll, beforeAll, describe, expect, test, type TestContext } from 'vitest'

/**
 * Official clients of both eras with every fixture. They cover gaps of the suites, and the stdio
 * fixtures, which the suites cannot reach.
 */
type ClientEra = 'legacy' | 'modern'
type Binding = 'http' | 'stdio'
type Cell = readonly [Era, Binding, ClientEra]

interface Connected {
  readonly client: Client
  readonly elicited: ElicitRequest['params'][]
  /** Changes that the server announced. */
  readonly heard: string[]
  readonly logged: string[]
}

const fixtures = new Map<Era, FixtureProcess>()
beforeAll(async () => {
  for (const era of ['legacy', 'modern', 'dual'] as const)
    fixtures.set(era, await FixtureProcess.conformance(era))
})
afterAll(async () => {
  for (const fixture of fixtures.values()) await fixture[Symbol.asyncDispose]()
})

async function connect(
  cleanUp: TestContext['onTestFinished'],
  [era, binding, clientEra]: Cell,
  capabilities: object = everything,
): Promise<Connected> {
  const client = new Client(
    { name: 'fixture-test', version: '1.0.0' },
    {
      capabilities,
      versionNegotiation: { mode: clientEra === 'legacy' ? 'legacy' : { pin: '2026-07-28' } },
    },
  )
  const elicited: ElicitRequest['params'][] = []
  const heard: string[] = []
  const logged: string[] = []
  if ('elicitation' in capabilities)
    client.setRequestHandler('elicitation/create', ({ params }) => {
      elicited.push(params)
      if (params.mode === 'url') return { action: 'accept' }
      return {
        action: 'accept',
        content: { name: 'Ada', color: 'blue', username: 'ada', ok: true, context: 'a weekend' },
      }
    })
  if ('sampling' in capabilities)
    client.setRequestHandler('sampling/createMessage', () => ({
      role: 'assistant',
      model: 'm',
      content: { type: 'text', text: 'Paris' },
    }))
  if ('roots' in capabilities)
    client.setRequestHandler('roots/list', () => ({ roots: [{ uri: 'file:///ada' }] }))
  client.setNotificationHandler(
    'notifications/message',
    ({ params }) => void logged.push(`${params.level}: ${String(params.data)}`),
  )
  client.setNotificationHandler('notifications/tools/list_changed', () => void heard.push('tools'))
  client.setNotificationHandler(
    'notifications/prompts/list_changed',
    () => void heard.push('prompts'),
  )
  client.setNotificationHandler(
    'notifications/resources/list_changed',
    () => void heard.push('resources'),
  )
  client.setNotificationHandler(
    'notifications/resources/updated',
    ({ params }) => void heard.push(params.uri),
  )

  cleanUp(() => client.close())
  if (binding === 'http') {
    await client.connect(new StreamableHTTPClientTransport(new URL(fixtures.get(era)?.url ?? '')))
  } else {
    const [command = '', ...args] = stdioFixtures.conformance(era)
    await client.connect(new StdioClientTransport({ command, args, stderr: 'ignore' }))
  }
  return { client, elicited, heard, logged }
}

const everything = { elicitation: { form: {}, url: {} }, sampling: {}, roots: {} }
const watched = 'test://watched-resource'

const cells = [
  ['legacy', 'http', 'legacy'],
  ['legacy', 'stdio', 'legacy'],
  ['modern', 'http', 'modern'],
  ['modern', 'stdio', 'modern'],
  ['dual', 'http', 'legacy'],
  ['dual', 'http', 'modern'],
  ['dual', 'stdio', 'legacy'],
  ['dual', 'stdio', 'modern'],
] as const satisfies readonly Cell[]

describe.concurrent.each(cells)(
  'the %s fixture over %s with a %s client',
  (era, binding, clientEra) => {
    const call = async (client: Client, name: string, args = {}): Promise<string> =>
      JSON.stringify(await client.callTool({ name, arguments: args }))

    test('the client lists, calls, reads, gets and completes', async ({
      expect,
      onTestFinished,
    }) => {
      const connected = await connect(onTestFinished, [era, binding, clientEra])
      const { client } = connected
      expect(client.getProtocolEra()).toBe(clientEra)

      const { tools } = await client.listTools()
      expect(tools.length).toBeGreaterThan(30)
      expect(
        tools.find(({ name }) => name === 'json_schema_2020_12_tool')?.inputSchema,
      ).toMatchObject({
        $defs: { address: { $anchor: 'addressDef' } },
        else: { required: ['email'] },
      })
      expect(await call(client, 'test_echo', { message: 'Zoë 🦊' })).toContain('Zoë 🦊')
      expect(
        await client.callTool({ name: 'test_structured_content', arguments: { city: 'Paris' } }),
      ).toMatchObject({
        structuredContent: { city: 'Paris', degrees: 21.5 },
      })
      expect(await client.callTool({ name: 'test_error_handling', arguments: {} })).toMatchObject({
        isError: true,
      })
      expect((await client.listResources()).resources.map(({ uri }) => uri)).toContain(watched)
      expect((await client.listResourceTemplates()).resourceTemplates).toHaveLength(1)
      expect(await client.readResource({ uri: 'test://template/7/data' })).toMatchObject({
        contents: [{ uri: 'test://template/7/data' }],
      })
      expect((await client.listPrompts()).prompts).toHaveLength(5)
      expect(
        await client.getPrompt({
          name: 'test_prompt_with_arguments',
          arguments: { arg1: 'x', arg2: 'y' },
        }),
      ).toMatchObject({
        messages: [{ content: { text: "Prompt with arguments: arg1='x', arg2='y'" } }],
      })

      const completed = await client.complete({
        ref: { type: 'ref/prompt', name: 'test_prompt_with_arguments' },
        argument: { name: 'arg1', value: 'par' },
      })
      expect(completed.completion.values).toEqual(['paris', 'park', 'party'])
      await expect(client.readResource({ uri: 'test://none' })).rejects.toThrow(/not found/i)
      await expect(client.callTool({ name: 'none', arguments: {} })).rejects.toThrow(/none/)
    })

    test('the server asks: forms, pages, model, roots, several rounds and all at once', async ({
      expect,
      onTestFinished,
    }) => {
      const connected = await connect(onTestFinished, [era, binding, clientEra])
      const { client, elicited } = connected
      expect(await call(client, 'test_elicitation', { message: 'Who?' })).toContain('ada')
      expect(elicited.at(-1)).toMatchObject({
        message: 'Who?',
        requestedSchema: { required: ['username', 'email'] },
      })
      expect(await call(client, 'test_elicitation_url')).toContain('action=accept')
      expect(elicited.at(-1)).toMatchObject({ mode: 'url', url: 'https://example.com/sign-in' })
      expect(await call(client, 'test_sampling', { prompt: 'Capital?' })).toContain(
        'LLM response: Paris',
      )
      expect(await call(client, 'test_list_roots')).toContain('file:///ada')
      expect(await call(client, 'test_input_required_result_request_state')).toContain('state-ok')
      expect(await call(client, 'test_input_required_result_multi_round')).toContain(
        'Ada likes blue',
      )
      expect(await call(client, 'test_input_required_result_multiple_inputs')).toContain(
        'Paris Ada, 1 roots',
      )
      expect(
        JSON.stringify(await client.getPrompt({ name: 'test_input_required_result_prompt' })),
      ).toContain('Use this context: a weekend')
    })

    test('the server does not ask what the client cannot answer', async ({
      expect,
      onTestFinished,
    }) => {
      const connected = await connect(onTestFinished, [era, binding, clientEra], {})
      const outcome = connected.client.callTool({ name: 'test_missing_capability', arguments: {} })
      if (clientEra === 'modern') await expect(outcome).rejects.toMatchObject({ code: -32021 })
      else expect(await outcome).toMatchObject({ isError: true })
    })

    test('the call brings progress, and logs at the requested level', async ({
      expect,
      onTestFinished,
    }) => {
      const connected = await connect(onTestFinished, [era, binding, clientEra])
      const { client, logged } = connected
      // If an answer comes in the same read, the client forgets the listener of progress. A busy
      // machine may need a second call.
      const progress = async (): Promise<readonly number[]> => {
        const seen: number[] = []
        await client.callTool(
          { name: 'test_tool_with_progress', arguments: {} },
          { onprogress: (event) => void seen.push(event.progress) },
        )
        return seen
      }
      await expect.poll(progress).toEqual([0, 50, 100])
      if (clientEra === 'legacy') await client.setLoggingLevel('info')
      const _meta = clientEra === 'legacy' ? {} : { [LOG_LEVEL_META_KEY]: 'info' as const }
      await client.callTool({ name: 'test_logging_tool', arguments: {}, _meta })
      await expect.poll(() => logged).toEqual(['info: an info message', 'warning: a warning'])
    })

    test('the server hears that a call is cancelled, and only then', async ({
      expect,
      onTestFinished,
    }) => {
      const { client } = await connect(onTestFinished, [era, binding, clientEra])
      const [kept, dropped] = [`kept ${randomUUID()}`, `dropped ${randomUUID()}`]
      const stop = new AbortController()
      const waiting = client.callTool(
        { name: 'test_wait', arguments: { label: dropped } },
        { signal: stop.signal, onprogress: () => stop.abort('enough') },
      )
      await expect(waiting).rejects.toThrow()
      await client.callTool({ name: 'test_wait', arguments: { label: kept, milliseconds: 1 } })
      await expect.poll(() => call(client, 'test_cancelled_calls')).toContain(dropped)
      expect(await call(client, 'test_cancelled_calls')).not.toContain(kept)
    })

    test('changes reach those clients that they concern', async ({ expect, onTestFinished }) => {
      const connected = await connect(onTestFinished, [era, binding, clientEra])
      const { client, heard } = connected
      if (clientEra === 'legacy') await client.subscribeResource({ uri: watched })
      else
        await client.listen({
          toolsListChanged: true,
          promptsListChanged: true,
          resourcesListChanged: true,
          resourceSubscriptions: [watched],
        })
      // A legacy client opens its HTTP stream in the background. Before that, nothing reaches it.
      await expect
        .poll(async () => {
          await call(client, 'test_trigger_tool_change')
          return heard
        })
        .toContain('tools')
      for (const kind of ['prompt', 'resource']) await call(client, `test_trigger_${kind}_change`)
      await call(client, 'test_trigger_resource_update', { uri: 'test://another' })
      await call(client, 'test_trigger_resource_update', { uri: watched })
      await expect.poll(() => heard).toContain(watched)
      expect(heard).toEqual(expect.arrayContaining(['prompts', 'resources']))
      expect(heard).not.toContain('test://another')
    })
  },
)

test.for([
  ['legacy', 'modern'],
  ['modern', 'legacy'],
] as const)(
  'the %s fixture refuses a %s client, over HTTP and stdio',
  async ([era, clientEra], { onTestFinished }) => {
    for (const binding of ['http', 'stdio'] as const)
      await expect(connect(onTestFinished, [era, binding, clientEra])).rejects.toThrow()
  },
)

test('a legacy server announces a page by an error of its own, a modern one asks', async ({
  onTestFinished,
}) => {
  const legacy = await connect(onTestFinished, ['legacy', 'http', 'legacy'])
  const refused = legacy.client.callTool({ name: 'test_pages_first', arguments: {} })
  await expect(refused).rejects.toMatchObject({ code: -32042 })
  expect(await legacy.client.callTool({ name: 'test_pages_first', arguments: {} })).toMatchObject({
    content: [{ text: 'Agreed' }],
  })
  const modern = await connect(onTestFinished, ['modern', 'http', 'modern'])
  expect(await modern.client.callTool({ name: 'test_pages_first', arguments: {} })).toMatchObject({
    content: [{ text: 'Agreed' }],
  })
  expect(modern.elicited).toMatchObject([{ mode: 'url', url: 'https://example.com/consent' }])
})
