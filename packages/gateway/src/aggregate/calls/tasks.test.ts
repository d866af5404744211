import { errorAnswer, metaKey, resultMessage } from '@mcp-gateway/protocol'
import { describe, expect, test } from 'vitest'
import {
  aggregate,
  ana,
  ScriptedMember,
  type Loose,
} from '../../../test/fixtures/scripted-aggregate.ts'

const extensions = { 'io.modelcontextprotocol/tasks': {} }
const declared = { [metaKey.clientCapabilities]: { extensions, elicitation: {} } }
const bob = { ...ana, id: 'bob' }
const times = { createdAt: '2026-11-30T10:00:00Z', lastUpdatedAt: '2026-11-30T10:00:00Z' }

/** A member whose calls become tasks, each in the state that `details` gives. */
function working(alias: string, details: object = { status: 'working' }): ScriptedMember {
  const member = new ScriptedMember(alias)
  member.answer = ({ id, method }, exchange) => {
    const task = { taskId: 't-1', status: 'working', ttlMs: null, ...times }
    const result =
      method === 'tools/call'
        ? { resultType: 'task', ...task }
        : { resultType: 'complete', ...task, ...details }
    exchange.answer(200, resultMessage(id, JSON.stringify(result)))
  }
  return member
}

function started(member: ScriptedMember, ...others: ScriptedMember[]) {
  const served = aggregate([member, ...others])
  const call = served.ask('tools/call', { name: `${member.alias}_run` }, declared)
  const { result }: Loose = call.message
  const get = (taskId: unknown = result.taskId, who = ana): Loose =>
    served.ask('tasks/get', { taskId }, declared, who).message
  return { ...served, result, taskId: result.taskId as string, get }
}

describe('tasks of members', () => {
  test('a task has an id of the aggregate, by which its caller reaches the member', () => {
    const [a, b] = [working('a'), working('b')]
    const { ask, get, result, taskId } = started(a, b)
    expect(result).toMatchObject({ resultType: 'task', status: 'working', ttlMs: null })
    expect(taskId).not.toContain('t-1')
    expect(get().result).toMatchObject({ resultType: 'complete', taskId, status: 'working' })

    const inputResponses = { q: { action: 'accept' } }
    ask('tasks/update', { taskId, inputResponses }, declared)
    ask('tasks/cancel', { taskId }, declared)
    expect(b.requests).toEqual([])
    expect(a.requests.map(({ method, params }) => [method, params.get('taskId')])).toEqual([
      ['tools/call', undefined],
      ['tasks/get', '"t-1"'],
      ['tasks/update', '"t-1"'],
      ['tasks/cancel', '"t-1"'],
    ])
    expect(a.requests[2]?.params.get('inputResponses')).toBe(JSON.stringify(inputResponses))
  })

  test('a task of another caller, of a member that is gone, or of nobody is unknown', () => {
    const a = working('a')
    const { acts, become, get, taskId } = started(a)
    const unknown = { code: -32602, message: 'Invalid params: there is no such task.' }
    expect(get(taskId, bob).error).toEqual(unknown)
    for (const guess of ['t-1', 'a.t-1', '', 5, taskId.slice(1)])
      expect(get(guess).error).toEqual(unknown)

    a.open = []
    expect(get().error).toEqual(unknown)
    expect(acts.at(-1)).toMatchObject({ action: 'mcp.tasks/get', denied: true })
    const successor = working('a')
    successor.subjectOf = () => ({ kind: 'adapter', name: 'a-server', uid: 'another' })
    become({ members: new Map([['a', successor]]) })
    expect(get().error).toEqual(unknown)
    expect(successor.requests).toEqual([])
  })

  test('the result of a task is shown as that of a call, and shortened like it', () => {
    const link = { type: 'resource_link', uri: 'x:1', name: 'x' }
    const a = working('a', { status: 'completed', result: { content: [link] } })
    expect(started(a).get().result.result.content).toEqual([{ ...link, uri: 'a+x:1' }])

    const long = [{ type: 'text', text: 'x'.repeat(20_000) }]
    const b = working('b', { status: 'completed', result: { content: long } })
    b.most = 4000
    const { result } = started(b).get()
    expect(JSON.stringify(result).length).toBeLessThan(6000)
    expect(JSON.stringify(result)).toContain('result://')
  })

  test('the questions of a task name the member, and those held back end in an error', () => {
    const asks = (method: string): object => ({
      status: 'input_required',
      inputRequests: { q: { method, params: { message: 'City?' } } },
    })
    const { result } = started(working('a', asks('elicitation/create'))).get()
    expect(result.inputRequests.q.params.message).toBe('[A] City?')
    const { error } = started(working('a', asks('sampling/createMessage'))).get()
    expect(error.message).toContain('a completion of your model')
  })

  test('a client that does not declare tasks gets none, and may not ask for any', () => {
    const { ask, taskId } = started(working('a'))
    const { result } = ask('tools/call', { name: 'a_run' }).message
    expect(result).toMatchObject({ isError: true })
    for (const method of ['tasks/get', 'tasks/update', 'tasks/cancel']) {
      const { message, status } = ask(method, { taskId })
      expect([status, message.error]).toMatchObject([
        400,
        { code: -32021, data: { requiredCapabilities: { extensions } } },
      ])
    }
    const notifications = { taskIds: [taskId] }
    expect(ask('subscriptions/listen', { notifications }).message.error.code).toBe(-32021)
  })

  test('the aggregate has tasks only if a member may have them', () => {
    const capabilities = (member: ScriptedMember): Loose =>
      aggregate([member]).ask('server/discover').message.result.capabilities
    expect(capabilities(new ScriptedMember('a')).extensions).toEqual(extensions)
    const without = new ScriptedMember('a')
    without.mayHaveTasks = false
    expect(capabilities(without)).not.toHaveProperty('extensions')
    const { message } = aggregate([without]).ask('tasks/get', { taskId: 'x' }, declared)
    expect(message.error.code).toBe(-32601)
  })

  test('an error about a task comes back as the member gave it', () => {
    const a = working('a')
    const { get } = started(a)
    a.answer = ({ id }, exchange) => exchange.answer(200, errorAnswer(id, -32602, 'It expired.'))
    expect(get().error).toEqual({ code: -32602, message: 'It expired.' })
  })

  test('a task whose id cannot stand in a header ends the call with the reason', () => {
    const a = new ScriptedMember('a')
    for (const taskId of [undefined, 5, 'x'.repeat(5000)]) {
      a.answer = ({ id }, exchange) =>
        exchange.answer(200, resultMessage(id, JSON.stringify({ resultType: 'task', taskId })))
      const { result } = aggregate([a]).ask('tools/call', { name: 'a_run' }, declared).message
      expect(result).toMatchObject({ isError: true })
    }
  })
})
