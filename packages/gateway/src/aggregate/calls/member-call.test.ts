import { errorAnswer, metaKey } from '@mcp-gateway/protocol'
import { describe, expect, test, vi } from 'vitest'
import { aggregate, ScriptedMember } from '../../../test/fixtures/scripted-aggregate.ts'
import { Absences } from './absences.ts'

describe('a member that misses a capability of the client', () => {
  const refusing = (needed: object): ScriptedMember => {
    const a = new ScriptedMember('a')
    a.answer = ({ id }, exchange) =>
      exchange.answer(400, errorAnswer(id, -32021, 'No.', { requiredCapabilities: needed }))
    return a
  }

  test('the client hears which capability it did not declare', () => {
    const a = refusing({ sampling: {} })
    const capabilities = { [metaKey.clientCapabilities]: {} }
    const { message, status } = aggregate([a]).ask('tools/call', { name: 'a_run' }, capabilities)
    expect(status).toBe(400)
    expect(message.error).toEqual({
      code: -32021,
      message: 'No.',
      data: { requiredCapabilities: { sampling: {} } },
    })
    expect(a.doubts).toBe(0)
  })

  test('a client that declared it hears that the virtual server holds it back', () => {
    const { message } = aggregate([refusing({ sampling: {} })]).ask('tools/call', { name: 'a_run' })
    expect(message.result).toMatchObject({
      isError: true,
      content: [{ text: 'A (a): No. The virtual server holds back sampling for this server.' }],
    })
  })
})

describe('the capabilities of a client at a member', () => {
  test('a subscription and a call declare the same, so that both use one session', () => {
    const a = new ScriptedMember('a')
    a.list('resources', 'x:1', { uri: 'x:1', name: 'one' })
    const { ask } = aggregate([a])
    const meta = { [metaKey.clientCapabilities]: { elicitation: {}, sampling: {}, roots: {} } }
    ask('tools/call', { name: 'a_run' }, meta)
    ask('subscriptions/listen', { notifications: { resourceSubscriptions: ['a+x:1'] } }, meta)
    const declared = a.requests.map((request) => request.meta.get(metaKey.clientCapabilities))
    expect(declared).toEqual(['{"elicitation":{"form":{}}}', '{"elicitation":{"form":{}}}'])
  })
})

test('a result that a member gives apart ends its absence, as one that it answers as text', () => {
  const ended = vi.spyOn(Absences.prototype, 'end')
  const a = new ScriptedMember('a')
  a.answer = (_request, exchange) => exchange.give?.(new Map([['content', '[]']]))
  const { message } = aggregate([a]).ask('tools/call', { name: 'a_run' })
  expect(message.result).toMatchObject({ content: [], resultType: 'complete' })
  expect(ended.mock.calls).toEqual([['a']])
  ended.mockRestore()
})
