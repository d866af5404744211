import { expect, test } from 'vitest'
import { aggregate, ana, ScriptedMember } from '../../../test/fixtures/scripted-aggregate.ts'
import { bodyMayRunTwice } from './repeatable.ts'

const member = new ScriptedMember('a', [])
member.list('tools', 'reads', { name: 'reads', annotations: { readOnlyHint: true } })
member.list('tools', 'sets', { name: 'sets', annotations: { idempotentHint: true } })
member.list('tools', 'adds', { name: 'adds' })
const { server } = aggregate([member])

const mayRunTwice = (message: unknown, searches = false): boolean =>
  bodyMayRunTwice(Buffer.from(JSON.stringify(message)), () => server.toolsOf(ana), searches)
const call = (name: string, args: object = {}): object => ({
  jsonrpc: '2.0',
  id: 1,
  method: 'tools/call',
  params: { name, arguments: args },
})

test.each([
  ['a list', { id: 1, method: 'tools/list' }, true],
  ['a reading', { id: 1, method: 'resources/read', params: { uri: 'a+x:1' } }, true],
  ['a notification', { method: 'notifications/initialized' }, true],
  ['a call of a tool that reads', call('a_reads'), true],
  ['a call of a tool by its own name', call('sets'), true],
  ['a call of any other tool', call('a_adds'), false],
  ['a call of a tool that nobody has', call('a_none'), false],
  ['a call without a name', { id: 1, method: 'tools/call' }, false],
  ['an answer to a question', { id: 1, result: {} }, false],
  ['a batch', [{ id: 1, method: 'tools/list' }], false],
])('%s may run twice or not', (_, message, expected) => {
  expect(mayRunTwice(message)).toBe(expected)
})

test('in search mode, the tool behind a call decides if it may run twice', () => {
  const through = (by: string, name: string): boolean => mayRunTwice(call(by, { name }), true)
  expect(mayRunTwice(call('search_tools', { query: 'x' }), true)).toBe(true)
  expect(mayRunTwice(call('describe_tools', { names: ['x'] }), true)).toBe(true)
  expect([through('call_tool', 'a_reads'), through('call_read_tool', 'a_reads')]).toEqual([
    true,
    true,
  ])
  expect([through('call_tool', 'a_adds'), mayRunTwice(call('a_reads'), true)]).toEqual([
    false,
    true,
  ])
})
