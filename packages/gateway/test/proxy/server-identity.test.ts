import { randomUUID } from 'node:crypto'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestGateway, valuesOf } from '../fixtures/gateway.ts'
import { modern, modernRequest } from '../fixtures/mcp-requests.ts'

const root = fileURLToPath(new URL('../../../..', import.meta.url))

const secretFile = join(mkdtempSync(join(tmpdir(), 'mcpgw-credential-')), 'key')
let gateway: TestGateway
let service: Server
let serviceOrigin = ''
/** The same service under another name, and so another origin. */
const elsewhere = (): string => serviceOrigin.replace('127.0.0.1', 'localhost')
/** Requests to the service of tools, by path. */
const called: IncomingMessage[] = []

beforeAll(async () => {
  gateway = await TestGateway.open({
    secrets: { files: { mounted: { path: secretFile, requiredRoles: ['mcp.dev'] } } },
  })
  service = createServer((request, response) => {
    called.push(request)
    request.resume()
    request.on('end', () => {
      if (request.url === '/away')
        return void response
          .writeHead(307, { location: `${elsewhere()}/caught`, 'set-cookie': 'a=b' })
          .end()
      response.writeHead(200, { 'content-type': 'application/json', 'set-cookie': 'a=b' }).end('{}')
    })
  })
  await new Promise<void>((resolve) => service.listen(0, '127.0.0.1', resolve))
  serviceOrigin = `http://127.0.0.1:${(service.address() as AddressInfo).port}`
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  service.closeAllConnections()
  await new Promise((resolve) => service.close(resolve))
})

let count = 0
const newTag = (): string => `identity-${(count += 1)}`
const json = { 'content-type': 'application/json' }
const secretToken = 'Bearer of-the-caller'
const caller = { 'x-dev-userid': 'zoë', 'x-dev-name': 'Zoë, X.', 'x-dev-roles': 'mcp.admin,ü' }
const latin1 = (headers: Record<string, string>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, Buffer.from(value).toString('latin1')]),
  )

async function sent(
  path: string,
  method: string,
  body?: object,
): Promise<{ status: number; text: string; json: Record<string, unknown> }> {
  const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json'
  const answer = await gateway.send(path, {
    method,
    headers: { 'content-type': type },
    ...(body && { body: JSON.stringify(body) }),
  })
  const text = answer.body.toString()
  return {
    status: answer.status,
    text,
    json: text === '' ? {} : (JSON.parse(text) as Record<string, unknown>),
  }
}

/** Gives the headers that reach the server of an adapter. */
async function received(
  adapter: string,
  headers: Readonly<Record<string, string | readonly string[]>> = {},
): Promise<readonly string[]> {
  const tag = newTag()
  const { status } = await gateway.mcp(adapter, `tag=${tag}`, { headers, body: Buffer.from('{}') })
  expect(status).toBe(200)
  return gateway.received(tag).rawHeaders
}

const keys = () => createRemoteJWKSet(new URL('/.well-known/jwks.json', gateway.origin))
const verify = (token: string | undefined, path: string) =>
  jwtVerify(token ?? '', keys(), {
    issuer: gateway.origin,
    audience: gateway.origin + path,
    algorithms: ['ES256'],
  })

