import { setImmediate } from 'node:timers/promises'
import {
  errorAnswer,
  metaKey,
  modernVersion,
  resultMessage,
  writeObject,
  type Exchange,
} from '@mcp-gateway/protocol'
import { describe, expect, test, vi } from 'vitest'
import {
  aggregate,
  ana,
  Client,
  ScriptedMember,
  type Answer,
} from '../../../test/fixtures/scripted-aggregate.ts'
import { Catalogue } from '../catalogue/catalogue.ts'
import { ListenerPlaces } from './listener-places.ts'

const listen = (filter: object): object => ({ notifications: filter })

describe('the aggregate as a server', () => {
  test('connecting and listing ask no member', () => {
    const members = [new ScriptedMember('a', ['one', 'two']), new ScriptedMember('b', ['one'])]
    const { ask } = aggregate(members)
    expect(ask('server/discover').message).toMatchObject({
      id: 'c-1',
      result: {
        supportedVersions: [modernVersion],
        instructions: 'Use it.',
        capabilities: { tools: { listChanged: true }, resources: { subscribe: true } },
        _meta: { [metaKey.serverInfo]: { name: 'work' } },
      },
    })

    const first = ask('tools/list').message.result
    expect(first.tools.map(({ name }: { name: string }) => name)).toEqual(['a_one', 'a_two'])
    const rest = ask('tools/list', { cursor: first.nextCursor }).message.result
    expect(rest.tools.map(({ name }: { name: string }) => name)).toEqual(['b_one'])
    expect(rest).not.toHaveProperty('nextCursor')
    expect(members.flatMap(({ requests }) => requests)).toEqual([])
  })

  test('a cursor of another list or of another caller is refused', () => {
    const { ask } = aggregate([new ScriptedMember('a', ['one', 'two', 'three'])])
    const cursor = ask('tools/list').message.result.nextCursor as string
    const bob = { ...ana, id: 'bob' }
    for (const refused of [
      ask('prompts/list', { cursor }),
      ask('tools/list', { cursor }, {}, bob),
      ask('tools/list', { cursor: 'x' }),
      ask('tools/list', { cursor: 7 }),
    ])
      expect(refused.message.error).toMatchObject({ code: -32602 })
  })

  test('a list says which members cannot serve', () => {
    const troubles = () => '{"b":{"state":"Down","reason":"It is away."}}'
    const { ask } = aggregate([new ScriptedMember('a')], { troubles })
    expect(ask('tools/list').message.result).toMatchObject({
      ttlMs: 0,
      cacheScope: 'private',
      _meta: { 'mcp-gateway/members': { b: { state: 'Down' } } },
    })
  })

  test('an unknown method is refused with 404', () => {
    const client = aggregate([]).ask('initialize')
    expect([client.status, client.message.error.code]).toEqual([404, -32601])
  })
})

