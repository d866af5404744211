import { describe, expect, test } from 'vitest'
import {
  classify,
  decodeHeaderValue,
  encodeHeaderValue,
  metaKey,
  statusOf,
  type EraHeaders,
} from './modern.ts'
import { DuplicateMember } from './json/raw-object.ts'
import { paramHeaderMistake, paramHeaders } from './translate/param-headers.ts'

const envelope =
  `"_meta":{"${metaKey.protocolVersion}":"2026-07-28",` + `"${metaKey.clientCapabilities}":{}}`
const call = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"work",${envelope}}}`
const headers: EraHeaders = {
  'mcp-protocol-version': '2026-07-28',
  'mcp-method': 'tools/call',
  'mcp-name': 'work',
}

describe('a POST', () => {
  test.each([
    ['no claim and no header', '{"jsonrpc":"2.0","id":1,"method":"tools/list"}', {}],
    [
      'initialize',
      '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2026-07-28"}}',
      {},
    ],
    ['an answer', '{"jsonrpc":"2.0","id":1,"result":{}}', { 'mcp-protocol-version': '2025-11-25' }],
    [
      'a batch',
      '[{"jsonrpc":"2.0","id":1,"method":"ping"}]',
      { 'mcp-protocol-version': '2025-03-26' },
    ],
    [
      'a version that is no date',
      '{"jsonrpc":"2.0","id":1,"method":"ping"}',
      { 'mcp-protocol-version': 'next' },
    ],
  ])('a POST with %s is legacy', (_what, body, given) =>
    expect(classify(body, given)).toEqual({ era: 'legacy' }),
  )

  test('a POST is modern when its body says so and its headers agree', () => {
    const classified = classify(call, { ...headers, 'mcp-session-id': 'ignored' })
    expect(classified).toMatchObject({ era: 'modern', request: { id: '1', method: 'tools/call' } })
    expect(
      classify(call.replace('tools/call"', 'initialize"'), {
        ...headers,
        'mcp-method': 'initialize',
      }),
    ).toMatchObject({
      request: { method: 'initialize' },
    })
    expect(classify('{"jsonrpc":"2.0","method":"notifications/x"}', headers)).toEqual({
      era: 'modern',
      request: undefined,
    })
  })

  test.each<[string, string, EraHeaders, number, string]>([
    [
      'a header without a claim',
      '{"id":1,"method":"tools/list","params":{}}',
      headers,
      -32602,
      `_meta lacks ${metaKey.protocolVersion} and`,
    ],
    ['a batch', `[${call}]`, headers, -32600, 'one JSON-RPC request'],
    ['an answer', '{"id":1,"result":{}}', headers, -32600, 'answers travel in a retry'],
    ['an id that is null', call.replace('"id":1', '"id":null'), headers, -32600, 'The id must be'],
    [
      'an id that is an object',
      call.replace('"id":1', '"id":{}'),
      headers,
      -32600,
      'The id must be',
    ],
    [
      'no capabilities',
      call.replace(`,"${metaKey.clientCapabilities}":{}`, ''),
      headers,
      -32602,
      `lacks ${metaKey.clientCapabilities}.`,
    ],
    [
      'capabilities that are a list',
      call.replace(`Capabilities":{}`, `Capabilities":[]`),
      headers,
      -32602,
      'must be an object',
    ],
    [
      'a version that is a number',
      call.replace('"2026-07-28"', '2026'),
      headers,
      -32602,
      'must be a string',
    ],
    [
      'a log level that is none',
      call.replace('{}}}}', `{},"${metaKey.logLevel}":"loud"}}}`),
      headers,
      -32602,
      'is no log level',
    ],
    [
      'no version header',
      call,
      { ...headers, 'mcp-protocol-version': undefined },
      -32020,
      'MCP-Protocol-Version is required',
    ],
    [
      'another version in the header',
      call,
      { ...headers, 'mcp-protocol-version': '2025-11-25' },
      -32020,
      'different versions',
    ],
    [
      'the version header twice',
      call,
      { ...headers, 'mcp-protocol-version': ['2026-07-28', '2026-07-28'] },
      -32020,
      'different versions',
    ],
    [
      'no method header',
      call,
      { ...headers, 'mcp-method': undefined },
      -32020,
      'Mcp-Method is required',
    ],
    [
      'another method in the header',
      call,
      { ...headers, 'mcp-method': 'tools/list' },
      -32020,
      'different methods',
    ],
    ['no name header', call, { ...headers, 'mcp-name': undefined }, -32020, 'Mcp-Name is required'],
    [
      'another name in the header',
      call,
      { ...headers, 'mcp-name': 'play' },
      -32020,
      'params.name differ',
    ],
    [
      'a name in broken base64',
      call,
      { ...headers, 'mcp-name': '=?base64?d29y*?=' },
      -32020,
      'params.name differ',
    ],
  ])('a POST with %s is refused', (_what, body, given, code, message) => {
    const classified = classify(body, given)
    expect(classified).toMatchObject({ era: 'modern', refusal: { status: 400, code } })
    expect('refusal' in classified && classified.refusal.message).toContain(message)
  })

  test('the refusal of another version names the versions', () => {
    expect(
      classify(call.replace('2026-07-28', '2027-01-01'), {
        ...headers,
        'mcp-protocol-version': '2027-01-01',
      }),
    ).toEqual({
      era: 'modern',
      id: '1',
      refusal: {
        status: 400,
        code: -32022,
        message: 'The protocol version 2027-01-01 is not supported.',
        data: { supported: ['2026-07-28'], requested: '2027-01-01' },
      },
    })
  })

  test.each([
    call.replace('"id":1', '"id":1,"id":2'),
    call.replace('"name":"work"', '"name":"work","name":"other"'),
    call.replace('"method"', '"\\u006dethod":"x","method"'),
    call.replace(
      `"${metaKey.clientCapabilities}"`,
      `"${metaKey.clientCapabilities}":{},"${metaKey.clientCapabilities}"`,
    ),
  ])('a POST in which a decisive member stands twice is refused: %s', (body) =>
    expect(() => classify(body, headers)).toThrow(DuplicateMember),
  )
})

describe('a header value', () => {
  test.each([
    ['plain text', 'plain text'],
    ['', '=?base64??='],
    [' edge', '=?base64?IGVkZ2U=?='],
    ['é', '=?base64?w6k=?='],
    ['\ufeffa', '=?base64?77u/YQ==?='],
    ['=?base64?w6k=?=', '=?base64?PT9iYXNlNjQ/dzZrPT89?='],
    ['a\nb', '=?base64?YQpi?='],
  ])('the header value for %j is %j, and back', (text, value) =>
    expect([encodeHeaderValue(text), decodeHeaderValue(value)]).toEqual([value, text]),
  )

  test('a header value that holds no UTF-8 stands for nothing', () =>
    expect(decodeHeaderValue('=?base64?/w==?=')).toBeUndefined())
})

describe('the headers of a tool call', () => {
  const declared = [
    { header: 'mcp-param-region', path: ['region'] },
    { header: 'mcp-param-size', path: ['options', 'size'] },
    { header: 'mcp-param-on', path: ['on'] },
  ]

  test('headers repeat the declared arguments, except null and missing ones', () => {
    expect(paramHeaders(declared, '{"region":"é","options":{"size":5.0},"on":false}')).toEqual({
      'mcp-param-region': '=?base64?w6k=?=',
      'mcp-param-size': '5',
      'mcp-param-on': 'false',
    })
    expect(paramHeaders(declared, '{"region":null,"options":[],"on":{"x":1}}')).toEqual({})
    expect(paramHeaders(declared, undefined)).toEqual({})
  })

  test.each<[string, Record<string, string>, string | undefined]>([
    ['{"region":"eu"}', { 'mcp-param-region': 'eu', 'mcp-param-other': 'x' }, undefined],
    ['{"region":"é"}', { 'mcp-param-region': '=?base64?w6k=?=' }, undefined],
    ['{"options":{"size":5}}', { 'mcp-param-size': '5.0' }, undefined],
    [
      '{"region":"eu"}',
      {},
      'the header mcp-param-region is required, as the argument region is given.',
    ],
    [
      '{"region":"eu"}',
      { 'mcp-param-region': 'us' },
      'the header mcp-param-region and the argument region differ.',
    ],
    [
      '{"region":""}',
      { 'mcp-param-region': '0' },
      'the header mcp-param-region and the argument region differ.',
    ],
    [
      '{}',
      { 'mcp-param-size': '5' },
      'the header mcp-param-size is given, but the argument options.size is not.',
    ],
  ])('arguments %s and headers %j give %s', (args, given, mistake) =>
    expect(paramHeaderMistake(declared, args, (name) => given[name])).toBe(mistake),
  )
})

test.each([
  [undefined, 200],
  [-32601, 404],
  [-32602, 200],
  [-32020, 400],
  [-32021, 400],
  [-32022, 400],
  [-32603, 200],
])('the error %s has the HTTP status %i', (code, status) => expect(statusOf(code)).toBe(status))