describe('the identity of a caller', () => {
  test('callerIdentity none tells a server only that it is the same caller', async () => {
    const adapter = await gateway.register({ callerIdentity: 'none' })
    const told = async (headers = latin1(caller)): Promise<string[]> => {
      const rawHeaders = await received(adapter, headers)
      return rawHeaders.filter((_, index) => /^x-mcp/i.test(rawHeaders[index & ~1] ?? ''))
    }
    const [name, pseudonym, ...more] = await told()
    expect([name, pseudonym, more]).toEqual([
      'x-mcpgw-caller',
      expect.stringMatching(/^[\w-]{22}$/),
      [],
    ])
    expect(await told()).toEqual([name, pseudonym])
    expect(await told({})).not.toEqual([name, pseudonym])
  })

  test('callerIdentity signed lets a server verify the caller by the published keys', async () => {
    const adapter = await gateway.register({ callerIdentity: 'signed' })
    const headers = await received(adapter, latin1(caller))
    const [token, ...more] = valuesOf(headers, 'x-mcp-identity')
    expect(more).toEqual([])
    const { payload } = await verify(token, `/adapters/${adapter}`)
    expect(payload).toMatchObject({
      sub: 'zoë',
      idp: 'development',
      name: 'Zoë, X.',
      roles: ['mcp.admin', 'ü'],
    })
    expect((payload.exp ?? 0) - (payload.iat ?? 0)).toBe(300)
    expect(valuesOf(headers, 'x-mcp-userid')).toEqual(['zo%C3%AB'])
  })

  test('a server never gets an identity that the client has written', async () => {
    const [plain, signed] = [
      await gateway.register(),
      await gateway.register({ callerIdentity: 'signed' }),
    ]
    const forged: Record<string, string | readonly string[]> = {}
    for (const name of [
      'X-Mcp-Identity',
      'x_mcp_identity',
      'X-MCP.UserId',
      'X-mcp-userid',
      'x-Mcp_Roles',
      'X-Mcp-UserName',
    ])
      forged[name] = ['forged', 'twice']
    for (const adapter of [plain, signed])
      expect(
        (await received(adapter, forged)).filter(
          (value) => value.includes('forged') || value.includes('twice'),
        ),
      ).toEqual([])
    expect(valuesOf(await received(plain, forged), 'x-mcp-identity')).toEqual([])
  })

  test('the keys are public, hold nothing private, and may be cached', async () => {
    const { status, headers, body } = await gateway.send('/.well-known/jwks.json', {
      method: 'GET',
    })
    expect([status, headers['content-type'], headers['cache-control']]).toEqual([
      200,
      'application/jwk-set+json',
      'public, max-age=300',
    ])
    expect(JSON.parse(body.toString())).toEqual({
      keys: [
        {
          kty: 'EC',
          crv: 'P-256',
          x: expect.any(String) as string,
          y: expect.any(String) as string,
          kid: expect.any(String) as string,
          alg: 'ES256',
          use: 'sig',
        },
      ],
    })
    expect((await gateway.send('/.well-known/jwks.json', { method: 'HEAD' })).status).toBe(200)
    expect((await gateway.send('/.well-known/jwks.json', {})).status).toBe(405)
    expect((await gateway.send('/.well-known/jwks.json/', { method: 'GET' })).status).toBe(404)
  })
})

