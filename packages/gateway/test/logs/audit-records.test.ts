import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { TestGateway, type Exchange } from '../fixtures/gateway.ts'
import { modern, modernRequest } from '../fixtures/mcp-requests.ts'

const folder = mkdtempSync(join(tmpdir(), 'mcpgw-records-'))
const program = fileURLToPath(new URL('../../dist/main.js', import.meta.url))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

interface AuditRecord {
  readonly type: string
  readonly action?: string
  readonly outcome?: string
  readonly code?: string
  readonly principal?: { readonly id: string; readonly method: string }
  readonly admin?: true
  readonly resource?: { readonly kind: string; readonly name: string; readonly uid?: string }
  readonly tool?: string
  readonly requestId?: string
  readonly client?: string
  readonly digest?: string
  readonly repeated?: number
}

let count = 0

/** A gateway with a log, and its records of a request. */
class AuditedGateway implements AsyncDisposable {
  readonly gateway: TestGateway
  readonly file: string

  private constructor(gateway: TestGateway, file: string) {
    this.gateway = gateway
    this.file = file
  }

  static async open(
    dataPlane: string,
    edge: object = {},
    images: object = {},
  ): Promise<AuditedGateway> {
    const file = join(folder, `${(count += 1)}.log`)
    const audit = { dataPlane, sinks: [{ type: 'file', path: file }] }
    return new AuditedGateway(await TestGateway.open({ edge, audit, runtime: { images } }), file)
  }

  records(): AuditRecord[] {
    return readFileSync(this.file, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as AuditRecord)
  }

  /** Sends a request and gives its records. */
  async recorded(
    send: (headers: Record<string, string>) => Promise<unknown>,
    wanted = 1,
  ): Promise<AuditRecord[]> {
    const id = `request-${(count += 1)}`
    await send({ 'x-request-id': id })
    const own = (): AuditRecord[] => this.records().filter(({ requestId }) => requestId === id)
    await expect.poll(() => own().length).toBe(wanted)
    return own()
  }

  /** Checks that a request left no record: the record of a later request is there. */
  async unrecorded(send: (headers: Record<string, string>) => Promise<unknown>): Promise<void> {
    const id = `request-${(count += 1)}`
    await send({ 'x-request-id': id })
    await this.recorded((headers) => this.api('DELETE', '/adapters/nothing-there', headers))
    expect(this.records().filter(({ requestId }) => requestId === id)).toEqual([])
  }

  api(
    method: string,
    path: string,
    headers: Record<string, string>,
    body?: object | string,
  ): Promise<Exchange> {
    const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json'
    const text = typeof body === 'string' ? body : JSON.stringify(body)
    return this.gateway.send(path, {
      method,
      headers: { ...headers, ...(body && { 'content-type': type }) },
      ...(body && { body: text }),
    })
  }