describe('a call through the aggregate', () => {
  test('the member gets its own name, an id and a token that are not the client’s', () => {
    const a = new ScriptedMember('a')
    const { ask } = aggregate([a, new ScriptedMember('b')])
    const params = { name: 'a_run', arguments: { n: 1 } }
    expect(ask('tools/call', params, { progressToken: 'mine' }).message).toMatchObject({
      id: 'c-1',
      result: { content: [], resultType: 'complete' },
    })
    const [request] = a.requests
    expect(request?.params.get('name')).toBe('"run"')
    expect(request?.params.get('arguments')).toBe('{"n":1}')
    expect(request?.id).not.toBe('"c-1"')
    expect(request?.meta.get('progressToken')).not.toBe('"mine"')
    expect(request && writeObject(request.meta)).not.toContain('mine')
    expect(request && writeObject(request.meta)).not.toContain('sampling')
  })

  test('progress reaches the client under its own token, and only if it grows', () => {
    const a = new ScriptedMember('a')
    a.answer = ({ meta }, exchange) => {
      const tell = (token: string, progress: number): void =>
        exchange.tell(
          `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":${token},"progress":${progress}}}`,
        )
      const token = meta.get('progressToken') ?? ''
      tell(token, 1)
      tell('"other"', 2)
      tell(token, 1)
      tell(token, 3)
    }
    const client = aggregate([a]).ask('tools/call', { name: 'a_run' }, { progressToken: 7 })
    expect(client.notifications.map(({ params }) => params)).toEqual([
      { progressToken: 7, progress: 1 },
      { progressToken: 7, progress: 3 },
    ])
  })

  test('log lines name the member, and other notifications stay away from the client', () => {
    const a = new ScriptedMember('a')
    a.answer = (_request, exchange) => {
      for (const [method, params] of [
        ['notifications/message', { level: 'info', data: 'x', logger: 'db' }],
        ['notifications/message', { level: 'info', data: 'y' }],
        ['notifications/tools/list_changed', {}],
        ['notifications/cancelled', { requestId: 1 }],
      ])
        exchange.tell(JSON.stringify({ jsonrpc: '2.0', method, params }))
    }
    const client = aggregate([a]).ask('tools/call', { name: 'a_run' })
    expect(client.notifications.map(({ params }) => params.logger)).toEqual(['a.db', 'a'])
  })

  test('a plain name goes to the only member that has it, and is ambiguous otherwise', () => {
    const a = new ScriptedMember('a', ['run', 'only'])
    const { ask } = aggregate([a, new ScriptedMember('b', ['run'])])
    expect(ask('tools/call', { name: 'only' }).message.result).toBeDefined()
    expect(a.requests).toHaveLength(1)
    expect(ask('tools/call', { name: 'run' }).message.error).toEqual({
      code: -32602,
      message: "Several members have the tool 'run'. Use a_run or b_run.",
    })
    expect(ask('tools/call', { name: 'none' }).message.error.message).toBe('Unknown tool: none')
  })

  test('a member that cannot be reached is a result that the model reads', async () => {
    const a = new ScriptedMember('a')
    a.list('resources', 'x:1', { uri: 'x:1' })
    a.answer = ({ id }, exchange) =>
      exchange.answer(502, errorAnswer(id, -32603, 'The server could not be reached.'))
    const { ask } = aggregate([a])
    const called = ask('tools/call', { name: 'a_run' })
    expect([called.status, called.message.result]).toMatchObject([
      200,
      { isError: true, content: [{ text: 'A (a): The server could not be reached.' }] },
    ])
    const read = ask('resources/read', { uri: 'a+x:1' })
    await setImmediate()
    expect([read.status, read.message.error]).toEqual([
      502,
      {
        code: -32603,
        message: 'A (a): The server could not be reached.',
        data: { member: 'a-server' },
      },
    ])
    expect(a.doubts).toBe(2)
  })

  test.each([
    ['reads', { readOnlyHint: true }, 2],
    ['is idempotent', { idempotentHint: true }, 2],
    ['may not run twice', {}, 1],
  ])(
    'a call whose server breaks off is sent again if its tool %s',
    async (_, annotations, times) => {
      const a = new ScriptedMember('a', [])
      a.list('tools', 'run', { name: 'run', annotations })
      const { answer } = a
      a.answer = ({ id }, exchange) => {
        a.answer = answer
        exchange.answer(502, errorAnswer(id, -32603, 'The server was ended by SIGKILL.'))
      }
      const called = aggregate([a]).ask('tools/call', { name: 'a_run' })
      await setImmediate()

      expect(called.message.result.isError).toBe(times === 1 ? true : undefined)
      expect(a.requests).toHaveLength(times)
      expect(new Set(a.requests.map(({ id }) => id)).size).toBe(times)
    },
  )

  test('a call on a legacy session that breaks off is sent again, too', async () => {
    const a = new ScriptedMember('a', [])
    a.list('tools', 'run', { name: 'run', annotations: { readOnlyHint: true } })
    const { answer } = a
    a.answer = ({ id }, exchange) => {
      a.answer = answer
      const failed = { code: 'upstream_failed' }
      exchange.answer(200, errorAnswer(id, -32603, 'The server broke off.', failed))
    }
    const called = aggregate([a]).ask('tools/call', { name: 'a_run' })
    await setImmediate()
    expect([called.message.result.isError, a.requests.length]).toEqual([undefined, 2])
  })

  test('a call is sent again once at most, and not for a client that has left', async () => {
    const a = new ScriptedMember('a', [])
    a.list('tools', 'run', { name: 'run', annotations: { readOnlyHint: true } })
    a.answer = ({ id }, exchange) =>
      exchange.answer(502, errorAnswer(id, -32603, 'The server was ended by SIGKILL.'))
    const { ask, server } = aggregate([a])
    const called = ask('tools/call', { name: 'a_run' })
    await setImmediate()
    expect([called.message.result.isError, a.requests.length]).toEqual([true, 2])

    const left = ask('tools/call', { name: 'a_run' })
    server.gone(left)
    await setImmediate()
    expect([left.answers, a.requests.length]).toEqual([[], 3])
  })

  test('a call that has not reached its server is sent again until it is back', async () => {
    vi.useFakeTimers()
    try {
      const a = new ScriptedMember('a')
      const { answer } = a
      const away = errorAnswer('1', -32603, 'It is away.', { code: 'upstream_unreachable' })
      a.answer = (_, exchange) => exchange.answer(502, away)
      const { ask, server } = aggregate([a])
      const [called, left] = [
        ask('tools/call', { name: 'a_run' }),
        ask('tools/call', { name: 'a_run' }),
      ]
      await vi.advanceTimersByTimeAsync(1000)
      server.gone(left)
      expect([called.answers, a.requests.length > 4]).toEqual([[], true])
      a.answer = answer
      await vi.advanceTimersByTimeAsync(1000)
      expect([called.message.result.isError, left.answers]).toEqual([undefined, []])

      a.answer = (_, exchange) => exchange.answer(502, away)
      const late = ask('tools/call', { name: 'a_run' })
      await vi.advanceTimersByTimeAsync(5000)
      expect(late.message.result.content[0].text).toBe('A (a): It is away.')
      expect(ask('tools/call', { name: 'a_run' }).message.result.isError).toBe(true)
    } finally {
      vi.useRealTimers()
    }
  })

  test('a failure that the next attempt cannot mend is told at once', () => {
    const a = new ScriptedMember('a', [])
    a.list('tools', 'run', { name: 'run', annotations: { readOnlyHint: true } })
    const untrusted = errorAnswer('1', -32603, 'Its certificate is not trusted.', {
      code: 'upstream_untrusted',
    })
    a.answer = (_, exchange) => exchange.answer(502, untrusted)
    const called = aggregate([a]).ask('tools/call', { name: 'a_run' })
    expect([called.message.result.isError, a.requests.length]).toEqual([true, 1])
  })

  test('an error of the member itself reaches the client as it is', () => {
    const a = new ScriptedMember('a')
    a.answer = ({ id }, exchange) =>
      exchange.answer(200, errorAnswer(id, -32602, 'Bad city.', { field: 'city' }))
    expect(aggregate([a]).ask('tools/call', { name: 'a_run' }).message.error).toEqual({
      code: -32602,
      message: 'Bad city.',
      data: { field: 'city' },
    })
  })

  test('the trace of a client’s request goes on in the envelope', () => {
    const a = new ScriptedMember('a')
    const { requestOf, server } = aggregate([a])
    const [caller, request] = requestOf('tools/call', { name: 'a_run' })
    const trace = { traceparent: '00-1-2-01' }
    server.request({ ...caller, trace }, request, new Client())
    expect(a.requests[0]?.meta.get('traceparent')).toBe('"00-1-2-01"')
  })

  test('a client that leaves cancels the call at the member', () => {
    const a = new ScriptedMember('a')
    let inner: Exchange | undefined
    a.answer = (_request, exchange) => (inner = exchange)
    const { ask, server } = aggregate([a])
    const client = ask('tools/call', { name: 'a_run' })
    server.gone(client)
    server.gone(client)
    expect(a.left).toEqual([inner])
  })
})

