import { resultMessage } from '@mcp-gateway/protocol'
import { describe, expect, test } from 'vitest'
import {
  aggregate,
  Client,
  ScriptedMember,
  type Loose,
} from '../../../test/fixtures/scripted-aggregate.ts'
import { SearchServer } from './search-server.ts'
import { ToolSearch } from './tool-search.ts'

function searching(...members: ScriptedMember[]) {
  const { acts, server, settle, state, requestOf } = aggregate(members)
  const search = new SearchServer({
    aggregate: server,
    tools: (caller) => state().catalogue.view(caller.principal()).list('tools'),
    pinned: () => ['a_run', 'gone'],
    serverInfo: () => '{"name":"work"}',
  })
  const ask = (method: string, params: object = {}): Client => {
    const client = new Client()
    search.request(...requestOf(method, params), client)
    return client
  }
  const call = (name: string, given: object): Loose =>
    ask('tools/call', { name, arguments: given }).message.result
  return { acts, ask, call, settle }
}

function filesAndMail(): readonly ScriptedMember[] {
  const files = new ScriptedMember('a')
  files.list('tools', 'readFile', {
    name: 'readFile',
    description: 'Reads a file from disk.',
    annotations: { readOnlyHint: true },
  })
  const mail = new ScriptedMember('m', [])
  mail.list('tools', 'send_message', {
    name: 'send_message',
    title: 'Send mail',
    description: 'Sends an e-mail to a person.\nUse with care.',
    inputSchema: { type: 'object', properties: { to: { type: 'string' } } },
  })
  return [files, mail]
}