describe('a credential', () => {
  const credential = { header: 'Authorization', value: 'Bearer of-the-server' }

  test('a credential replaces the client’s header of its name, and no token passes', async () => {
    const [with_, without] = [await gateway.register({ credential }), await gateway.register()]
    const given = { authorization: secretToken, cookie: 'session=1' }
    expect(valuesOf(await received(with_, given), 'authorization')).toEqual([
      'Bearer of-the-server',
    ])
    expect((await received(without, given)).join()).not.toMatch(/of-the|session=1/)
    const keyed = await gateway.register({ credential: { header: 'X-Api-Key', value: 'k' } })
    const headers = await received(keyed, {
      x_api_key: 'forged',
      'X-API-KEY': 'forged',
      authorization: secretToken,
    })
    expect(headers.filter((value) => /forged|of-the-caller/.test(value))).toEqual([])
    expect(valuesOf(headers, 'x-api-key')).toEqual(['k'])
  })

  test('a credential is masked, survives its mask, and ends when it is removed', async () => {
    const name = await gateway.register({ credential })
    const masked = { header: 'Authorization', value: '********' }
    const { json: stored, text } = await sent(`/adapters/${name}`, 'GET')
    expect(stored['credential']).toEqual(masked)
    const answers = [text]
    const put = await sent(`/adapters/${name}`, 'PUT', { ...stored, description: 'changed' })
    const patched = await sent(`/adapters/${name}`, 'PATCH', { credential: { header: 'X-Key' } })
    expect([put.status, patched.status]).toEqual([200, 200])
    answers.push(put.text, patched.text, (await sent('/adapters', 'GET')).text)
    expect(answers.join()).not.toContain('of-the-server')
    expect(patched.json['credential']).toEqual({ header: 'X-Key', value: '********' })
    await expect
      .poll(async () => valuesOf(await received(name), 'x-key'))
      .toEqual(['Bearer of-the-server'])
    expect(
      (await sent(`/adapters/${name}`, 'PATCH', { credential: null })).json,
    ).not.toHaveProperty('credential')
    await expect.poll(async () => (await received(name)).join()).not.toContain('of-the-server')
    expect((await sent(`/adapters/${name}`, 'PATCH', { credential: masked })).json).toMatchObject({
      code: 'validation_failed',
      errors: [{ pointer: '/credential/value', code: 'masked_value' }],
    })
  })

  const referring = (secretRef: object): Record<string, unknown> => ({
    credential: { header: 'X-Key', secretRef },
  })

  test('a credential may refer to a secret, whose loss is reported in clear words', async () => {
    expect((await sent('/secrets', 'POST', { name: 'server-key', value: 'key-one' })).status).toBe(
      201,
    )
    const name = await gateway.register(referring({ name: 'server-key' }))
    await expect.poll(async () => valuesOf(await received(name), 'x-key')).toEqual(['key-one'])
    expect((await sent(`/adapters/${name}`, 'GET')).json['credential']).toEqual({
      header: 'X-Key',
      secretRef: { name: 'server-key' },
    })
    expect((await sent('/secrets/server-key', 'PATCH', { value: 'key-two' })).status).toBe(200)
    await expect.poll(async () => valuesOf(await received(name), 'x-key')).toEqual(['key-two'])
    expect((await gateway.send('/secrets/server-key', { method: 'DELETE' })).status).toBe(409)
    expect(
      (await gateway.send('/secrets/server-key?force=true', { method: 'DELETE' })).status,
    ).toBe(204)
    await expect.poll(async () => (await gateway.mcp(name, '', { body: '{}' })).status).toBe(503)
    const gone = await gateway.mcp(name, '', { body: '{}' })
    expect(gone.body.toString()).toContain("There is no secret 'server-key'.")
    expect(
      (await sent(`/adapters/${name}`, 'PATCH', { credential: { value: 'text again' } })).json[
        'credential'
      ],
    ).toEqual({
      header: 'X-Key',
      value: '********',
    })
    await expect.poll(async () => valuesOf(await received(name), 'x-key')).toEqual(['text again'])
  })

  test('modern calls fail with a code of their own while the credential is missing', async () => {
    const give = async (): Promise<number> =>
      (await sent('/secrets', 'POST', { name: 'lost-key', value: 'key' })).status
    const take = async (): Promise<number> =>
      (await sent('/secrets/lost-key?force=true', 'DELETE')).status
    expect(await give()).toBe(201)
    const name = await gateway.register({
      ...referring({ name: 'lost-key' }),
      environmentVariables: { DO: 'forgetful' },
    })
    const call = async (): Promise<string> =>
      (
        await gateway.mcp(name, '', modernRequest('tools/call', { name: 'x', arguments: {} }))
      ).body.toString()
    expect(await take()).toBe(204)
    // A legacy message does not make the gateway ask for the server's era.
    await expect.poll(async () => (await gateway.mcp(name, '')).status).toBe(503)
    expect(await call()).toContain('"code":"secret_unreadable"')
    expect(await give()).toBe(201)
    await expect.poll(call).toContain('done')

    // The gateway knows the era now, so the call fails in the translation.
    expect(await take()).toBe(204)
    await expect.poll(call).toContain('"code":"secret_unreadable"')
    expect(await give()).toBe(201)
    await expect.poll(call).toContain('done')
  })

  test('a tool call whose credential is missing fails with a code, unsent', async () => {
    const secret = { name: 'tool-key', value: 'key' }
    expect((await sent('/secrets', 'POST', secret)).status).toBe(201)
    const name = `keyed-${randomUUID().slice(0, 8)}`
    const tool = {
      ...referring({ name: 'tool-key' }),
      name,
      endpoint: `${serviceOrigin}/${name}`,
      toolDefinition: { tool: { name } },
    }
    expect((await sent('/tools', 'POST', tool)).status).toBe(201)
    const call = async (): Promise<unknown> => {
      const { message } = await modern(gateway, 'tools/call', { name, arguments: {} })
      const { _meta: meta } = message.result as { _meta: Record<string, unknown> }
      return meta['mcp-gateway/error']
    }
    expect(await call()).toBeUndefined()
    const answered = called.length

    expect((await sent('/secrets/tool-key?force=true', 'DELETE')).status).toBe(204)

    await expect.poll(call).toEqual({ code: 'secret_unreadable', retryable: false })
    expect(called).toHaveLength(answered)
  })

  test('a credential may be in a file, which the gateway reads again when it changes', async () => {
    writeFileSync(secretFile, 'file-one\n')
    const name = await gateway.register(referring({ name: 'mounted', source: 'file' }))
    await expect.poll(async () => (await gateway.mcp(name, '', { body: '{}' })).status).toBe(200)
    expect(valuesOf(await received(name), 'x-key')).toEqual(['file-one'])
    writeFileSync(secretFile, 'file-two\n')
    await expect.poll(async () => valuesOf(await received(name), 'x-key')).toEqual(['file-two'])
  })

  test('a credential refers only to secrets that its writer may give to workloads', async () => {
    const secret = { name: 'of-dev', value: 'hush' }
    expect((await sent('/secrets', 'POST', secret)).status).toBe(201)
    const other = { 'x-dev-userid': 'mallory', 'x-dev-roles': 'user', ...json }
    const adapter = { name: 'of-mallory', imageName: 'scripted', imageVersion: '1' }
    const made = await gateway.send('/adapters', {
      headers: other,
      body: JSON.stringify({ ...adapter, ...referring({ name: 'of-dev' }) }),
    })
    expect(made.body.toString()).toMatch(/credential\/secretRef.*secret_not_found/)
    expect(
      (await gateway.send('/adapters', { headers: other, body: JSON.stringify(adapter) })).status,
    ).toBe(201)
    const patch = { ...other, 'content-type': 'application/merge-patch+json' }
    const changed = await gateway.send('/adapters/of-mallory', {
      method: 'PATCH',
      headers: patch,
      body: JSON.stringify(referring({ name: 'of-dev' })),
    })
    expect([changed.status, changed.body.toString()]).toEqual([
      400,
      expect.stringContaining('secret_not_found'),
    ])
  })

  test('a credential’s header may have an underscore, and replaces all spellings', async () => {
    const name = await gateway.register({
      credential: { header: 'api_key', value: 'of-the-server' },
    })
    const tag = randomUUID()
    const headers = { api_key: 'of-the-client', 'api-key': 'of-the-client' }
    await gateway.mcp(name, `tag=${tag}`, { headers })
    const { rawHeaders } = gateway.received(tag)
    expect(valuesOf(rawHeaders, 'api_key')).toEqual(['of-the-server'])
    expect(valuesOf(rawHeaders, 'api-key')).toEqual([])
  })

  test.each([{}, { value: 'a', secretRef: { name: 'b' } }])(
    'a credential is exactly one of value and reference: %j',
    async (given) => {
      const adapter = {
        name: 'neither',
        imageName: 'scripted',
        imageVersion: '1',
        credential: { header: 'X-Key', ...given },
      }
      expect((await sent('/adapters', 'POST', adapter)).json).toMatchObject({
        code: 'validation_failed',
        errors: [{ pointer: '/credential' }],
      })
    },
  )

  test.each([
    [{ header: 'Host', value: 'secret-value' }, '/credential/header'],
    [{ header: 'x-mcp-userid', value: 'secret-value' }, '/credential/header'],
    [{ header: 'Mcp-Session-Id', value: 'secret-value' }, '/credential/header'],
    [{ header: 'x_mcp_userid', value: 'secret-value' }, '/credential/header'],
    [{ header: '_Key', value: 'secret-value' }, '/credential/header'],
    [{ header: 'X-Key: a\r\nX-Other', value: 'secret-value' }, '/credential/header'],
    [{ header: 'X-Key', value: 'secret-value\r\nX-Mcp-Roles: mcp.admin' }, '/credential/value'],
    [{ header: 'X-Key', value: 'secret-value ' }, '/credential/value'],
    [{ header: 'X-Key', value: '' }, '/credential/value'],
    [{ header: 'X-Key', value: 'secret-välue' }, '/credential/value'],
    [{ header: 'X-Key', value: 'secret-value'.repeat(1000) }, '/credential/value'],
  ])(
    'the gateway refuses the credential %j at %s, and does not repeat the value',
    async (given, pointer) => {
      const {
        status,
        json: problem,
        text,
      } = await sent('/adapters', 'POST', {
        name: 'refused',
        imageName: 'scripted',
        imageVersion: '1',
        credential: given,
      })
      expect(status).toBe(400)
      expect((problem['errors'] as { pointer: string }[]).map((each) => each.pointer)).toEqual([
        pointer,
      ])
      expect(text).not.toContain('secret-v')
    },
  )

  test('a credential does not follow a redirect of a server or of a tool', async () => {
    const adapter = await gateway.register({ credential, callerIdentity: 'signed' })
    const away = Buffer.from(
      `HTTP/1.1 307 X\r\nlocation: ${elsewhere()}/caught\r\nset-cookie: a=b\r\n` +
        'connection: close\r\ncontent-length: 0\r\n\r\n',
    )
    const passed = await gateway.mcp(adapter, 'do=raw', {
      body: JSON.stringify(away.toString('base64')),
    })
    expect([passed.status, passed.headers.location, passed.headers['set-cookie']]).toEqual([
      502,
      undefined,
      undefined,
    ])
    await tool('redirecting', '/away', { credential })
    const { message } = await modern(gateway, 'tools/call', { name: 'redirecting', arguments: {} })
    expect(message.result).toMatchObject({ isError: true })
    expect(called.filter(({ url }) => url === '/caught')).toEqual([])
    expect(called.filter(({ url }) => url === '/away')).toHaveLength(1)
  })
})