describe('a result that is too long for clients', () => {
  test('the client gets the beginning, and reads the rest by the address that it names', () => {
    const a = new ScriptedMember('a')
    a.most = 5000
    const text = 'x'.repeat(6000)
    a.answer = ({ id }, exchange) =>
      exchange.answer(200, resultMessage(id, JSON.stringify({ content: [{ type: 'text', text }] })))
    const { ask } = aggregate([a])
    const { content } = ask('tools/call', { name: 'a_run' }).message.result
    const uri = `${content[1].uri}?start=0&bytes=100000`
    expect(ask('resources/read', { uri }).message.result.contents[0].text).toBe(text)
    const bob = { ...ana, id: 'bob' }
    expect(ask('resources/read', { uri }, {}, bob).message.error.code).toBe(-32602)
  })
})

describe('resources of an aggregate', () => {
  test('a listed, a templated and a plain address reach their member', () => {
    const a = new ScriptedMember('a')
    a.list('resources', 'https://a.example/x', { uri: 'https://a.example/x' })
    a.list('resources', 'file:///one', { uri: 'file:///one' })
    a.answer = ({ id, params }, exchange) =>
      exchange.answer(200, resultMessage(id, `{"contents":[{"uri":${params.get('uri') ?? ''}}]}`))
    const { ask } = aggregate([a])
    const read = (uri: string): unknown =>
      ask('resources/read', { uri }).message.result?.contents[0].uri
    expect(read('a+file:///one')).toBe('a+file:///one')
    expect(read('a+weather://oslo/now')).toBe('a+weather://oslo/now')
    expect(read('file:///one')).toBe('a+file:///one')
    expect(read('https://a.example/x')).toBe('https://a.example/x')
    expect(a.requests.map(({ params }) => params.get('uri'))).toEqual([
      '"file:///one"',
      '"weather://oslo/now"',
      '"file:///one"',
      '"https://a.example/x"',
    ])
    for (const uri of ['b+file:///one', 'file:///two', ''])
      expect(ask('resources/read', { uri }).message.error.code).toBe(-32602)
  })

  test('a web address that nobody lists leads to the member whose template fits', () => {
    const a = new ScriptedMember('a')
    const b = new ScriptedMember('b')
    a.list('templates', 'https://a.example/{id}{?q}', { uriTemplate: 'https://a.example/{id}{?q}' })
    b.list('templates', 'https://b.example/{+path}', { uriTemplate: 'https://b.example/{+path}' })
    const { ask } = aggregate([a, b])
    const read = (uri: string): string | undefined =>
      ask('resources/read', { uri }).message.error?.message
    expect(read('https://a.example/5?q=1')).toBeUndefined()
    expect(read('https://b.example/x/y')).toBeUndefined()
    const asked = [...a.requests, ...b.requests].map(({ params }) => params.get('uri'))
    expect(asked).toEqual(['"https://a.example/5?q=1"', '"https://b.example/x/y"'])

    // A result of either could link to it.
    expect(read('https://c.example/')).toContain('a+https://c.example/ or b+https://c.example/')
    expect(read('b+https://c.example/')).toBeUndefined()
    expect(b.requests.at(-1)?.params.get('uri')).toBe('"https://c.example/"')
  })

  test('a web address that nobody lists leads to the only member with resources', () => {
    const a = new ScriptedMember('a')
    a.list('resources', 'file:///one', { uri: 'file:///one' })
    const { ask } = aggregate([a, new ScriptedMember('b')])
    ask('resources/read', { uri: 'https://c.example/' })
    expect(a.requests).toHaveLength(1)
  })

  test('a completion names the prompt or template as the member knows it', () => {
    const a = new ScriptedMember('a')
    a.list('prompts', 'greet', { name: 'greet' })
    a.list('templates', 'w:{city}', { uriTemplate: 'w:{city}' })
    const { ask } = aggregate([a])
    ask('completion/complete', { ref: { type: 'ref/prompt', name: 'a_greet' } })
    ask('completion/complete', { ref: { type: 'ref/resource', uri: 'a+w:{city}' } })
    expect(a.requests.map(({ params }) => params.get('ref'))).toEqual([
      '{"type":"ref/prompt","name":"greet"}',
      '{"type":"ref/resource","uri":"w:{city}"}',
    ])
  })

  test('a member without completions completes nothing', () => {
    const silent = new ScriptedMember('a')
    silent.completes = false
    const other = new ScriptedMember('b')
    other.answer = ({ id }, exchange) => exchange.answer(404, errorAnswer(id, -32601, 'No such'))
    for (const member of [silent, other]) member.list('prompts', 'greet', { name: 'greet' })
    const { ask } = aggregate([silent, other])
    for (const name of ['a_greet', 'b_greet']) {
      const { message } = ask('completion/complete', { ref: { type: 'ref/prompt', name } })
      expect(message.result).toMatchObject({
        completion: { values: [], total: 0, hasMore: false },
        resultType: 'complete',
      })
    }
    expect([silent, other].map(({ requests }) => requests.length)).toEqual([0, 1])
  })
})

