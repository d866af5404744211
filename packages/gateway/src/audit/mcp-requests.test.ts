import type { IncomingMessage } from 'node:http'
import { describe, expect, test } from 'vitest'
import { GatewayError } from '../core/errors.ts'
import { auditMcpRequests, type McpRequest } from './mcp-requests.ts'
import type { AuditEvent } from './record.ts'

const principal = { id: 'alice', issuer: 'i', name: 'Alice', roles: ['mcp.admin'] }
const subject = { kind: 'adapter', name: 'a', uid: 'u', owner: { id: 'alice', issuer: 'i' } }
const request: McpRequest = {
  request: { method: 'POST' } as IncomingMessage,
  requestId: 'r',
  body: Buffer.from('{"method":"ping","id":1}'),
  principal,
  subject,
  denied: undefined,
  inner: [],
  error: undefined,
  handed: false,
  opening: false,
}

function recorded(dataPlane: 'all' | 'denied', more: Partial<McpRequest>): AuditEvent[] {
  const events: AuditEvent[] = []
  auditMcpRequests(
    (event) => void events.push(event),
    dataPlane,
    () => 'c',
  )({ ...request, ...more })
  return events
}
const outcomes = (dataPlane: 'all' | 'denied', more: Partial<McpRequest> = {}): string[] =>
  recorded(dataPlane, more).map(({ outcome }) => outcome)