describe('a credential of several headers', () => {
  const credential = [
    { header: 'X-Api-Key', value: 'key-of-the-server' },
    { header: 'tenant_id', value: 'tenant-of-the-server' },
  ]
  const masked = credential.map(({ header }) => ({ header, value: '********' }))
  const made = (more: object) => ({ imageName: 'scripted', imageVersion: '1', ...more })

  test('a credential of several headers replaces all headers of these names', async () => {
    const name = await gateway.register({ credential })
    const headers = await received(name, {
      x_api_key: 'forged',
      'X-API-KEY': 'forged',
      'Tenant-Id': 'forged',
      tenant_id: 'forged',
    })
    expect(headers.filter((value) => value.includes('forged'))).toEqual([])
    expect(valuesOf(headers, 'x-api-key')).toEqual(['key-of-the-server'])
    expect(valuesOf(headers, 'tenant_id')).toEqual(['tenant-of-the-server'])
  })

  test('a credential of several headers reads as masks, which may be sent back', async () => {
    const name = await gateway.register({ credential })
    const path = `/adapters/${name}`
    const read = await gateway.send(path, { method: 'GET' })
    const { etag = '' } = read.headers
    expect(JSON.parse(read.body.toString())).toMatchObject({ credential: masked })
    expect(read.body.toString()).not.toContain('of-the-server')

    const put = await gateway.send(path, {
      method: 'PUT',
      headers: { ...json, 'if-match': etag },
      body: read.body,
    })
    expect([put.status, put.headers.etag]).toEqual([200, etag])
    const headers = await received(name)
    expect(valuesOf(headers, 'x-api-key')).toEqual(['key-of-the-server'])
    expect(valuesOf(headers, 'tenant_id')).toEqual(['tenant-of-the-server'])
  })

  test('a patch keeps the secret of each masked header, and drops the others', async () => {
    const name = await gateway.register({ credential: credential[0] })
    const patch = async (given: unknown) =>
      (await sent(`/adapters/${name}`, 'PATCH', { credential: given })).json
    expect((await patch([masked[0], credential[1]]))['credential']).toEqual(masked)
    await expect
      .poll(async () => valuesOf(await received(name), 'tenant_id'))
      .toEqual(['tenant-of-the-server'])
    expect(valuesOf(await received(name), 'x-api-key')).toEqual(['key-of-the-server'])

    expect((await patch([masked[1]]))['credential']).toEqual(masked[1])
    await expect.poll(async () => valuesOf(await received(name), 'x-api-key')).toEqual([])
    expect(valuesOf(await received(name), 'tenant_id')).toEqual(['tenant-of-the-server'])
    expect(await patch(masked)).toMatchObject({
      errors: [{ pointer: '/credential/0/value', code: 'masked_value' }],
    })
  })

  test('a credential of several headers may mix references and values', async () => {
    await sent('/secrets', 'POST', { name: 'one-of-several', value: 'by-reference' })
    const secretRef = { name: 'one-of-several' }
    const name = await gateway.register({
      credential: [credential[0], { header: 'X-B', secretRef }],
    })
    await expect.poll(async () => valuesOf(await received(name), 'x-b')).toEqual(['by-reference'])
    const { json: read } = await sent(`/adapters/${name}`, 'GET')
    expect(read['credential']).toEqual([masked[0], { header: 'X-B', secretRef }])
    const removal = await gateway.send('/secrets/one-of-several', { method: 'DELETE' })
    expect([removal.status, removal.body.toString()]).toEqual([409, expect.stringContaining(name)])

    await sent('/secrets/one-of-several', 'PATCH', { value: 'changed' })
    await expect.poll(async () => valuesOf(await received(name), 'x-b')).toEqual(['changed'])
  })

  test.each([
    [[], '/credential'],
    [
      Array.from({ length: 17 }, (_, n) => ({ header: `X-${n}`, value: 'secret-v' })),
      '/credential',
    ],
    [[credential[0], { header: 'x_api_key', value: 'secret-v' }], '/credential/1/header'],
    [[credential[0], { header: 'X-Mcp-Roles', value: 'secret-v' }], '/credential/1/header'],
    [[credential[0], { header: 'X-B', value: 'secret-v\r\nA: b' }], '/credential/1/value'],
    [[credential[0], { header: 'X-B' }], '/credential/1'],
    [[credential[0], { header: 'X-B', value: 'a', extra: 'b' }], '/credential/1/extra'],
    [[credential[0], 'X-B: secret-v'], '/credential/1'],
  ])('the gateway refuses the credential %j at %s', async (given, pointer) => {
    const body = made({ name: 'refused-list', credential: given })
    const { status, json: problem, text } = await sent('/adapters', 'POST', body)
    expect(status).toBe(400)
    expect(problem['errors']).toMatchObject([{ pointer }])
    expect(text).not.toContain('secret-v')
  })

  test('masked headers do not go to another address', async () => {
    const endpoint = `${serviceOrigin}/several`
    const made = await sent('/adapters', 'POST', { name: 'several', endpoint, credential })
    expect(made.status).toBe(201)
    const change = { endpoint: 'http://127.0.0.1:1/several' }
    expect((await sent('/adapters/several', 'PATCH', change)).json).toMatchObject({
      errors: [
        { pointer: '/credential/0/value', code: 'masked_value' },
        { pointer: '/credential/1/value', code: 'masked_value' },
      ],
    })
    expect((await sent('/adapters/several', 'PATCH', { ...change, credential })).status).toBe(200)
  })

  test('a tool gets a credential of several headers, and placeholders bring warnings', async () => {
    const placeholder = { header: 'X-C', value: '${input:c}' }
    const { json: answer } = await sent('/tools', 'POST', {
      name: 'keyed-twice',
      endpoint: `${serviceOrigin}/keyed-twice`,
      toolDefinition: { tool: { name: 'keyed-twice' } },
      credential: [...credential, placeholder],
    })
    expect(answer['warnings']).toMatchObject([
      { pointer: '/credential/2/value', code: 'placeholder' },
    ])
    await modern(gateway, 'tools/call', { name: 'keyed-twice', arguments: {} })
    const request = called.find(({ url }) => url === '/keyed-twice')
    expect(request?.headers).toMatchObject({
      'x-api-key': 'key-of-the-server',
      tenant_id: 'tenant-of-the-server',
    })
  })
})