describe('an aggregate in search mode', () => {
  test('the list holds the four tools and the pinned ones', () => {
    const { ask } = searching(...filesAndMail())
    const { tools } = ask('tools/list').message.result
    expect(tools.map(({ name }: { name: string }) => name)).toEqual([
      'search_tools',
      'describe_tools',
      'call_read_tool',
      'call_tool',
      'a_run',
    ])
  })

  test('a search finds tools by their words, and gives short descriptions', () => {
    const { call } = searching(...filesAndMail())
    expect(call('search_tools', { query: 'send an email to my boss' }).structuredContent).toEqual({
      tools: [
        {
          name: 'm_send_message',
          title: 'Send mail',
          description: 'Sends an e-mail to a person.',
          score: expect.any(Number),
        },
      ],
      note: '1 of 3 tools.',
    })
    expect(call('search_tools', { query: 'reading files' }).structuredContent.tools[0].name).toBe(
      'a_readFile',
    )
    expect(call('search_tools', { query: 'zzz' }).structuredContent.note).toContain('None of')
  })

  test('definitions come whole, with an error for each unknown name', () => {
    const { call } = searching(...filesAndMail())
    const { structuredContent } = call('describe_tools', { names: ['m_send_message', 'x'] })
    expect(structuredContent.tools).toMatchObject([{ inputSchema: { properties: { to: {} } } }])
    expect(structuredContent.errors).toEqual(['Unknown tool: x'])
  })

  test('a call goes to the member, and a reading call only to a tool that changes nothing', () => {
    const members = filesAndMail()
    const { call } = searching(...members)
    const given = { to: 'x' }
    expect(call('call_tool', { name: 'm_send_message', arguments: given }).content).toEqual([])
    expect(members[1]?.requests[0]?.params.get('arguments')).toBe('{"to":"x"}')
    expect(call('call_read_tool', { name: 'a_readFile' }).content).toEqual([])
    expect(call('call_read_tool', { name: 'm_send_message' })).toMatchObject({
      isError: true,
      content: [{ text: "'m_send_message' may change things. Use call_tool for it." }],
    })
    expect(members[1]?.requests).toHaveLength(1)
  })

  test('search, descriptions and calls wait for members that were never read', async () => {
    const member = new ScriptedMember('a', [])
    const { ask, settle } = searching(member)
    const settled = settle()
    const clients = [
      ask('tools/list'),
      ask('tools/call', { name: 'search_tools', arguments: { query: 'late' } }),
      ask('tools/call', { name: 'describe_tools', arguments: { names: ['a_late'] } }),
      ask('tools/call', { name: 'call_tool', arguments: { name: 'a_late' } }),
    ]
    expect(clients.flatMap(({ answers }) => answers)).toEqual([])
    member.list('tools', 'late', { name: 'late', annotations: { readOnlyHint: true } })
    settled()
    await Promise.resolve()
    await Promise.resolve()
    const [, found, described] = clients
    for (const client of [found, described]) expect(client?.answers.join()).toContain('a_late')
    expect(member.requests).toHaveLength(1)
  })

  test('the audit log learns which tool a call reaches, and of tools of others', () => {
    const member = new ScriptedMember('a')
    const { acts, call } = searching(member)
    call('call_tool', { name: 'a_run', arguments: { n: 1 } })
    member.open = []
    for (const name of ['a_run', 'run']) call('call_tool', { name })
    call('call_read_tool', { name: 'a_walk' })
    expect(acts).toMatchObject([
      { asked: 'call_tool', tool: 'run', arguments: '{"n":1}', denied: false },
      { asked: 'call_tool', tool: 'run', denied: true },
      { asked: 'call_tool', tool: 'run', denied: true },
    ])
    expect(acts).toHaveLength(3)
  })

  test('a question of a tool is answered through the same call', () => {
    const [, mail] = filesAndMail()
    if (mail === undefined) throw new Error('There are two members.')
    const inputRequests = { q: { method: 'elicitation/create', params: { message: 'To?' } } }
    const question = { resultType: 'input_required', requestState: 's', inputRequests }
    mail.answer = ({ id, params }, exchange) =>
      exchange.answer(
        200,
        resultMessage(
          id,
          params.get('requestState') === '"s"' ? '{"content":[]}' : JSON.stringify(question),
        ),
      )
    const { ask } = searching(mail)
    const params = { name: 'call_tool', arguments: { name: 'm_send_message' } }
    const { requestState } = ask('tools/call', params).message.result
    const retry = { ...params, requestState, inputResponses: { q: { action: 'decline' } } }
    expect(ask('tools/call', retry).message.result.content).toEqual([])
  })

  test.each([
    ['search_tools', {}],
    ['search_tools', { query: ' ' }],
    ['search_tools', { query: 'x', limit: 1000 }],
    ['describe_tools', { names: [] }],
    ['describe_tools', { names: 'x' }],
    ['call_tool', {}],
    ['call_tool', { name: 'call_tool' }],
  ])('%s with %j is a mistake that the model can mend', (name, given) => {
    expect(searching(...filesAndMail()).call(name, given)).toMatchObject({ isError: true })
  })

  test('a direct call, and every other request, are those of the aggregate', () => {
    const { ask } = searching(...filesAndMail())
    expect(ask('tools/call', { name: 'a_run' }).message.result.content).toEqual([])
    expect(ask('resources/list').message.result.resources).toEqual([])
    expect(ask('server/discover').message.result.capabilities.prompts).toBeDefined()
  })
})

describe('the ranking of tools', () => {
  test('a tool that only pages of an app call is not found', () => {
    const app = new ScriptedMember('a', [])
    const visible = (visibility: readonly string[]): object => ({ _meta: { ui: { visibility } } })
    app.list('tools', 'draw', { name: 'draw', ...visible(['app']) })
    app.list('tools', 'draw_chart', { name: 'draw_chart', ...visible(['app', 'model']) })
    const found = new ToolSearch(app.items.tools).find('draw', 5)
    expect(found.map(({ tool }) => tool.original)).toEqual(['draw_chart'])
  })

  test('words are found in any of their forms', () => {
    const git = new ScriptedMember('git', ['createPullRequest', 'list_repositories', 'getHTTPLog'])
    const search = new ToolSearch(git.items.tools)
    const best = (query: string): string | undefined => search.find(query, 1)[0]?.tool.original
    expect(best('pull requests')).toBe('createPullRequest')
    expect(best('repository')).toBe('list_repositories')
    expect(best('http logs')).toBe('getHTTPLog')
    expect(best('creat')).toBe('createPullRequest')
  })
})