describe('records of MCP requests', () => {
  test('a handed-over request has a record here only when it is refused here', () => {
    expect(outcomes('all')).toEqual(['allowed'])
    expect(outcomes('all', { handed: true })).toEqual([])
    expect(outcomes('all', { handed: true, error: new GatewayError('upstream_failed') })).toEqual(
      [],
    )
    expect(outcomes('all', { handed: true, denied: subject })).toEqual(['denied'])
    expect(outcomes('denied', { handed: true, error: new GatewayError('forbidden') })).toEqual([
      'denied',
    ])
  })

  test('records of a stream’s opening follow the rules of those of its end', () => {
    const opening = { opening: true, body: null }
    expect(recorded('all', opening)).toMatchObject([
      { action: 'mcp.stream.open', outcome: 'allowed', resource: { name: 'a' } },
    ])
    expect(outcomes('denied', opening)).toEqual([])
    expect(outcomes('all', { ...opening, handed: true })).toEqual([])
    const others = { ...subject, owner: { id: 'alice', issuer: 'another' } }
    expect(recorded('denied', { ...opening, subject: others })).toMatchObject([
      { action: 'mcp.stream.open', admin: true },
    ])
  })

  test('records mark what an administrator does with resources of others', () => {
    expect(outcomes('denied')).toEqual([])
    expect(recorded('all', {})[0]).not.toHaveProperty('admin')
    const others = { ...subject, owner: { id: 'alice', issuer: 'another' } }
    expect(recorded('denied', { subject: others })).toMatchObject([
      { outcome: 'allowed', admin: true },
    ])
    expect(outcomes('denied', { subject: others, principal: { ...principal, roles: [] } })).toEqual(
      [],
    )
  })

  test.each([401, 403, 429])('the record of status %i is a refusal', (status) => {
    const code =
      status === 401 ? 'unauthenticated' : status === 403 ? 'forbidden' : 'too_many_requests'
    expect(recorded('denied', { error: new GatewayError(code) })).toMatchObject([
      { outcome: 'denied', code },
    ])
  })

  test.each([
    ['[]', ['mcp.batch']],
    ['[1,"x",null,{"method":"a"}]', ['mcp.batch', 'mcp.a']],
    ['{"method":5}', ['mcp.response']],
    ['{"id":1,"result":{}}', ['mcp.response']],
    ['"text"', ['mcp.request']],
    ['{"method":"tools/call"}', ['mcp.tools/call']],
    ['{"method":"tools/call","params":[1]}', ['mcp.tools/call']],
    ['{"meth\\u006fd":"tools\\/call","params":{"n\\u0061me":"x"}}', ['mcp.tools/call']],
    ['{', ['mcp.request']],
    ['\ufeff{}', ['mcp.request']],
  ])('the records of the body %s are %j', (text, actions) => {
    expect(recorded('all', { body: Buffer.from(text) }).map(({ action }) => action)).toEqual(
      actions,
    )
  })

  test('records of a batch are bounded', () => {
    const batch = JSON.stringify(Array.from({ length: 5000 }, (_, id) => ({ id, method: 'ping' })))
    expect(recorded('all', { body: Buffer.from(batch) })).toHaveLength(101)
  })

  test('records of a batch count its messages, and calls come first', () => {
    const pings = Array.from({ length: 200 }, (_, id) => ({ id, method: 'ping' }))
    const call = { id: 'last', method: 'tools/call', params: { name: 'wipe' } }
    const events = recorded('all', { body: Buffer.from(JSON.stringify([...pings, call])) })
    expect(events.slice(0, 3)).toMatchObject([
      { action: 'mcp.batch', messages: 201 },
      { action: 'mcp.tools/call', tool: 'wipe' },
      { action: 'mcp.ping' },
    ])
    expect(events).toHaveLength(101)
  })

  describe('acts at members of a virtual server', () => {
    const server = { kind: 'server', name: 'work' }
    const other = { ...subject, name: 'b', owner: { id: 'eve', issuer: 'i' } }
    const call = { method: 'tools/call', params: { name: 'call_tool', arguments: { name: 'x' } } }
    const act = {
      action: 'mcp.tools/call',
      asked: 'call_tool',
      subject,
      tool: 'wipe',
      arguments: '{"all":true}',
      denied: false,
    }
    const body = Buffer.from(JSON.stringify(call))

    test('the record of a call is that of the same call at the member', () => {
      const direct = { method: 'tools/call', params: { name: 'wipe', arguments: { all: true } } }
      const [atMember] = recorded('all', { body: Buffer.from(JSON.stringify(direct)) })
      expect(recorded('all', { body, subject: server, inner: [act] })).toEqual([atMember])
    })

    test('each message of a batch names the member that it reaches', () => {
      const ping = { method: 'ping' }
      const batch = Buffer.from(JSON.stringify([call, ping, call]))
      const inner = [act, { ...act, subject: other, tool: 'run' }]
      expect(recorded('all', { body: batch, subject: server, inner })).toMatchObject([
        { action: 'mcp.batch', resource: server },
        { tool: 'wipe', resource: { name: 'a' } },
        { tool: 'run', resource: { name: 'b' }, admin: true },
        { action: 'mcp.ping', resource: server },
      ])
      expect(recorded('denied', { body: batch, subject: server, inner })).toMatchObject([
        { tool: 'run', admin: true },
      ])
    })

    test('a refusal at a member is recorded although the request as a whole is allowed', () => {
      const inner = [{ ...act, denied: true }]
      expect(recorded('denied', { body, subject: server, inner })).toMatchObject([
        { tool: 'wipe', outcome: 'denied', code: 'not_found', resource: { name: 'a' } },
      ])
      const down = [{ ...act, failure: 'stopped' }]
      expect(recorded('all', { body, subject: server, inner: down })).toMatchObject([
        { tool: 'wipe', outcome: 'failed', code: 'stopped' },
      ])
    })

    test('a listen stream has a record for each member, and a repeated message has none', () => {
      const listen = Buffer.from('{"method":"subscriptions/listen"}')
      const heard = { action: 'mcp.subscriptions/listen', asked: undefined, subject, denied: false }
      const inner = [heard, { ...heard, subject: other }]
      expect(recorded('all', { body: listen, subject: server, inner })).toMatchObject([
        { action: 'mcp.subscriptions/listen', resource: { name: 'a' } },
        { action: 'mcp.subscriptions/listen', resource: { name: 'b' } },
      ])
      const answer = Buffer.from('{"id":1,"result":{}}')
      const actions = (given: object): string[] =>
        recorded('all', { body: answer, ...given }).map(({ action }) => action)
      expect(actions({ inner: [act] })).toEqual(['mcp.response'])
      expect(actions({ inner: [{ ...act, denied: true }] })).toEqual([
        'mcp.response',
        'mcp.tools/call',
      ])
    })
  })
})