async function tool(name: string, path: string, more: object): Promise<void> {
  const body = { name, endpoint: serviceOrigin + path, toolDefinition: { tool: { name } }, ...more }
  const { status, text } = await sent('/tools', 'POST', body)
  if (status !== 201) throw new Error(text)
}

describe('a tool', () => {
  test('a tool gets the signed identity and the credential, and no token or cookie', async () => {
    await tool('proven', '/proven', {
      callerIdentity: 'signed',
      credential: { header: 'Authorization', value: 'Bearer of-the-tool' },
    })
    for (let turn = 0; turn < 2; turn += 1)
      await modern(
        gateway,
        'tools/call',
        { name: 'proven', arguments: {} },
        { headers: { authorization: secretToken, cookie: 'session=1' } },
      )
    const requests = called.filter(({ url }) => url === '/proven')
    expect(requests).toHaveLength(2)
    for (const { headers } of requests) {
      expect([headers.authorization, headers.cookie]).toEqual(['Bearer of-the-tool', undefined])
      const { payload } = await verify(headers['x-mcp-identity'] as string, '/tools/proven')
      expect(payload.sub).toBe('dev')
    }
  })

  test('a tool takes no masked secret to another address', async () => {
    await tool('moving', '/moving', { credential: { header: 'X-Key', value: 'of-the-tool' } })
    const refused = await sent('/tools/moving', 'PATCH', { endpoint: 'http://127.0.0.1:1/moving' })
    expect(refused.json).toMatchObject({
      code: 'validation_failed',
      errors: [{ pointer: '/credential/value', code: 'masked_value' }],
    })
    expect(
      (await sent('/tools/moving', 'PATCH', { endpoint: `${serviceOrigin}/moved` })).status,
    ).toBe(200)
    const given = { endpoint: 'http://127.0.0.1:1/moving', credential: { value: 'again' } }
    expect((await sent('/tools/moving', 'PATCH', given)).status).toBe(200)
  })
})