describe('the rights to a member of the aggregate', () => {
  const held: Answer = () => undefined

  test('a running call ends when its caller may no longer use the member', async () => {
    vi.useFakeTimers()
    try {
      const a = new ScriptedMember('a')
      a.answer = held
      const { acts, ask, server } = aggregate([a])
      const bob = { ...ana, id: 'bob' }
      const kept = ask('tools/call', { name: 'a_run' })
      const ended = ask('tools/call', { name: 'a_run' }, {}, bob)
      a.open = ['ana']
      server.changed()
      await vi.advanceTimersByTimeAsync(300)
      expect(ended.message.error).toMatchObject({ code: -32602 })
      expect(kept.answers).toEqual([])
      expect(a.left).toHaveLength(1)
      expect(acts.map(({ denied }) => denied)).toEqual([false, true])
    } finally {
      vi.useRealTimers()
    }
  })

  test('a running call ends when its member is no member any more, or another one', async () => {
    vi.useFakeTimers()
    try {
      const a = new ScriptedMember('a')
      a.answer = held
      const { ask, become } = aggregate([a])
      const first = ask('tools/call', { name: 'a_run' })
      const other = new ScriptedMember('a')
      other.subjectOf = () => ({ kind: 'adapter', name: 'other' })
      become({ members: new Map([['a', other]]) })
      await vi.advanceTimersByTimeAsync(300)
      expect(first.message.error).toMatchObject({ code: -32602 })
      expect(a.left).toHaveLength(1)
    } finally {
      vi.useRealTimers()
    }
  })

  test('updates end with the right to the member, and begin again with it', async () => {
    vi.useFakeTimers()
    try {
      const a = new ScriptedMember('a')
      a.list('resources', 'x:1', { uri: 'x:1' })
      a.answer = ({ params }, exchange) => {
        const notifications = JSON.parse(params.get('notifications') ?? '')
        const method = 'notifications/subscriptions/acknowledged'
        exchange.tell(JSON.stringify({ jsonrpc: '2.0', method, params: { notifications } }))
      }
      const { ask, server } = aggregate([a])
      const client = ask('subscriptions/listen', listen({ resourceSubscriptions: ['a+x:1'] }))
      await vi.advanceTimersByTimeAsync(10)
      a.open = []
      server.changed()
      await vi.advanceTimersByTimeAsync(300)
      expect(a.left).toHaveLength(1)
      expect(client.notifications).toHaveLength(1)
      expect(client.answers).toEqual([])

      a.open = undefined
      server.changed()
      await vi.advanceTimersByTimeAsync(300)
      expect(a.requests).toHaveLength(2)
      expect(client.notifications.at(-1)).toMatchObject({
        method: 'notifications/resources/updated',
        params: { uri: 'a+x:1' },
      })
      server.changed()
      await vi.advanceTimersByTimeAsync(300)
      expect(a.requests).toHaveLength(2)
    } finally {
      vi.useRealTimers()
    }
  })

  test('a subscription moves to the successor of a changed server', async () => {
    vi.useFakeTimers()
    try {
      const a = new ScriptedMember('a')
      a.list('resources', 'x:1', { uri: 'x:1' })
      a.answer = held
      const { ask, server } = aggregate([a])
      ask('subscriptions/listen', listen({ resourceSubscriptions: ['a+x:1'] }))
      a.incarnation = '2'
      server.changed()
      await vi.advanceTimersByTimeAsync(300)
      expect([a.requests.length, a.left.length]).toEqual([2, 1])
    } finally {
      vi.useRealTimers()
    }
  })

  test('the audit log learns the item of every message, by the name at its member', () => {
    const a = new ScriptedMember('a')
    a.list('prompts', 'greet', { name: 'greet' })
    a.list('resources', 'x:1', { uri: 'x:1' })
    const { acts, ask } = aggregate([a])
    const bob = { ...ana, id: 'bob' }
    a.open = ['ana']
    for (const who of [ana, bob]) {
      ask('tools/call', { name: 'a_run', arguments: { n: 1 } }, {}, who)
      ask('tools/call', { name: 'run' }, {}, who)
      ask('prompts/get', { name: 'a_greet' }, {}, who)
      ask('resources/read', { uri: 'a+x:1' }, {}, who)
      ask('resources/read', { uri: 'x:1' }, {}, who)
      ask('completion/complete', { ref: { type: 'ref/prompt', name: 'a_greet' } }, {}, who)
      ask('subscriptions/listen', listen({ resourceSubscriptions: ['a+x:1', 'a+y:1'] }), {}, who)
      const noted = acts.splice(0)
      expect(noted.map(({ action, asked }) => [action, asked])).toEqual([
        ['mcp.tools/call', 'a_run'],
        ['mcp.tools/call', 'run'],
        ['mcp.prompts/get', 'a_greet'],
        ['mcp.resources/read', 'a+x:1'],
        ['mcp.resources/read', 'x:1'],
        ['mcp.completion/complete', undefined],
        ['mcp.subscriptions/listen', undefined],
      ])
      expect(noted[0]).toMatchObject({ tool: 'run', arguments: '{"n":1}' })
      expect(noted.every(({ subject }) => subject.name === 'a-server')).toBe(true)
      expect(noted.every(({ denied }) => denied === (who === bob))).toBe(true)
    }
    for (const name of ['a_walk', 'walk']) ask('tools/call', { name })
    ask('resources/read', { uri: 'nowhere:1' })
    expect(acts).toEqual([])
  })

  test('the audit log learns of refusals on the way, and of members that do not serve', () => {
    const a = new ScriptedMember('a')
    const { acts, ask } = aggregate([a])
    a.answer = ({ id }, exchange) => {
      for (const denied of a.watching) denied()
      exchange.answer(503, errorAnswer(id, -32603, 'It is stopped.', { code: 'stopped' }))
    }
    ask('tools/call', { name: 'a_run' })
    expect(acts).toMatchObject([{ denied: true, failure: 'stopped' }])
    expect(a.watching.size).toBe(0)
  })
})

