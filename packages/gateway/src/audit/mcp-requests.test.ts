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
})