describe('translation', () => {
  const headersOf = (tag: string): string[][] =>
    gateway
      .events(tag)
      .filter(({ method }) => method === 'POST')
      .map(({ rawHeaders = [] }) => [...rawHeaders])

  test('translation sends current identity and credential to a legacy server', async () => {
    const tag = newTag()
    const adapter = await gateway.register({
      environmentVariables: { DO: 'legacy', TAG: tag },
      callerIdentity: 'signed',
      credential: { header: 'X-Key', value: 'one' },
    })
    const call = async (): Promise<void> => {
      const { headers, body } = modernRequest('tools/call', { name: 'anything', arguments: {} })
      const answer = await gateway.mcp(adapter, '', {
        headers: { ...headers, authorization: secretToken, x_key: 'forged' },
        body,
      })
      expect([answer.status, answer.body.toString()]).toEqual([
        200,
        expect.stringContaining('done'),
      ])
    }
    await call()
    const before = headersOf(tag)
    expect(before.length).toBeGreaterThan(2)

    for (const headers of before) {
      await verify(valuesOf(headers, 'x-mcp-identity')[0], `/adapters/${adapter}`)
      expect(valuesOf(headers, 'x-key')).toEqual(['one'])
      expect(headers.join()).not.toMatch(/of-the-caller|forged/)
    }
    await gateway.patch(adapter, { credential: { value: 'two' } })
    await expect
      .poll(async () => {
        await call()
        return valuesOf(headersOf(tag).at(-1) ?? [], 'x-key')
      })
      .toEqual(['two'])
  })

  test('translation sends identity and credential to a modern server', async () => {
    const tag = newTag()
    const adapter = await gateway.register({
      environmentVariables: { DO: 'modern', TAG: tag },
      callerIdentity: 'signed',
      credential: { header: 'X-Key', value: 'one' },
    })
    const post = (message: object, headers: object = {}) =>
      gateway.mcp(adapter, '', {
        headers: {
          ...json,
          accept: 'application/json, text/event-stream',
          authorization: secretToken,
          ...headers,
        },
        body: JSON.stringify({ jsonrpc: '2.0', ...message }),
      })
    const params = {
      protocolVersion: '2025-11-25',
      capabilities: {},
      clientInfo: { name: 'c', version: '1' },
    }
    const opened = await post({ id: 1, method: 'initialize', params })
    expect(opened.status).toBe(200)

    const session = { 'mcp-session-id': String(opened.headers['mcp-session-id']) }
    await post({ method: 'notifications/initialized' }, session)
    const answer = await post(
      { id: 2, method: 'tools/call', params: { name: 'anything', arguments: {} } },
      session,
    )
    expect(answer.body.toString()).toContain('done')

    const modernOnes = headersOf(tag).filter(
      (headers) => valuesOf(headers, 'mcp-protocol-version')[0] === '2026-07-28',
    )
    expect(modernOnes.length).toBeGreaterThan(1)

    for (const headers of headersOf(tag)) {
      await verify(valuesOf(headers, 'x-mcp-identity')[0], `/adapters/${adapter}`)
      expect(valuesOf(headers, 'x-key')).toEqual(['one'])
      expect(headers.join()).not.toContain('of-the-caller')
    }
  })
})