  /** Gives the header of an API key. */
  async credentials(): Promise<{ authorization: string }> {
    const { body } = await this.api('POST', '/api-keys', {}, { name: 'of the test' })
    return { authorization: `Bearer ${(JSON.parse(body.toString()) as { key: string }).key}` }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.gateway[Symbol.asyncDispose]()
  }
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')
const alice = { 'x-dev-userid': 'alice', 'x-dev-roles': 'mcp.engineer' }
const mallory = { 'x-dev-userid': 'mallory', 'x-dev-roles': 'nothing' }
const admin = { 'x-dev-userid': 'root', 'x-dev-roles': 'mcp.admin' }

describe('the control plane', () => {
  test('the control plane records who changed what, with a digest of the content', async () => {
    await using audited = await AuditedGateway.open('denied')
    const secret = 'hunter2-of-the-test'
    const body =
      '{"name": "one", "imageName": "scripted", "imageVersion": "1",' +
      ' "environmentVariables": {"MODE": "quiet"}}'
    const [created] = await audited.recorded((headers) =>
      audited.api('POST', '/adapters', { ...headers, ...alice }, body),
    )
    expect(created).toMatchObject({
      type: 'event',
      action: 'adapter.create',
      outcome: 'allowed',
      principal: { issuer: 'development', id: 'alice', name: 'alice', method: 'development' },
      resource: {
        kind: 'adapter',
        name: 'one',
        uid: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
      },
      client: '127.0.0.1',
      digest: sha256(body),
    })

    const { uid } = created?.resource ?? {}
    // A digest over known fields would let a reader guess a short secret.
    const secrets = { environmentVariables: { TOKEN: secret } }
    for (const given of [secrets, { credential: { header: 'X-Key', value: secret } }]) {
      const [record] = await audited.recorded((headers) =>
        audited.api('PATCH', '/adapters/one', { ...headers, ...alice }, given),
      )
      expect(record).not.toHaveProperty('digest')
    }
    const credential = { header: 'X-Key', value: secret }
    const calls: readonly [string, string, string, object?][] = [
      ['adapter.patch', 'PATCH', '/adapters/one', { credential }],
      [
        'adapter.replace',
        'PUT',
        '/adapters/one',
        { name: 'one', imageName: 'scripted', imageVersion: '2' },
      ],
      ['adapter.logs', 'GET', '/adapters/one/logs?tail=0'],
      ['adapter.transfer', 'PUT', '/adapters/one/owner', { id: 'alice' }],
      ['adapter.offer', 'PUT', '/adapters/one/offer', { id: 'bob' }],
      ['adapter.decline', 'DELETE', '/adapters/one/offer'],
      ['adapter.restart', 'POST', '/adapters/one/restart'],
      ['adapter.delete', 'DELETE', '/adapters/one'],
    ]
    for (const [action, method, path, given] of calls) {
      const [record] = await audited.recorded((headers) =>
        audited.api(method, path, { ...headers, ...alice }, given),
      )
      expect(record).toMatchObject({
        action,
        outcome: 'allowed',
        principal: { id: 'alice' },
        resource: { kind: 'adapter', name: 'one', uid },
      })
      expect(record).not.toHaveProperty('admin')
    }
    expect(readFileSync(audited.file, 'utf8')).not.toContain(secret)
  })

  test('the control plane records work for clients that leave, and broken bodies', async () => {
    await using audited = await AuditedGateway.open('denied')
    const { gateway } = audited
    const begin = (id: string, name: string, send: (length: number) => number): void => {
      const body = JSON.stringify({
        name,
        imageName: 'scripted',
        imageVersion: '1',
        replicaCount: 0,
      })
      const raw = gateway.connect()
      const head =
        `POST /adapters HTTP/1.1\r\nhost: localhost\r\nx-request-id: ${id}\r\n` +
        `content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`
      raw.socket.write(head + body.slice(0, send(body.length)), () => raw.socket.destroy())
    }
    const told = (id: string): unknown =>
      audited.records().find(({ requestId }) => requestId === id)
    const logged = (id: string) => gateway.log.filter(({ requestId }) => requestId === id)
    const names = Array.from({ length: 20 }, (_, index) => `gone-${index}`)
    for (const name of names) begin(name, name, (length) => length)
    for (const name of names) {
      await expect.poll(() => logged(name)).toHaveLength(1)
      const { status } = await gateway.send(`/adapters/${name}`, { method: 'GET' })
      // Each adapter that exists has its record, whatever the answer was.
      if (status === 200)
        await expect
          .poll(() => told(name))
          .toMatchObject({ action: 'adapter.create', outcome: 'allowed', resource: { name } })
      else
        await expect
          .poll(() => told(name))
          .toMatchObject({
            action: 'adapter.create',
            outcome: 'failed',
            code: 'client_closed_request',
          })
    }
    begin('half', 'half', (length) => length - 5)
    await expect
      .poll(() => told('half'))
      .toMatchObject({ action: 'adapter.create', outcome: 'failed', code: 'client_closed_request' })
    await expect
      .poll(() => logged('half'))
      .toMatchObject([{ status: 499, error: 'client_closed_request', path: '/adapters' }])
  })

  test('the control plane records refusals, hidden resources and failures', async () => {
    await using audited = await AuditedGateway.open('denied')
    const name = await audited.gateway.register({ requiredRoles: ['reader'] }, false)
    const reader = { 'x-dev-userid': 'reader', 'x-dev-roles': 'reader' }
    const hidden = await audited.recorded((headers) =>
      audited.api('GET', `/adapters/${name}`, { ...headers, ...mallory }),
    )
    expect(hidden).toMatchObject([
      {
        action: 'adapter.read',
        outcome: 'denied',
        code: 'not_found',
        principal: { id: 'mallory' },
        resource: { kind: 'adapter', name, uid: expect.any(String) as string },
      },
    ])
    for (const [action, method, path] of [
      ['adapter.delete', 'DELETE', `/adapters/${name}`],
      ['adapter.logs', 'GET', `/adapters/${name}/logs`],
    ] as const)
      expect(
        await audited.recorded((headers) => audited.api(method, path, { ...headers, ...reader })),
      ).toMatchObject([
        {
          action,
          outcome: 'denied',
          code: 'forbidden',
          principal: { id: 'reader' },
          resource: { name },
        },
      ])

    const taken = { name, imageName: 'scripted', imageVersion: '1' }
    expect(
      await audited.recorded((headers) =>
        audited.api('POST', '/adapters', { ...headers, ...alice }, taken),
      ),
    ).toMatchObject([
      {
        action: 'adapter.create',
        outcome: 'failed',
        code: 'name_taken',
        resource: { kind: 'adapter', name },
      },
    ])
    expect(
      await audited.recorded((headers) =>
        audited.api('DELETE', '/adapters/nothing', { ...headers, ...alice }),
      ),
    ).toMatchObject([
      {
        action: 'adapter.delete',
        outcome: 'failed',
        code: 'not_found',
        resource: { kind: 'adapter', name: 'nothing' },
      },
    ])

    await audited.unrecorded((headers) =>
      audited.api('GET', `/adapters/${name}`, { ...headers, ...reader }),
    )
    await audited.unrecorded((headers) =>
      audited.api('GET', '/adapters/nothing', { ...headers, ...reader }),
    )
  })

  test('the control plane records what administrators do or read of others', async () => {
    await using audited = await AuditedGateway.open('denied')
    const name = await audited.gateway.register({}, false)
    for (const path of [`/adapters/${name}`, `/adapters/${name}/status`])
      expect(
        await audited.recorded((headers) => audited.api('GET', path, { ...headers, ...admin })),
      ).toMatchObject([
        { outcome: 'allowed', admin: true, principal: { id: 'root' }, resource: { name } },
      ])
  })

  test('the control plane records uses of keys, and bad credentials by address', async () => {
    const audited = await AuditedGateway.open('all')
    try {
      const made = await audited.api('POST', '/api-keys', alice, { name: 'ci' })
      const { id, key } = JSON.parse(made.body.toString()) as { id: string; key: string }
      const used = await audited.recorded((headers) =>
        audited.api('DELETE', '/adapters/nothing', { ...headers, 'x-api-key': key }),
      )
      expect(used[0]?.principal).toMatchObject({ id: 'alice', method: `api-key ${id}` })
      expect(
        await audited.recorded((headers) =>
          audited.api('DELETE', `/api-keys/${id}`, { ...headers, ...alice }),
        ),
      ).toMatchObject([
        { action: 'api-key.revoke', outcome: 'allowed', resource: { kind: 'api-key', name: id } },
      ])
      expect(audited.records()).toContainEqual(
        expect.objectContaining({ action: 'api-key.create', outcome: 'allowed' }),
      )
      await expect
        .poll(async () => (await audited.api('GET', '/adapters', { 'x-api-key': key })).status)
        .toBe(401)

      for (let turn = 0; turn < 5; turn += 1) {
        await audited.api('GET', '/adapters', { 'x-api-key': key })
        await audited.gateway.send('/mcp', { headers: { 'x-api-key': key }, body: '{}' })
        await audited.gateway.send('/adapters', {
          method: 'GET',
          headers: { host: 'evil.example' },
        })
      }
      await audited[Symbol.asyncDispose]()
      const refused = audited
        .records()
        .filter(({ outcome, principal }) => outcome === 'denied' && principal === undefined)
      const told = (action: string) => refused.filter((record) => record.action === action)
      expect(told('mcp.request').map(({ code, repeated }) => [code, repeated])).toEqual([
        ['unauthenticated', undefined],
        ['unauthenticated', 4],
      ])
      expect(told('request').map(({ code, repeated }) => [code, repeated])).toEqual([
        ['host_not_allowed', undefined],
        ['host_not_allowed', 4],
      ])
      expect(told('adapter.list').map(({ code }) => code)).toEqual([
        'unauthenticated',
        'unauthenticated',
      ])
      expect(readFileSync(audited.file, 'utf8')).not.toContain(key)
    } finally {
      await audited[Symbol.asyncDispose]()
    }
  })
})

describe('the data plane', () => {
  const call = (tool: string, args: string): string =>
    `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":${JSON.stringify(tool)},` +
    `"arguments":${args}}}`
  const json = { 'content-type': 'application/json' }

  test('the data plane records every request with tool and digest when asked', async () => {
    await using audited = await AuditedGateway.open('all')
    const { gateway } = audited
    const name = await gateway.register()
    const send = (body: string) => (headers: Record<string, string>) =>
      gateway.mcp(name, '', { headers: { ...headers, ...json }, body })
    const args = '{"n":  9007199254740993, "secret": "of-the-call"}'
    expect(await audited.recorded(send(call('add\n{"forged":1}', args)))).toMatchObject([
      {
        action: 'mcp.tools/call',
        outcome: 'allowed',
        tool: 'add\n{"forged":1}',
        digest: sha256(args),
        principal: { id: 'dev' },
        resource: { kind: 'adapter', name },
        client: '127.0.0.1',
      },
    ])

    const opening = '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}'
    expect(await audited.recorded(send(opening))).toMatchObject([
      { action: 'mcp.session.open', digest: sha256(opening) },
    ])
    expect(
      await audited.recorded(send('{"jsonrpc":"2.0","method":"notifications/initialized"}')),
    ).toMatchObject([{ action: 'mcp.notifications/initialized' }])
    expect(await audited.recorded(send('no json'))).toMatchObject([
      { action: 'mcp.request', digest: sha256('no json') },
    ])
    expect(
      await audited.recorded(send(`[${call('one', '{}')},${call('two', '{"a":1}')}]`), 3),
    ).toMatchObject([
      { action: 'mcp.batch' },
      { action: 'mcp.tools/call', tool: 'one', digest: sha256('{}') },
      { action: 'mcp.tools/call', tool: 'two', digest: sha256('{"a":1}') },
    ])
    expect(
      await audited.recorded((headers) => gateway.mcp(name, '', { method: 'DELETE', headers })),
    ).toMatchObject([{ action: 'mcp.session.end' }])
    expect(
      await audited.recorded((headers) => gateway.mcp(name, 'do=exit', { headers, body: '{}' })),
    ).toMatchObject([{ outcome: 'failed', code: 'upstream_failed' }])
    expect(readFileSync(audited.file, 'utf8')).not.toContain('of-the-call')
  })

  test('the data plane always records refusals, and all that administrators do', async () => {
    await using audited = await AuditedGateway.open('denied')
    const { gateway } = audited
    const name = await gateway.register()
    const send =
      (more: Record<string, string>, target = name) =>
      (headers: Record<string, string>) =>
        gateway.mcp(target, '', {
          headers: { ...headers, ...json, ...more },
          body: call('t', '{}'),
        })
    await audited.unrecorded(send({}))
    await audited.unrecorded(send({}, 'nothing'))
    expect(await audited.recorded(send(mallory))).toMatchObject([
      {
        action: 'mcp.request',
        outcome: 'denied',
        code: 'not_found',
        principal: { id: 'mallory' },
        resource: { kind: 'adapter', name },
      },
    ])
    expect(await audited.recorded(send(admin))).toMatchObject([
      { action: 'mcp.tools/call', tool: 't', outcome: 'allowed', admin: true },
    ])

    const opened = await gateway.mcp(name, 'do=initialize', { headers: json, body: '{}' })
    const stolen = { ...admin, 'mcp-session-id': String(opened.headers['mcp-session-id']) }
    expect(await audited.recorded(send(stolen))).toMatchObject([
      {
        outcome: 'denied',
        code: 'session_not_found',
        principal: { id: 'root' },
        resource: { kind: 'session' },
      },
    ])
  })

  test('the data plane records the client’s address as trusted proxies report it', async () => {
    await using audited = await AuditedGateway.open('all', { trustedProxies: ['127.0.0.1/32'] })
    const { gateway } = audited
    const name = await gateway.register()
    // Development identity does not believe proxies. An API key counts behind proxies too.
    const from = { 'x-forwarded-for': '203.0.113.7' }
    const forwarded = { ...from, ...(await audited.credentials()) }
    const create = (headers: Record<string, string>) =>
      audited.api('DELETE', '/adapters/nothing', { ...headers, ...forwarded })
    expect(await audited.recorded(create)).toMatchObject([{ client: '203.0.113.7' }])

    const leave = async (headers: Record<string, string>): Promise<void> => {
      const gone = new AbortController()
      const stream = await gateway.start(
        `/adapters/${name}/mcp?do=stream`,
        { method: 'GET', headers: { ...headers, ...forwarded } },
        gone.signal,
      )
      stream.on('error', () => undefined)
      gone.abort()
    }
    expect(await audited.recorded(leave, 2)).toMatchObject([
      { action: 'mcp.stream.open', outcome: 'allowed', client: '203.0.113.7' },
      {
        action: 'mcp.stream',
        outcome: 'allowed',
        code: 'client_closed_request',
        client: '203.0.113.7',
      },
    ])

    await using untrusted = await AuditedGateway.open('all')
    const direct = { ...from, ...(await untrusted.credentials()) }
    const remove = (headers: Record<string, string>) =>
      untrusted.api('DELETE', '/adapters/nothing', { ...headers, ...direct })
    expect(await untrusted.recorded(remove)).toMatchObject([{ client: '127.0.0.1' }])
  })

  /** Opens a stream, gives its records while it is open, and then leaves. */
  async function whileOpen(
    audited: AuditedGateway,
    path: string,
    sending: Parameters<TestGateway['start']>[1],
  ): Promise<AuditRecord[]> {
    const gone = new AbortController()
    try {
      return await audited.recorded(async (headers) => {
        const given = { ...sending, headers: { ...headers, ...sending?.headers } }
        // A followed log answers at its first line, which may take long.
        const answer = audited.gateway.start(path, given, gone.signal)
        answer.then((open) => open.on('error', () => undefined).resume()).catch(() => undefined)
      })
    } finally {
      gone.abort()
    }
  }

  test('the data plane records a stream when it opens, as a killed one has no end', async () => {
    await using audited = await AuditedGateway.open('all')
    const name = await audited.gateway.register()
    const listen = modernRequest('subscriptions/listen', {
      notifications: { toolsListChanged: true },
    })
    const stream = `/adapters/${name}/mcp?do=stream`
    expect(await whileOpen(audited, stream, { method: 'GET' })).toMatchObject([
      {
        action: 'mcp.stream.open',
        outcome: 'allowed',
        principal: { id: 'dev' },
        resource: { kind: 'adapter', name },
      },
    ])
    expect(await whileOpen(audited, '/mcp', listen)).toMatchObject([
      { action: 'mcp.stream.open', outcome: 'allowed', principal: { id: 'dev' } },
    ])
    const logs = `/adapters/${name}/logs?follow=true`
    expect(await whileOpen(audited, logs, { method: 'GET' })).toMatchObject([
      { action: 'adapter.logs.open', outcome: 'allowed', resource: { kind: 'adapter', name } },
    ])
  })

  test('a refused or short stream has no record of its opening', async () => {
    await using audited = await AuditedGateway.open('all')
    const name = await audited.gateway.register()
    const get = (path: string, more = {}) =>
      audited.recorded((headers) => audited.api('GET', path, { ...headers, ...more }))

    expect(await get(`/adapters/${name}/mcp?do=stream`, mallory)).toMatchObject([
      { action: 'mcp.stream', outcome: 'denied' },
    ])
    expect(await get(`/adapters/${name}/logs?follow=true`, mallory)).toMatchObject([
      { action: 'adapter.logs', outcome: 'denied' },
    ])
    expect(await get(`/adapters/${name}/logs?follow=true&instance=9`)).toMatchObject([
      { action: 'adapter.logs', code: 'not_found' },
    ])
    expect(await get(`/adapters/${name}/logs`)).toMatchObject([
      { action: 'adapter.logs', outcome: 'allowed' },
    ])
  })

  test('audit.dataPlane decides on records of stream openings, except followed logs', async () => {
    await using audited = await AuditedGateway.open('denied')
    const name = await audited.gateway.register()
    const stream = `/adapters/${name}/mcp?do=stream`
    expect(await whileOpen(audited, stream, { method: 'GET', headers: admin })).toMatchObject([
      { action: 'mcp.stream.open', admin: true },
    ])
    const logs = `/adapters/${name}/logs?follow=true`
    expect(await whileOpen(audited, logs, { method: 'GET' })).toMatchObject([
      { action: 'adapter.logs.open' },
    ])
    const gone = new AbortController()
    const open = await audited.gateway.start(stream, { method: 'GET' }, gone.signal)
    open.on('error', () => undefined)
    gone.abort()
    await audited.recorded((headers) => audited.api('DELETE', '/adapters/nothing-there', headers))
    expect(audited.records().filter(({ action }) => action === 'mcp.stream.open')).toHaveLength(1)
  })

  test('the control plane has records when the data plane is to have none', async () => {
    await using audited = await AuditedGateway.open('off')
    const name = await audited.gateway.register({}, false)
    await audited.unrecorded((headers) =>
      audited.gateway.mcp(name, '', { headers: { ...headers, ...mallory }, body: '{}' }),
    )
  })

  test('the audit log records tool router calls and hidden refusals, for both eras', async () => {
    await using audited = await AuditedGateway.open('all')
    const { gateway } = audited
    const tool = {
      name: 'one',
      endpoint: 'http://127.0.0.1:1/',
      toolDefinition: { tool: { name: 'Tool-One' } },
    }
    expect((await audited.api('POST', '/tools', alice, tool)).status).toBe(201)

    const params = { name: 'Tool-One', arguments: { a: 1 } }
    await expect
      .poll(
        async () => (await modern(gateway, 'tools/call', params, { headers: alice })).message.error,
      )
      .toBeUndefined()

    const ask = (who: Record<string, string>) => (headers: Record<string, string>) =>
      modern(gateway, 'tools/call', params, { headers: { ...headers, ...who } })
    const resource = { kind: 'tool', name: 'one', uid: expect.any(String) as string }
    expect(await audited.recorded(ask(alice))).toMatchObject([
      {
        action: 'mcp.tools/call',
        tool: 'Tool-One',
        outcome: 'allowed',
        digest: sha256('{"a":1}'),
        resource,
      },
    ])
    expect(await audited.recorded(ask(mallory))).toMatchObject([
      {
        action: 'mcp.tools/call',
        tool: 'Tool-One',
        outcome: 'denied',
        code: 'not_found',
        principal: { id: 'mallory' },
        resource,
      },
    ])

    const unknown = { ...params, name: 'Tool-Two' }
    const missing = await audited.recorded((headers) =>
      modern(gateway, 'tools/call', unknown, { headers: { ...headers, ...mallory } }),
    )
    expect(missing).toMatchObject([
      { action: 'mcp.tools/call', tool: 'Tool-Two', outcome: 'allowed' },
    ])

    const post = (message: object, headers: Record<string, string>) =>
      gateway.send('/mcp', {
        headers: { ...json, ...mallory, accept: 'application/json, text/event-stream', ...headers },
        body: JSON.stringify({ jsonrpc: '2.0', ...message }),
      })
    const start = {
      protocolVersion: '2025-11-25',
      capabilities: {},
      clientInfo: { name: 'c', version: '1' },
    }
    const opened = await post({ id: 1, method: 'initialize', params: start }, {})
    const session = { 'mcp-session-id': String(opened.headers['mcp-session-id']) }
    await post({ method: 'notifications/initialized' }, session)
    const refused = await audited.recorded((headers) =>
      post({ id: 2, method: 'tools/call', params }, { ...session, ...headers }),
    )
    expect(refused).toMatchObject([
      {
        action: 'mcp.tools/call',
        tool: 'Tool-One',
        outcome: 'denied',
        principal: { id: 'mallory' },
        resource,
      },
    ])
  })

  test('the audit log records calls that tool rules refuse, translated or not', async () => {
    await using audited = await AuditedGateway.open('denied')
    const { gateway } = audited
    const toolRules = [
      { effect: 'deny', tools: 'drop_*' },
      { effect: 'allow', tools: '*' },
    ]
    const [passed, translated] = [
      await gateway.register({ toolRules }),
      await gateway.register({ toolRules, environmentVariables: { DO: 'legacy' } }),
    ]
    const send = (tool: string) => (headers: Record<string, string>) =>
      gateway.mcp(passed, '', { headers: { ...headers, ...json }, body: call(tool, '{}') })
    const refused = {
      action: 'mcp.tools/call',
      tool: 'drop_all',
      outcome: 'denied',
      code: 'not_found',
      principal: { id: 'dev' },
    }
    expect(await audited.recorded(send('drop_all'))).toMatchObject([
      { ...refused, resource: { kind: 'adapter', name: passed } },
    ])

    await audited.unrecorded(send('keep_all'))
    const { headers: modernHeaders, body } = modernRequest('tools/call', {
      name: 'drop_all',
      arguments: {},
    })
    const ask = (headers: Record<string, string>) =>
      gateway.mcp(translated, '', { headers: { ...headers, ...modernHeaders }, body })
    expect(await audited.recorded(ask)).toMatchObject([
      { ...refused, resource: { kind: 'adapter', name: translated } },
    ])
  })

  test.each(['legacy', 'modern'])(
    'the audit log records calls refused by hints of a server of the era %s',
    async (speaks) => {
      const server = fileURLToPath(new URL('../fixtures/listing-server.js', import.meta.url))
      const events = join(folder, `${(count += 1)}.events`)
      await using audited = await AuditedGateway.open(
        'denied',
        {},
        { listing: { command: [process.execPath, server, events] } },
      )
      const { gateway } = audited
      const toolRules = [{ effect: 'allow', tools: '*', annotations: { readOnlyHint: true } }]
      const environmentVariables = { SPEAKS: speaks, TAG: 'x' }
      const name = await gateway.register({ imageName: 'listing', toolRules, environmentVariables })
      const refused = {
        action: 'mcp.tools/call',
        tool: 'delete_all',
        outcome: 'denied',
        code: 'not_found',
        resource: { kind: 'adapter', name },
      }
      const calling = (tool: string) => modernRequest('tools/call', { name: tool, arguments: {} })
      const modernly = (tool: string) => (headers: Record<string, string>) =>
        gateway.mcp(name, '', {
          headers: { ...headers, ...calling(tool).headers },
          body: calling(tool).body,
        })
      expect(await audited.recorded(modernly('delete_all'))).toMatchObject([refused])

      await audited.unrecorded(modernly('get_time'))
      const params = {
        protocolVersion: '2025-06-18',
        capabilities: {},
        clientInfo: { name: 'test', version: '1' },
      }
      const initialize = JSON.stringify({ jsonrpc: '2.0', id: 0, method: 'initialize', params })
      const opened = await gateway.mcp(name, '', {
        headers: { ...json, accept: 'application/json, text/event-stream' },
        body: initialize,
      })
      const session = {
        ...json,
        accept: 'application/json, text/event-stream',
        'mcp-session-id': String(opened.headers['mcp-session-id']),
      }
      const legacily = (tool: string) => (headers: Record<string, string>) =>
        gateway.mcp(name, '', { headers: { ...headers, ...session }, body: call(tool, '{}') })
      await gateway.mcp(name, '', {
        headers: session,
        body: '{"jsonrpc":"2.0","method":"notifications/initialized"}',
      })
      expect(await audited.recorded(legacily('delete_all'))).toMatchObject([refused])

      await audited.unrecorded(legacily('get_time'))
    },
  )

  test('audit records change no byte of a modern answer', async () => {
    await using all = await AuditedGateway.open('all')
    await using off = await AuditedGateway.open('off')
    const { headers, body } = modernRequest('tools/call', { name: 'nothing' })
    const [one, two] = await Promise.all(
      [all, off].map(({ gateway }) =>
        gateway.send('/mcp', { headers: { ...headers, 'x-request-id': 'same' }, body }),
      ),
    )
    expect([one?.status, one?.body.toString()]).toEqual([two?.status, two?.body.toString()])
  })
})

describe('mcp-gateway audit verify', () => {
  const verify = (...args: string[]): Promise<{ code: number; out: string }> =>
    new Promise((resolve) =>
      execFile(process.execPath, [program, 'audit', 'verify', ...args], (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code), out: stdout + stderr }),
      ),
    )

  test('mcp-gateway audit verify says where a log is out of order', async () => {
    const audited = await AuditedGateway.open('denied')
    await audited.gateway.register({}, false)
    await audited[Symbol.asyncDispose]()
    const good = await verify(audited.file)
    expect(good).toMatchObject({
      code: 0,
      out: expect.stringMatching(/3 records in 1 file, 1 to 3[\s\S]*The log is in order/) as string,
    })
    const hash = /hash ([0-9a-f]{64})/.exec(good.out)?.[1] ?? ''
    expect(await verify(audited.file, '--head', hash)).toMatchObject({ code: 0 })
    writeFileSync(audited.file, readFileSync(audited.file, 'utf8').replace('"allowed"', '"denied"'))
    expect(await verify(audited.file)).toMatchObject({
      code: 1,
      out: expect.stringMatching(/FAULT .*:2: was changed[\s\S]*not in order/) as string,
    })
    expect(await verify(join(folder, 'nothing.log'))).toMatchObject({
      code: 1,
      out: expect.stringContaining('There is no log') as string,
    })
    expect(await verify()).toMatchObject({ code: 2 })
  })
})
