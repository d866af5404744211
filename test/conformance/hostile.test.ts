import { spawn, type ChildProcess } from 'node:child_process'
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio'
import { FixtureProcess, stdioFixtures, type Probe } from '@mcp-gateway/testkit'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'

/** The hostile fixtures break exactly the rules that they name. The tests look at the bytes. */
const callOf = (name: string, args: object = {}, id = '5'): string =>
  `{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":{"name":"${name}",` +
  `"arguments":${JSON.stringify(args)},"_meta":{"progressToken":"p"}}}`
const initialize =
  '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",' +
  '"capabilities":{},"clientInfo":{"name":"t","version":"1"}}}'
const modernMeta = {
  'io.modelcontextprotocol/protocolVersion': '2026-07-28',
  'io.modelcontextprotocol/clientCapabilities': {},
}

/** The bytes of each behaviour, instead of or beside its answer; the same over both bindings. */
const behaviours = [
  ['wrong_id', [/"id":"not yours","result"/]],
  ['id_as_other_type', [/"id":"5","result"/]],
  ['no_id', [/^(?!.*"id").*"result"/]],
  ['null_id_error', [/"id":null,"error"/]],
  ['result_and_error', [/"result":\{\},"error"/]],
  ['neither', [/\{"jsonrpc":"2.0","id":5\}/]],
  ['wrong_version', [/"jsonrpc":"1.0","id":5/]],
  ['duplicate_keys', [/"id":"not yours","id":5,"result":\{\},"result"/]],
  ['odd_error', [/"error":"it broke"/]],
  ['null_result', [/"id":5,"result":null/]],
  ['batch', [/\[\{"jsonrpc":"2.0","id":5.*\]/]],
  ['unknown_result_type', [/"resultType":"surprise"/]],
  ['duplicate_answer', [/"id":5.*first/, /"id":5.*second/]],
  ['not_json', [/<html>busy/, /"id":5/]],
  ['json_but_no_message', [/\b42\b/, /"id":5/]],
  ['truncated_json', [/notifications\/mess$/, /"id":5/]],
  ['numbers', [/"big":12345678901234567890,"one":1\.0,"small":1e-7/]],
  ['lone_surrogate', [/\\ud800 alone/]],
  ['prototype_keys', [/"__proto__":\{"polluted":true\}/]],
  ['ask_without_params', [/"method":"elicitation\/create"\}/, /"id":5/]],
  ['cancel_the_call', [/notifications\/cancelled.*"requestId":5/, /"id":5/]],
  ['foreign_progress', [/"progressToken":"not yours"/, /"id":5/]],
  [
    'wild_progress',
    [
      /"progress":3/,
      /"progress":1,/,
      /"progress":-1/,
      /"progress":1e\+308/,
      /"id":5/,
      /"progress":2/,
    ],
  ],
  ['nothing_required', [/"result":\{"resultType":"input_required"\}/]],
  ['odd_question_keys', [/"inputRequests":\{"":.*"__proto__":/]],
] as const satisfies readonly (readonly [string, readonly RegExp[]])[]

/** The faults of a subscription stream: `{id}` stands for the id of its request. */
const listeners = [
  ['properly', [/acknowledged.*subscriptionId":5/, /tools\/list_changed.*:5/]],
  ['unacknowledged', [/tools\/list_changed/]],
  [
    'others',
    [
      /acknowledged.*"not yours"/,
      /acknowledged.*:5/,
      /list_changed.*"not yours"/,
      /list_changed","params":\{\}/,
    ],
  ],
  ['unasked', [/"notifications":\{\}/, /tools\/list_changed/, /"uri":"hostile:\/\/another"/]],
  ['ends', [/acknowledged/, /"id":5,"result"/]],
  ['refuses', [/"id":5,"error"/]],
  ['breaks', [/acknowledged/]],
] as const satisfies readonly (readonly [string, readonly RegExp[]])[]
const listenOf = (name: string): string =>
  JSON.stringify({
    jsonrpc: '2.0',
    id: 5,
    method: 'subscriptions/listen',
    params: {
      _meta: modernMeta,
      notifications: { toolsListChanged: true, resourceSubscriptions: [`hostile://${name}`] },
    },
  })
const discover = JSON.stringify({
  jsonrpc: '2.0',
  id: 'probe',
  method: 'server/discover',
  params: { _meta: modernMeta },
})

const probes = [
  ['uninitialized', 400, /"id":null,"error":\{"code":-32000/],
  ['unknown_method', 200, /"id":"probe","error":\{"code":-32601/],
  ['invalid_params', 200, /"id":"probe","error":\{"code":-32602/],
  ['missing_session', 400, /"id":"server-error","error":\{"code":-32600/],
  ['legacy_versions', 400, /"code":-32022.*"supported":\["2025-11-25","2025-06-18"\]/],
  ['later_versions', 400, /"code":-32022.*"supported":\["2027-06-30"\]/],
  ['exception', 400, /^\{"cause":null/],
  ['page', 404, /^<!DOCTYPE html>/],
  ['no_versions', 200, /"id":"probe","result":(?!.*supportedVersions)/],
  ['unauthorized', 401, /"unauthorized"/],
  ['unavailable', 503, /upstream connect error/],
] as const satisfies readonly (readonly [Probe, number, RegExp])[]
/** These answers tell a careful listener that the server is of the legacy era. */
const legacyProbes = [
  'uninitialized',
  'unknown_method',
  'invalid_params',
  'missing_session',
  'legacy_versions',
  'page',
] as const

describe('over HTTP', () => {
  let fixture: FixtureProcess
  let session = ''
  beforeAll(async () => {
    fixture = await FixtureProcess.hostile()
    const response = await post(initialize)
    session = response.headers.get('mcp-session-id') ?? ''
  })
  afterAll(() => fixture[Symbol.asyncDispose]())

  const post = (body: string): Promise<Response> =>
    fetch(fixture.url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
        ...(session && { 'mcp-session-id': session }),
      },
      body,
    })
  const call = async (name: string, args: object = {}, id?: string): Promise<string> =>
    (await post(callOf(name, args, id))).text()

  test('a session id has every visible character in it', () => {
    for (let code = 0x21; code <= 0x7e; code += 1)
      expect(session).toContain(String.fromCharCode(code))
  })

  test.each(behaviours)('the probe %s gives the documented answer', async (name, expected) => {
    const messages = (await call(name)).split('\n\n').map((event) => event.replace(/^data: /, ''))
    expect(messages.slice(0, expected.length)).toEqual(
      expected.map((pattern) => expect.stringMatching(pattern)),
    )
    expect(messages.slice(expected.length).join('')).toBe('')
  })

  test('ids come back as they were written', async () => {
    for (const id of ['0', '""', '"a\\u0000b"', '12345678901234567890', '-1', '1.0', '1e3'])
      expect(await call('echo', {}, id)).toContain(`"id":${id},"result"`)
  })

  test('bytes that are no UTF-8 arrive as they are', async () => {
    const bytes = Buffer.from(await (await post(callOf('bad_utf8'))).arrayBuffer())
    expect(bytes.includes(Buffer.from([0xc3, 0x28, 0xff]))).toBe(true)
    expect(() => new TextDecoder('utf-8', { fatal: true }).decode(bytes)).toThrow()
  })

  test('a stream cut at every byte is the same stream', async () => {
    const piecesOf = async (): Promise<number> => {
      const response = await post(callOf('echo', { framing: 'bytes', message: 'é🦊' }))
      const received: Buffer[] = []
      for await (const chunk of response.body ?? []) received.push(Buffer.from(chunk as Uint8Array))
      expect(Buffer.concat(received).toString()).toMatch(/^data: \{.*é🦊.*\}\n\n$/)
      return received.length
    }
    // A late reader gets many of them at once.
    await expect.poll(piecesOf).toBeGreaterThan(20)
  })

  test.each([
    ['crlf', /^event: message\r\ndata: .*\r\n\r\n$/],
    ['cr', /^event: message\rdata: .*\r\r$/],
    ['lines', /^data:\{"jsonrpc":"2.0",\ndata:"id":5,\ndata:"result"/],
    ['extras', /^\uFEFF: a comment\n.*\nretry: soon\ndata\n\nevent: message\ndata: \{/s],
    ['named', /^event: surprise\ndata: \{/],
  ] as const)('events framed as %s are read', async (framing, expected) => {
    const bytes = await (await post(callOf('echo', { framing }))).arrayBuffer()
    expect(new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes)).toMatch(expected)
  })

  test('an answer in another content type or status arrives as it is', async () => {
    const response = await post(
      callOf('echo', { json: true, contentType: 'text/html', status: 203 }),
    )
    expect([response.status, response.headers.get('content-type')]).toEqual([203, 'text/html'])
    expect(JSON.parse(await response.text())).toMatchObject({ id: 5 })
  })

  test('a stream that closes early gives the rest on a GET with its event id', async () => {
    const early = await call('echo', { retry: 10 })
    const event = /^id: (\S+)\nretry: 10\ndata: \n\n$/.exec(early)?.[1] ?? ''
    expect(event).not.toBe('')
    const later = await fetch(fixture.url, {
      headers: { accept: 'text/event-stream', 'mcp-session-id': session, 'last-event-id': event },
    })
    expect(await later.text()).toMatch(/"id":5/)
  })

  test('questions with odd ids wait for their answers', async () => {
    const response = await post(callOf('ask'))
    let seen = ''
    for await (const chunk of response.body ?? []) {
      const part = Buffer.from(chunk as Uint8Array).toString()
      seen += part
      const id = /"id":([^,]+),"method":"elicitation\/create"/.exec(part)?.[1]
      if (id !== undefined)
        expect(
          (await post(`{"jsonrpc":"2.0","id":${id},"result":{"action":"decline"}}`)).status,
        ).toBe(202)
    }
    expect([...seen.matchAll(/"id":([^,]+),"method"/g)].map(([, id]) => id)).toEqual([
      '0',
      '""',
      '12345678901234567890',
    ])
    expect(seen.match(/\\"action\\":\\"decline\\"/g)).toHaveLength(3)
  })

  test('a question on the GET stream of the session is answered', async () => {
    const stop = new AbortController()
    const stream = await fetch(fixture.url, {
      headers: { accept: 'text/event-stream', 'mcp-session-id': session },
      signal: stop.signal,
    })
    const answer = call('ask', { on: 'get', ids: ['0'] })
    const reader = stream.body?.getReader()
    expect(Buffer.from((await reader?.read())?.value ?? []).toString()).toContain(
      '"id":0,"method":"elicitation/create"',
    )
    await post('{"jsonrpc":"2.0","id":0,"result":{"action":"cancel"}}')
    expect(await answer).toContain('cancel')
    stop.abort()
  })

  test('connections break, and answers never come, as the behaviour says', async () => {
    await expect(call('cut')).rejects.toThrow()
    await expect(call('cut_inside')).rejects.toThrow()
    await expect(call('cut_after_notification')).rejects.toThrow()
    expect(await call('end_without_answer')).toBe('')
    await expect(
      fetch(fixture.url, {
        method: 'POST',
        body: callOf('never'),
        signal: AbortSignal.timeout(200),
      }),
    ).rejects.toThrow()
  })

  test('a server sends much: notifications, size, depth, and no end', async () => {
    expect(
      (await call('flood', { count: 500, bytes: 10 })).match(/notifications\/message/g),
    ).toHaveLength(500)
    expect((await call('big', { bytes: 100_000 })).length).toBeGreaterThan(100_000)
    expect(await call('deep', { depth: 5000 })).toContain('['.repeat(5000))
    const endless = await post(callOf('endless', { bytes: 10_000_000 }))
    let size = 0
    for await (const chunk of endless.body ?? [])
      if ((size += (chunk as Uint8Array).length) > 1_000_000) break
    expect(size).toBeGreaterThan(1_000_000)
  })

  test.each(['legacy', { pin: '2026-07-28' }] as const)(
    'a client of either era can connect and call (%o)',
    async (mode) => {
      const client = new Client({ name: 't', version: '1' }, { versionNegotiation: { mode } })
      await client.connect(new StreamableHTTPClientTransport(new URL(fixture.url)))
      expect((await client.listTools()).tools.length).toBeGreaterThan(40)
      expect(await client.callTool({ name: 'echo', arguments: { a: 1 } })).toMatchObject({
        content: [{ text: '{"a":1}' }],
      })
      await client.close()
    },
  )

  test.each(listeners)('a listener that wants %s is served', async (name, expected) => {
    const response = await post(listenOf(name))
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
    let seen = ''
    while (seen.split('\n\n').length <= expected.length) {
      const part = await reader?.read().catch(() => undefined)
      if (part?.value === undefined) break
      seen += part.value
    }
    expect(seen.split('\n\n').slice(0, -1)).toEqual(
      expected.map((pattern) => expect.stringMatching(pattern)),
    )
    await reader?.cancel().catch(() => undefined)
  })

  test.each(probes)('a probe answer of %s shows the era', async (probe, status, body) => {
    const odd = await FixtureProcess.hostile(probe)
    try {
      const response = await fetch(odd.url, { method: 'POST', body: discover })
      expect([response.status, await response.text()]).toEqual([
        status,
        expect.stringMatching(body),
      ])
      expect(
        (await fetch(odd.url, { method: 'POST', body: initialize })).headers.has('mcp-session-id'),
      ).toBe(true)
    } finally {
      await odd[Symbol.asyncDispose]()
    }
  })

  test('a server has nothing for legacy clients', async () => {
    const odd = await FixtureProcess.hostile('modern_only')
    const client = new Client({ name: 't', version: '1' }, { versionNegotiation: { mode: 'auto' } })
    try {
      for (const body of [initialize, callOf('echo')]) {
        const response = await fetch(odd.url, { method: 'POST', body })
        expect([response.status, await response.json()]).toMatchObject([
          400,
          { error: { code: -32022, data: { supported: ['2026-07-28'] } } },
        ])
      }
      await client.connect(new StreamableHTTPClientTransport(new URL(odd.url)))
      expect(client.getProtocolEra()).toBe('modern')
    } finally {
      await client.close()
      await odd[Symbol.asyncDispose]()
    }
  })

  test('a server is silent when it is probed', async () => {
    const odd = await FixtureProcess.hostile('silent')
    try {
      await expect(
        fetch(odd.url, { method: 'POST', body: discover, signal: AbortSignal.timeout(200) }),
      ).rejects.toThrow()
      expect((await fetch(odd.url, { method: 'POST', body: initialize })).status).toBe(200)
    } finally {
      await odd[Symbol.asyncDispose]()
    }
  })

  test.each(legacyProbes)(
    'an official client that probes takes %s for a legacy server',
    async (probe) => {
      const odd = await FixtureProcess.hostile(probe)
      const client = new Client(
        { name: 't', version: '1' },
        { versionNegotiation: { mode: 'auto' } },
      )
      try {
        await client.connect(new StreamableHTTPClientTransport(new URL(odd.url)))
        expect(client.getProtocolEra()).toBe('legacy')
        expect(await client.callTool({ name: 'echo', arguments: { a: 1 } })).toMatchObject({
          content: [{ text: '{"a":1}' }],
        })
      } finally {
        await client.close()
        await odd[Symbol.asyncDispose]()
      }
    },
  )

  test('a modern client gets errors with the status of their kind', async () => {
    const body = JSON.stringify({
      jsonrpc: '2.0',
      id: 1,
      method: 'none',
      params: { _meta: modernMeta },
    })
    expect((await post(body)).status).toBe(404)
  })
})

describe('over stdio', () => {
  let child: ChildProcess
  let output = Buffer.alloc(0)
  beforeEach(() => {
    const [command = '', ...args] = stdioFixtures.hostile()
    output = Buffer.alloc(0)
    child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] })
    child.stdout?.on('data', (chunk: Buffer) => (output = Buffer.concat([output, chunk])))
  })
  afterEach(() => void child.kill('SIGKILL'))

  const send = (line: string): void => void child.stdin?.write(`${line}\n`)
  /** Gives the output for a call, up to the answer of a later ping. */
  const outputOf = async (
    name: string,
    args: object = {},
    until = '"id":"pong"',
  ): Promise<string> => {
    send(callOf(name, args))
    await expect.poll(() => output.length).toBeGreaterThan(0)
    send('{"jsonrpc":"2.0","id":"pong","method":"ping"}')
    await expect.poll(() => output.toString()).toContain(until)
    return output.toString()
  }

  test('every behaviour looks as it does over HTTP', async () => {
    for (const [name, expected] of behaviours) {
      output = Buffer.alloc(0)
      const lines = (await outputOf(name)).split('\n')
      expect([name, ...lines.slice(0, expected.length)]).toEqual([
        name,
        ...expected.map((pattern) => expect.stringMatching(pattern)),
      ])
    }
  })

  test.each([
    ['crlf', /\{.*\}\r\n/],
    ['blank', /^\n\n \n\{.*\}\n\n/],
    ['noise', /^Listening…\n.*\n\{.*\}\nDone\.\n/],
    ['glued', /\}\{"jsonrpc"/],
    ['bytes', /^\{.*"id":5.*\}\n/],
  ] as const)('lines framed as %s are read', async (framing, expected) => {
    expect(await outputOf('echo', { framing })).toMatch(expected)
  })

  test('questions with odd ids wait for their answers', async () => {
    send(callOf('ask'))
    for (const id of ['0', '""', '12345678901234567890']) {
      await expect
        .poll(() => output.toString())
        .toContain(`"id":${id},"method":"elicitation/create"`)
      send(`{"jsonrpc":"2.0","id":${id},"result":{"action":"decline"}}`)
    }
    await expect.poll(() => output.toString()).toMatch(/"id":5,"result".*decline/)
  })

  test('every listener looks as it does over HTTP', async () => {
    for (const [name, expected] of listeners) {
      if (name === 'breaks') continue
      output = Buffer.alloc(0)
      send(listenOf(name))
      const lines = (): string[] => output.toString().split('\n').slice(0, -1)
      await expect.poll(lines).toEqual(expected.map((pattern) => expect.stringMatching(pattern)))
    }
  })

  test.each(probes)(
    'a probe answer of %s over stdio shows the era',
    async (probe, _status, body) => {
      const [command = '', ...args] = stdioFixtures.hostile(probe)
      const odd = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] })
      try {
        let said = ''
        odd.stdout.setEncoding('utf8').on('data', (text: string) => (said += text))
        odd.stdin.write(`${discover}\n`)
        await expect.poll(() => said).toMatch(body)
        odd.stdin.write(`${initialize}\n`)
        await expect.poll(() => said).toContain('"protocolVersion":"2025-11-25"')
      } finally {
        odd.kill('SIGKILL')
      }
    },
  )

  test('a process ends inside a message', async () => {
    const exit = new Promise<number | null>((resolve) => child.once('exit', resolve))
    send(callOf('cut_inside'))
    expect(await exit).toBe(1)
    expect(output.toString()).toBe('{"jsonrpc":"2.0","id":5,"resu')
  })

  test.each(['legacy', { pin: '2026-07-28' }] as const)(
    'a client of either era can connect and call (%o)',
    async (mode) => {
      const [command = '', ...args] = stdioFixtures.hostile()
      const client = new Client({ name: 't', version: '1' }, { versionNegotiation: { mode } })
      await client.connect(new StdioClientTransport({ command, args }))
      expect(await client.callTool({ name: 'echo', arguments: { a: 1 } })).toMatchObject({
        content: [{ text: '{"a":1}' }],
      })
      await client.close()
    },
  )
})