describe('the examples for authors of servers', () => {
  const text = readFileSync(join(root, 'docs/server-identity.md'), 'utf8')
  const exampleOf = (language: string): string =>
    new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, 'm').exec(text)?.[1] ?? ''
  const pythons = [join(root, '.cache/python/bin/python'), 'python3'].filter(
    (path) => path === 'python3' || existsSync(path),
  )

  async function run(
    example: string,
    end: string,
    file: string,
    command: readonly string[],
  ): Promise<unknown> {
    const adapter = await gateway.register({ callerIdentity: 'signed' })
    const headers = await received(adapter, latin1(caller))
    const folder = mkdtempSync(join(tmpdir(), 'mcpgw-example-'))
    try {
      symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
      const here = example
        .replaceAll('https://mcp.example.com', gateway.origin)
        .replaceAll('my-server', adapter)
      writeFileSync(join(folder, file), `${here}\n${end}\n`)
      const pairs = JSON.stringify(
        headers.flatMap((name, index) =>
          index % 2 === 0 ? [[name.toLowerCase(), headers[index + 1]]] : [],
        ),
      )
      const [program = '', ...args] = command
      return JSON.parse(await output(program, [...args, join(folder, file), pairs])) as unknown
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }
  const expected = { id: 'zoë', name: 'Zoë, X.', roles: ['mcp.admin', 'ü'] }

  test('the example in TypeScript verifies the identity', async () => {
    const end =
      'console.log(JSON.stringify(await callerOf(new Headers(JSON.parse(process.argv[2] ?? "")))))'
    const tsx = fileURLToPath(import.meta.resolve('tsx'))
    expect(
      await run(exampleOf('ts'), end, 'example.mts', [process.execPath, '--import', tsx]),
    ).toEqual(expected)
  })

  test('the example in Python verifies the identity', async (context) => {
    const python = pythons.find((path) => {
      try {
        execFileSync(path, ['-c', 'import jwt, cryptography'], { stdio: 'ignore' })
        return true
      } catch {
        return false
      }
    })
    if (python === undefined)
      return context.skip('needs Python with PyJWT[crypto]: python3 -m venv .cache/python')
    const end = 'import json, sys\nprint(json.dumps(caller_of(dict(json.loads(sys.argv[1])))))'
    expect(await run(exampleOf('python'), end, 'example.py', [python])).toEqual(expected)
  })
})

/** Gives the output of a program. The gateway in this process serves the program meanwhile. */
async function output(program: string, args: readonly string[]): Promise<string> {
  const { execFile } = await import('node:child_process')
  return new Promise((resolve, reject) =>
    execFile(program, [...args], { encoding: 'utf8' }, (error, stdout, stderr) =>
      error === null ? resolve(stdout) : reject(new Error(`${error.message}\n${stderr}`)),
    ),
  )
}