describe('questions of a member', () => {
  const question = {
    resultType: 'input_required',
    requestState: 'inner',
    inputRequests: { q: { method: 'elicitation/create', params: { message: 'City?' } } },
  }

  test('a question comes back to its member with the state that the member gave', () => {
    const a = new ScriptedMember('a')
    a.answer = ({ id, params }, exchange) =>
      exchange.answer(
        200,
        params.has('inputResponses')
          ? resultMessage(id, '{"content":[]}')
          : resultMessage(id, JSON.stringify(question)),
      )
    const { ask } = aggregate([a, new ScriptedMember('b')])
    const asked = ask('tools/call', { name: 'a_run' }).message.result
    expect(asked.inputRequests.q.params.message).toBe('[A] City?')
    expect(asked.requestState).not.toContain('inner')

    const retry = { inputResponses: { q: {} }, requestState: asked.requestState }
    expect(ask('tools/call', { name: 'a_run', ...retry }).message.result.content).toEqual([])
    expect(a.requests.at(-1)?.params.get('requestState')).toBe('"inner"')

    const bob = { ...ana, id: 'bob' }
    for (const refused of [
      ask('tools/call', { name: 'b_run', ...retry }),
      ask('tools/call', { name: 'a_run', ...retry }, {}, bob),
      ask('tools/call', { name: 'a_run', ...retry, requestState: 'inner' }),
    ])
      expect(refused.message.error.message).toContain('requestState is unknown')
  })

  test('a question that the policy holds back ends the call with the reason', () => {
    const a = new ScriptedMember('a')
    const sampling = { q: { method: 'sampling/createMessage', params: {} } }
    a.answer = ({ id }, exchange) =>
      exchange.answer(
        200,
        resultMessage(id, JSON.stringify({ ...question, inputRequests: sampling })),
      )
    const { result } = aggregate([a]).ask('tools/call', { name: 'a_run' }).message
    expect(result).toMatchObject({ isError: true })
    expect(result.content[0].text).toContain('a completion of your model')
  })
})

describe('listen streams of an aggregate', () => {
  test('a client hears of a changed list once, and only if its own view has changed', async () => {
    vi.useFakeTimers()
    try {
      const { ask, become, server } = aggregate([new ScriptedMember('a')])
      const client = ask('subscriptions/listen', listen({ toolsListChanged: true }))
      await vi.advanceTimersByTimeAsync(0)
      expect(client.notifications).toEqual([
        {
          jsonrpc: '2.0',
          method: 'notifications/subscriptions/acknowledged',
          params: {
            notifications: { toolsListChanged: true },
            _meta: { [metaKey.subscriptionId]: 'c-1' },
          },
        },
      ])

      server.changed()
      await vi.advanceTimersByTimeAsync(300)
      expect(client.told).toHaveLength(1)

      const more = new Catalogue([new ScriptedMember('a'), new ScriptedMember('b')])
      become({ catalogue: more })
      become({ catalogue: more })
      await vi.advanceTimersByTimeAsync(300)
      expect(client.notifications.slice(1).map(({ method }) => method)).toEqual([
        'notifications/tools/list_changed',
      ])
    } finally {
      vi.useRealTimers()
    }
  })

  test('updates cross, and a member that was away counts as updated when it is back', async () => {
    vi.useFakeTimers()
    try {
      const a = new ScriptedMember('a')
      a.list('resources', 'x:1', { uri: 'x:1' })
      let stream: Exchange | undefined
      const standing: Answer = ({ params }, exchange) => {
        stream = exchange
        const notifications = JSON.parse(params.get('notifications') ?? '')
        const message = {
          jsonrpc: '2.0',
          method: 'notifications/subscriptions/acknowledged',
          params: { notifications },
        }
        exchange.tell(JSON.stringify(message))
      }
      a.answer = standing
      const { ask, server } = aggregate([a])
      const uris = ['a+x:1', 'b+x:1']
      const client = ask('subscriptions/listen', listen({ resourceSubscriptions: uris }))
      await vi.advanceTimersByTimeAsync(0)
      const told = (): unknown[] =>
        client.notifications.map(({ params }) => params.uri ?? params.notifications)
      expect(told()).toEqual([{ resourceSubscriptions: ['a+x:1'] }])

      const update = { jsonrpc: '2.0', method: 'notifications/resources/updated' }
      stream?.tell(JSON.stringify({ ...update, params: { uri: 'x:1' } }))
      expect(told().slice(1)).toEqual(['a+x:1'])

      stream?.answer(502, errorAnswer('1', -32603, 'It broke off.'))
      await vi.advanceTimersByTimeAsync(600)
      expect(told().slice(2)).toEqual(['a+x:1'])
      server.gone(client)
      expect(a.left).toEqual([stream])
    } finally {
      vi.useRealTimers()
    }
  })

  test('a member without subscriptions is left out, and is not asked again', async () => {
    vi.useFakeTimers()
    try {
      const a = new ScriptedMember('a')
      a.list('resources', 'x:1', { uri: 'x:1' })
      a.answer = ({ id }, exchange) =>
        exchange.answer(404, errorAnswer(id, -32601, 'Method not found'))
      const { ask } = aggregate([a])
      const client = ask('subscriptions/listen', listen({ resourceSubscriptions: ['a+x:1'] }))
      await vi.advanceTimersByTimeAsync(60_000)
      expect(client.notifications[0]?.params.notifications).toEqual({})
      expect(a.requests).toHaveLength(1)
    } finally {
      vi.useRealTimers()
    }
  })

  test('a silent member does not hold the acknowledgement back', async () => {
    vi.useFakeTimers()
    try {
      const a = new ScriptedMember('a')
      a.list('resources', 'x:1', { uri: 'x:1' })
      a.answer = () => undefined
      const { ask } = aggregate([a])
      const client = ask('subscriptions/listen', listen({ resourceSubscriptions: ['a+x:1'] }))
      await vi.advanceTimersByTimeAsync(2000)
      expect(client.notifications[0]?.params.notifications).toEqual({
        resourceSubscriptions: ['a+x:1'],
      })
    } finally {
      vi.useRealTimers()
    }
  })

  test('a client hears what its stream covers before anything else', async () => {
    vi.useFakeTimers()
    try {
      const [fast, silent] = [new ScriptedMember('a'), new ScriptedMember('b')]
      for (const member of [fast, silent]) member.list('resources', 'x:1', { uri: 'x:1' })
      silent.answer = () => undefined
      fast.answer = ({ params }, exchange) => {
        const notifications = JSON.parse(params.get('notifications') ?? '')
        for (const [method, more] of [
          ['notifications/subscriptions/acknowledged', { notifications }],
          ['notifications/resources/updated', { uri: 'x:1' }],
          ['notifications/resources/updated', { uri: 'x:1' }],
        ])
          exchange.tell(JSON.stringify({ jsonrpc: '2.0', method, params: more }))
      }
      const { ask, become } = aggregate([fast, silent])
      const client = ask(
        'subscriptions/listen',
        listen({ resourceSubscriptions: ['a+x:1', 'b+x:1'], toolsListChanged: true }),
      )
      become({ catalogue: new Catalogue([new ScriptedMember('a', ['other'])]) })
      await vi.advanceTimersByTimeAsync(1999)
      expect(client.told).toEqual([])
      await vi.advanceTimersByTimeAsync(1)
      expect(client.notifications.map(({ method }) => method)).toEqual([
        'notifications/subscriptions/acknowledged',
        'notifications/resources/updated',
        'notifications/tools/list_changed',
      ])
    } finally {
      vi.useRealTimers()
    }
  })

  test('a member that floods updates before the acknowledgement fills no memory', async () => {
    vi.useFakeTimers()
    try {
      const [flood, silent] = [new ScriptedMember('a'), new ScriptedMember('b')]
      for (const member of [flood, silent]) member.list('resources', 'x:1', { uri: 'x:1' })
      silent.answer = () => undefined
      flood.answer = ({ params }, exchange) => {
        const tell = (method: string, more: object): void =>
          exchange.tell(JSON.stringify({ jsonrpc: '2.0', method, params: more }))
        const notifications = JSON.parse(params.get('notifications') ?? '')
        tell('notifications/subscriptions/acknowledged', { notifications })
        const uris = Array.from({ length: 5000 }, (_, n) => `x:1/${n}`)
        for (const uri of [`x:1/${'x'.repeat(5000)}`, ...uris, 'x:1'])
          tell('notifications/resources/updated', { uri })
      }
      const { ask } = aggregate([flood, silent])
      const filter = { resourceSubscriptions: ['a+x:1', 'b+x:1'] }
      const client = ask('subscriptions/listen', listen(filter))
      await vi.advanceTimersByTimeAsync(2000)
      const told = client.notifications.map(({ params }) => String(params.uri))
      expect(told.length).toBeLessThanOrEqual(1 + 2000 + 1)
      expect(told.at(-1)).toBe('a+x:1')
      expect(told.every((uri) => uri.length < 100)).toBe(true)
    } finally {
      vi.useRealTimers()
    }
  })

  test('a caller has a limited number of streams at all virtual servers together', () => {
    const listeners = new ListenerPlaces(3)
    const [one, two] = [aggregate([], {}, listeners), aggregate([], {}, listeners)]
    const open = ({ ask }: typeof one, principal = ana): Client =>
      ask('subscriptions/listen', listen({}), {}, principal)
    const clients = [open(one), open(two), open(one), open(two)]
    expect(clients.map(({ status }) => status)).toEqual([0, 0, 0, 429])
    expect(open(two, { ...ana, id: 'bob' }).status).toBe(0)
    one.server.gone(clients[0] as Client)
    expect([open(two).status, open(one).status]).toEqual([0, 429])
  })

  test('the streams of legacy sessions take no places, because sessions have a limit', () => {
    const { requestOf, server } = aggregate([])
    for (let count = 0; count < 10; count += 1) {
      const [caller, request] = requestOf('subscriptions/listen', listen({}))
      const client = new Client()
      server.request({ ...caller, session: `s${count}` }, request, client)
      expect(client.status).toBe(0)
      if (count < 5) server.gone(client)
    }
    const modern = aggregate([]).ask('subscriptions/listen', listen({}))
    expect(modern.status).toBe(0)
  })

  test('a caller has a limited number of streams, and a drained stream ends in order', async () => {
    const { ask, server } = aggregate([])
    const clients = [1, 2, 3, 4].map(() => ask('subscriptions/listen', listen({})))
    expect(clients.map(({ status }) => status)).toEqual([0, 0, 0, 429])
    server.drain()
    expect(clients[0]?.message.result.resultType).toBe('complete')
  })
})
