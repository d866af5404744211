import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { GatewayProcess, programs } from '@mcp-gateway/testkit'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

let gateway: GatewayProcess
/**
 * A gateway that waits one second for headers and two for a whole request. That is too short for
 * other tests when the machine pauses.
 */
let impatient: GatewayProcess

beforeAll(async () => {
  impatient = await GatewayProcess.start({
    environment: {
      MCPGW_EDGE_HEADERS_TIMEOUT_SECONDS: '1',
      MCPGW_EDGE_REQUEST_TIMEOUT_SECONDS: '2',
    },
  })
  gateway = await GatewayProcess.start({
    environment: { MCPGW_EDGE_ALLOWED_ORIGINS: 'https://app.example' },
    config: {
      runtime: {
        images: {
          echo: { command: [process.execPath, programs.echoHttp] },
          elsewhere: { command: [process.execPath, programs.echoHttp], path: '/some/where' },
        },
      },
    },
  })
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await impatient[Symbol.asyncDispose]()
})

const alice = { 'x-dev-userid': 'alice', 'x-dev-roles': '' }
const bob = { 'x-dev-userid': 'bob', 'x-dev-roles': 'mcp.engineer' }
const admin = { 'x-dev-userid': 'root', 'x-dev-roles': 'mcp.admin' }
/** The caller of requests without credentials. */
const open = {} as unknown as typeof alice
let names = 0
const newName = (): string => `adapter-${(names += 1)}`
const minimal = (name: string, more: object = {}): object => ({
  name,
  imageName: 'echo',
  imageVersion: '1.0.0',
  replicaCount: 0,
  ...more,
})
const create = (body: unknown, headers = alice): ReturnType<GatewayProcess['api']> =>
  gateway.api('POST', '/adapters', body, headers)

/** Sends the bytes. Gives the answer once the connection closes. */
function raw(text: string, to = gateway): Promise<string> {
  return new Promise((resolve) => {
    const { hostname, port } = new URL(to.origin)
    let answer = ''
    const socket = connect({ host: hostname, port: Number(port) }, () => socket.write(text))
    socket.setEncoding('latin1').on('data', (part: string) => (answer += part))
    const done = (): void => {
      socket.destroy()
      resolve(answer)
    }
    socket.on('close', done)
    socket.on('error', done)
  })
}

describe('the life of an adapter', () => {
  test('the life of an adapter follows the payload of the original', async () => {
    const created = await create({
      name: 'weather-server',
      imageName: 'echo',
      imageVersion: '1.0.0',
      description: 'test',
    })
    expect(created.status).toBe(201)
    expect(created.headers.get('location')).toBe('/adapters/weather-server')
    expect(created.body).toMatchObject({
      id: 'weather-server',
      name: 'weather-server',
      replicaCount: 1,
      requiredRoles: [],
      useWorkloadIdentity: false,
      createdBy: 'alice',
    })
    expect((created.body as { environmentVariables: object }).environmentVariables).toEqual({})

    const status = await gateway.api('GET', '/adapters/weather-server/status', undefined, alice)
    expect(status.body).toMatchObject({
      image: 'echo:1.0.0',
      readyReplicas: expect.any(Number),
      updatedReplicas: expect.any(Number),
      availableReplicas: expect.any(Number),
      replicaStatus: expect.any(String),
    })
    expect((await gateway.api('DELETE', '/adapters/weather-server', undefined, alice)).status).toBe(
      204,
    )
    expect((await gateway.api('GET', '/adapters/weather-server', undefined, alice)).status).toBe(
      404,
    )
    expect((await gateway.api('DELETE', '/adapters/weather-server', undefined, alice)).status).toBe(
      404,
    )
  })

  test('a name is taken once, whoever asks (A1, B6)', async () => {
    const name = newName()
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        create(minimal(name), index % 2 === 0 ? alice : bob),
      ),
    )
    expect(outcomes.filter(({ status }) => status === 201)).toHaveLength(1)
    expect(
      outcomes.filter(
        ({ status, body }) => status === 409 && (body as { code: string }).code === 'name_taken',
      ),
    ).toHaveLength(19)
  })

  test('a change with an old ETag is 412 and changes nothing, a present one works', async () => {
    const name = newName()
    const created = await create(minimal(name))
    const old = created.headers.get('etag') ?? ''
    const changed = await gateway.api(
      'PATCH',
      `/adapters/${name}`,
      { description: 'new' },
      { ...alice, 'if-match': old },
    )
    expect(changed.status).toBe(200)

    for (const method of ['PATCH', 'PUT', 'DELETE']) {
      const refused = await gateway.api(
        method,
        `/adapters/${name}`,
        method === 'DELETE' ? undefined : minimal(name),
        {
          ...alice,
          'if-match': old,
        },
      )
      expect(refused).toMatchObject({ status: 412, body: { code: 'precondition_failed' } })
    }
    const read = await gateway.api('GET', `/adapters/${name}`, undefined, {
      ...alice,
      'if-none-match': changed.headers.get('etag') ?? '',
    })
    expect(read.status).toBe(304)
    expect(
      (
        await gateway.api('DELETE', `/adapters/${name}`, undefined, {
          ...alice,
          'if-match': changed.headers.get('etag') ?? '',
        })
      ).status,
    ).toBe(204)
  })

  test('an ETag of a deleted adapter does not fit its successor', async () => {
    const name = newName()
    const old = (await create(minimal(name))).headers.get('etag') ?? ''
    await gateway.api('DELETE', `/adapters/${name}`, undefined, alice)
    await create(minimal(name))
    expect(
      (await gateway.api('DELETE', `/adapters/${name}`, undefined, { ...alice, 'if-match': old }))
        .status,
    ).toBe(412)
  })

  test('PUT replaces and PATCH merges; a removed variable is removed (B1, B16)', async () => {
    const name = newName()
    await create(
      minimal(name, {
        environmentVariables: { A: '1', B: '2' },
        description: 'd',
        requiredRoles: [' a ', 'a', 'b'],
      }),
    )
    const patched = await gateway.api(
      'PATCH',
      `/adapters/${name}`,
      { environmentVariables: { A: null, C: '3' } },
      alice,
    )
    expect(patched.body).toMatchObject({
      environmentVariables: { B: '2', C: '3' },
      description: 'd',
      requiredRoles: ['a', 'b'],
    })
    expect(
      (patched.body as { environmentVariables: object }).environmentVariables,
    ).not.toHaveProperty('A')

    const replaced = await gateway.api('PUT', `/adapters/${name}`, minimal(name), alice)
    expect(replaced.body).toMatchObject({ description: '', requiredRoles: [] })
    expect(replaced.body).toHaveProperty('environmentVariables', {})
    expect(
      (await gateway.api('PUT', `/adapters/${name}`, minimal('other-name'), alice)).body,
    ).toMatchObject({
      errors: [{ pointer: '/name', code: 'name_mismatch' }],
    })
    expect(
      (await gateway.api('PUT', '/adapters/never-made', minimal('never-made'), alice)).status,
    ).toBe(404)
  })

  test('concurrent changes without If-Match are all applied', async () => {
    const name = newName()
    await create(minimal(name))
    const outcomes = await Promise.all(
      Array.from({ length: 5 }, (_, index) =>
        gateway.api(
          'PATCH',
          `/adapters/${name}`,
          { environmentVariables: { [`V${index}`]: 'x' } },
          alice,
        ),
      ),
    )
    expect(outcomes.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200])
    const { body } = await gateway.api('GET', `/adapters/${name}`, undefined, alice)
    expect(
      Object.keys((body as { environmentVariables: object }).environmentVariables),
    ).toHaveLength(5)
  })
})

describe('the status', () => {
  test('the status is Healthy only once every replica has this generation (B12)', async () => {
    const name = newName()
    await create(minimal(name, { replicaCount: 2 }), open)
    await gateway.untilStatus(name, ({ replicaStatus }) => replicaStatus === 'Healthy')
    await gateway.api('PATCH', `/adapters/${name}`, { environmentVariables: { NEW: 'value' } })
    const seen: string[] = []
    const last = await gateway.untilStatus(name, (status) => {
      seen.push(status.replicaStatus)
      if (status.replicaStatus === 'Healthy')
        expect(status).toMatchObject({
          generation: 2,
          observedGeneration: 2,
          updatedReplicas: 2,
          readyReplicas: 2,
        })
      return status.replicaStatus === 'Healthy'
    })
    expect(seen[0]).toMatch(/^(Progressing|Degraded): /)
    expect(last.replicas.map(({ generation }) => generation)).toEqual([2, 2])
  })

  test('the status counts a restart, which replaces every replica once and no more', async () => {
    const name = newName()
    await create(minimal(name, { replicaCount: 2, description: 'kept' }), open)
    const healthy = () =>
      gateway.untilStatus(name, ({ replicaStatus }) => replicaStatus === 'Healthy')
    const started = async () => (await healthy()).replicas.map(({ startedAt }) => startedAt)
    const before = await started()
    const read = await gateway.api('GET', `/adapters/${name}`)
    const refused = await gateway.api('POST', `/adapters/${name}/restart`, undefined, {
      'if-match': '"other-1"',
    })
    expect(refused).toMatchObject({ status: 412, body: { code: 'precondition_failed' } })
    const asked = await gateway.api('POST', `/adapters/${name}/restart`, undefined, {
      'if-match': read.headers.get('etag') ?? '',
    })
    expect(asked).toMatchObject({
      status: 202,
      body: { generation: 2, updatedReplicas: 0, restartedAt: expect.any(String) },
    })
    const after = await started()
    expect(after.filter((startedAt) => before.includes(startedAt))).toEqual([])
    const { lastUpdatedAt: _before, ...registered } = read.body as Record<string, unknown>
    expect((await gateway.api('GET', `/adapters/${name}`)).body).toMatchObject(registered)
    await gateway.api('PATCH', `/adapters/${name}`, { description: 'changed' })
    expect(await started()).toEqual(after)
    expect(await gateway.api('GET', `/adapters/${name}/status`)).toMatchObject({
      body: { generation: 2, updatedReplicas: 2 },
    })
  })

  test('status and logs of stopped or deleted adapters have codes (B9, B10, B11)', async () => {
    const [stopped, broken] = [newName(), newName()]
    await create(minimal(stopped))
    await create(minimal(broken, { imageName: 'no-such-image', replicaCount: 1 }))
    const get = (path: string): ReturnType<GatewayProcess['api']> =>
      gateway.api('GET', `/adapters/${path}`, undefined, alice)
    await expect
      .poll(async () => (await get(`${stopped}/status`)).body)
      .toMatchObject({ replicaStatus: 'Stopped', readyReplicas: 0 })
    await expect
      .poll(async () => (await get(`${broken}/status`)).body)
      .toMatchObject({
        replicaStatus: 'Degraded: 0/1 ready',
        conditions: expect.arrayContaining([expect.objectContaining({ reason: 'ImageNotFound' })]),
      })
    for (const name of [stopped, broken])
      expect(await get(`${name}/logs`)).toMatchObject({ status: 404, body: { code: 'not_found' } })
    await gateway.api('DELETE', `/adapters/${stopped}`, undefined, alice)
    for (const path of [stopped, `${stopped}/status`, `${stopped}/logs`])
      expect(await get(path)).toMatchObject({ status: 404, body: { code: 'not_found' } })
  })
})

describe('secrets (A12)', () => {
  test('secrets are never echoed, and survive reading, editing and sending back', async () => {
    const name = newName()
    const secret = 'do-not-show-me'
    const created = await create(
      minimal(name, {
        environmentVariables: {
          API_KEY: secret,
          MARKED: { value: secret, secret: true },
          PLAIN: 'shown',
          SHOWN_TOKEN: { value: 'public', secret: false },
        },
      }),
    )
    expect(created.body).toMatchObject({
      environmentVariables: {
        API_KEY: '********',
        MARKED: '********',
        PLAIN: 'shown',
        SHOWN_TOKEN: 'public',
      },
    })

    const read = await gateway.api('GET', `/adapters/${name}`, undefined, alice)
    const again = await gateway.api(
      'PUT',
      `/adapters/${name}`,
      {
        ...minimal(name),
        environmentVariables: (read.body as { environmentVariables: object }).environmentVariables,
      },
      alice,
    )
    expect(again.status).toBe(200)
    expect(again.headers.get('etag')).not.toBeNull()

    const patched = await gateway.api(
      'PATCH',
      `/adapters/${name}`,
      { description: 'edited' },
      alice,
    )
    expect(patched.body).toMatchObject({
      environmentVariables: { MARKED: '********' },
      description: 'edited',
    })

    const unknown = await gateway.api(
      'PATCH',
      `/adapters/${name}`,
      { environmentVariables: { NEVER_STORED: '********' } },
      alice,
    )
    expect(unknown.body).toMatchObject({
      errors: [{ pointer: '/environmentVariables/NEVER_STORED', code: 'masked_value' }],
    })
    for (const { body } of [created, read, again, patched])
      expect(JSON.stringify(body)).not.toContain(secret)
    expect(gateway.output).not.toContain(secret)
  })
})

describe('who may do what', () => {
  test('required roles read, creator and mcp.admin write, others see nothing (A21)', async () => {
    const name = newName()
    await create(minimal(name, { requiredRoles: ['mcp.engineer'] }))
    const stranger = { 'x-dev-userid': 'eve', 'x-dev-roles': 'other' }
    const get = (headers: Record<string, string>): Promise<{ status: number }> =>
      gateway.api('GET', `/adapters/${name}`, undefined, headers)
    expect([
      (await get(alice)).status,
      (await get(bob)).status,
      (await get(admin)).status,
      (await get(stranger)).status,
    ]).toEqual([200, 200, 200, 404])

    const patch = (headers: Record<string, string>): Promise<{ status: number }> =>
      gateway.api('PATCH', `/adapters/${name}`, { description: 'x' }, headers)
    expect([
      (await patch(bob)).status,
      (await patch(stranger)).status,
      (await patch(admin)).status,
    ]).toEqual([403, 404, 200])
    expect((await gateway.api('GET', `/adapters/${name}/logs`, undefined, bob)).status).toBe(403)

    const listed = async (headers: Record<string, string>): Promise<boolean> =>
      ((await gateway.api('GET', '/adapters', undefined, headers)).body as { name: string }[]).some(
        (each) => each.name === name,
      )
    expect([await listed(alice), await listed(bob), await listed(stranger)]).toEqual([
      true,
      true,
      false,
    ])
  })

  test('a role turns workload identity on, and its owner may go on editing (B15)', async () => {
    const name = newName()
    const plain = { ...alice, 'x-dev-roles': 'user' }
    expect((await create(minimal(name, { useWorkloadIdentity: true }), plain)).status).toBe(403)
    // The payloads of the original's documentation work unchanged for a developer on a laptop.
    expect(
      (
        await create(minimal(newName(), { useWorkloadIdentity: true }), {
          'x-dev-userid': 'dev',
        } as unknown as typeof alice)
      ).status,
    ).toBe(201)
    await create(minimal(name))
    expect(
      (await gateway.api('PATCH', `/adapters/${name}`, { useWorkloadIdentity: true }, admin))
        .status,
    ).toBe(200)
    expect(
      (await gateway.api('PATCH', `/adapters/${name}`, { description: 'mine' }, alice)).status,
    ).toBe(200)
    expect(
      (await gateway.api('PATCH', `/adapters/${name}`, { useWorkloadIdentity: false }, alice))
        .status,
    ).toBe(200)
  })
})

describe('roles', () => {
  test('roles match however they were padded, in payload or header (B14)', async () => {
    const name = newName()
    const { body } = await create(
      minimal(name, { requiredRoles: ['  mcp.engineer ', 'mcp.engineer'] }),
    )
    expect(body).toMatchObject({ requiredRoles: ['mcp.engineer'] })
    const padded = { 'x-dev-userid': 'bob', 'x-dev-roles': ' other ,  mcp.engineer ' }
    expect((await gateway.api('GET', `/adapters/${name}`, undefined, padded)).status).toBe(200)
  })
})

describe('lists', () => {
  test('lists are ordered, paged and filtered', async () => {
    const pager = { 'x-dev-userid': 'pager' }
    for (const name of ['page-c', 'page-a', 'page-e', 'page-b', 'page-d'])
      await create(
        minimal(name, { description: name === 'page-d' ? 'The Needle' : '' }),
        pager as unknown as typeof alice,
      )
    const seen: string[] = []
    for (let next: string | undefined = '/adapters?limit=2&name=page-'; next !== undefined;) {
      const page = await gateway.api('GET', next, undefined, pager)
      seen.push(...(page.body as { name: string }[]).map(({ name }) => name))
      next = /<([^>]+)>; rel="next"/.exec(page.headers.get('link') ?? '')?.[1]
    }
    expect(seen).toEqual(['page-a', 'page-b', 'page-c', 'page-d', 'page-e'])
    expect((await gateway.api('GET', '/adapters?q=needle', undefined, pager)).body).toMatchObject([
      { name: 'page-d' },
    ])
    expect((await gateway.api('GET', '/adapters?limit=0', undefined, pager)).body).toMatchObject({
      errors: [{ pointer: 'query:limit' }],
    })
  })
})

describe('bad input', () => {
  test('bad input has every mistake listed with its place', async () => {
    const { status, body } = await create({
      name: 'Bad_Name',
      imageName: '../x',
      replicaCount: -1,
      description: null,
      requiredRoles: 'a',
      environmentVariables: { '1 A': 'x', B: 1 },
    })
    expect(status).toBe(400)
    expect(body).toMatchObject({ code: 'validation_failed', retryable: false })
    expect(
      (body as { errors: { pointer: string }[] }).errors.map(({ pointer }) => pointer),
    ).toEqual(
      expect.arrayContaining([
        '/name',
        '/imageName',
        '/imageVersion',
        '/replicaCount',
        '/description',
        '/requiredRoles',
        '/environmentVariables/1 A',
        '/environmentVariables/B',
      ]),
    )
  })

  test('an environment that no system can take is refused before anything is stored', async () => {
    const long = await create(
      minimal(newName(), { environmentVariables: { LONG: 'x'.repeat(128 * 1024) } }),
    )
    expect(long).toMatchObject({
      status: 413,
      body: { errors: [{ pointer: '/environmentVariables/LONG', code: 'environment_too_large' }] },
    })
    const many = Object.fromEntries(
      Array.from({ length: 9 }, (_, index) => [`V${index}`, 'é'.repeat(50_000)]),
    )
    expect(await create(minimal(newName(), { environmentVariables: many }))).toMatchObject({
      status: 413,
      body: {
        code: 'environment_too_large',
        errors: [{ pointer: '/environmentVariables', code: 'environment_too_large' }],
      },
    })
    const { V0, V1 } = many
    expect((await create(minimal(newName(), { environmentVariables: { V0, V1 } }))).status).toBe(
      201,
    )
  })

  test.each([
    '1.0@sha256:abc',
    'sha512:abc',
    '@sha256:abc',
    `1.0.0@sha256:${'a'.repeat(64)}`,
    `sha256:${'a'.repeat(64)}`,
  ])('an image version of %s is accepted if its digest is whole', async (imageVersion) => {
    expect((await create(minimal(newName(), { imageVersion }))).status).toBe(
      imageVersion.includes('aaaa') ? 201 : 400,
    )
  })

  test.each(['mcpgateway', 'toolgateway', 'redis', 'list', 'mcp'])(
    'the name %s is reserved (A1, A2, B20)',
    async (name) => {
      expect((await create(minimal(name))).body).toMatchObject({
        errors: [{ pointer: '/name', code: 'name_reserved' }],
      })
    },
  )

  const badNames = ['-a', 'a-', '1a', 'a'.repeat(53), 'a'.repeat(10_000), '', 'a.b', 'ä', 'a_b']
  test.each(badNames.map((name) => [name.slice(0, 60), name] as const))(
    'the name %s is refused (B2)',
    async (_start, name) => {
      expect((await create(minimal(name))).body).toMatchObject({ code: 'validation_failed' })
    },
  )

  test('unknown fields are named in warnings, with a likely name', async () => {
    const { status, body } = await create(minimal(newName(), { replicacount: 3, protocol: 'MCP' }))
    expect(status).toBe(201)
    expect(body).toMatchObject({
      warnings: [
        {
          pointer: '/replicacount',
          detail: expect.stringContaining("Did you mean 'replicaCount'?"),
        },
        { pointer: '/protocol' },
      ],
    })
  })

  test('too many replicas, and fractions of them, are refused (B11)', async () => {
    for (const replicaCount of [21, 1.5, 1e9, '2'])
      expect((await create(minimal(newName(), { replicaCount }))).status).toBe(400)
  })

  test.each([
    ['{', 'application/json', 400, 'invalid_json'],
    ['', 'application/json', 400, 'invalid_json'],
    ['[]', 'application/json', 400, 'validation_failed'],
    ['null', 'application/json', 400, 'validation_failed'],
    ['{"name":"a","name":"b"}', 'application/json', 400, 'validation_failed'],
    ['{}', 'text/plain', 415, 'unsupported_media_type'],
  ])('the body %s as %s is %i %s', async (body, type, status, code) => {
    const response = await fetch(`${gateway.origin}/adapters`, {
      method: 'POST',
      headers: { 'content-type': type },
      body,
    })
    expect(response.status).toBe(status)
    expect(response.headers.get('content-type')).toBe('application/problem+json')
    expect(await response.json()).toMatchObject({
      code,
      requestId: response.headers.get('x-request-id'),
    })
  })

  test('a DELETE and a restart with a JSON type and no body are carried out', async () => {
    const name = newName()
    await create(minimal(name))
    const send = (method: string, path: string): Promise<Response> =>
      fetch(`${gateway.origin}/adapters/${path}`, {
        method,
        headers: { 'content-type': 'application/json', 'x-dev-userid': 'alice' },
      })

    expect((await send('POST', `${name}/restart`)).status).toBe(202)
    expect((await send('DELETE', name)).status).toBe(204)
  })

  const unreached = [
    '/adapters/%2e%2e/mcp',
    '/adapters//mcp',
    '//adapters/x/mcp',
    '/adapters/x/mcp//',
    '/adapters/x/../y/mcp',
    '/adapters/x%2fmcp',
    '/ADAPTERS/x/mcp',
    '/adapters/x/mcp/extra',
    '/adapters/x;a/mcp',
    '/%',
    `/${'a'.repeat(9000)}`,
  ]
  test.each(unreached.map((path) => [path.slice(0, 60), path] as const))(
    'the path %s reaches nothing',
    async (_start, path) => {
      const answer = await raw(
        `POST ${path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n` +
          'content-length: 2\r\nconnection: close\r\n\r\n{}',
      )
      expect(answer).toMatch(/^HTTP\/1\.1 (400|404|405) /)
      expect(answer).toMatch(/"code":"(not_found|method_not_allowed)"/)
    },
  )

  test('a body beyond the limit is refused before it is read, on both planes', async () => {
    const name = newName()
    await impatient.api('POST', '/adapters', minimal(name), alice)
    for (const path of ['/adapters', `/adapters/${name}/mcp`]) {
      const answer = await raw(
        `POST ${path} HTTP/1.1\r\nhost: localhost\r\nx-dev-userid: alice\r\n` +
          'content-type: application/json\r\ncontent-length: 5000000\r\n\r\n{"name":',
        impatient,
      )
      expect(answer).toMatch(/^HTTP\/1\.1 413 .*body_too_large/s)
    }
  })

  test('a wrong method is 405, and the answer names the right ones', async () => {
    const answer = await gateway.api('DELETE', '/adapters', undefined, alice)
    expect(answer).toMatchObject({ status: 405, body: { code: 'method_not_allowed' } })
    expect(answer.headers.get('allow')).toContain('POST')
    expect((await gateway.api('PUT', '/adapters/x/mcp', {}, alice)).status).toBe(404)
  })
})

describe('the edge', () => {
  test.each([
    [
      'two lengths',
      'POST /adapters HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n' +
        'content-length: 3\r\n\r\n{}',
    ],
    [
      'length and chunks',
      'POST /adapters HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n' +
        'transfer-encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
    [
      'obscured chunks',
      'POST /adapters HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n',
    ],
    ['a folded header', 'GET /ping HTTP/1.1\r\nhost: localhost\r\nx-a: b\r\n c\r\n\r\n'],
    ['a space before the colon', 'GET /ping HTTP/1.1\r\nhost : localhost\r\n\r\n'],
    [
      'two hosts',
      'GET /ping HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\nconnection: close\r\n\r\n',
    ],
    ['no host', 'GET /ping HTTP/1.1\r\n\r\n'],
    ['no HTTP at all', '\u0016\u0003\u0001 hello\r\n\r\n'],
  ])('the edge refuses a request with %s', async (_what, text) => {
    expect(await raw(text)).toMatch(/^HTTP\/1\.1 4\d\d /)
  })

  test('the edge refuses headers beyond the limit with 431', async () => {
    expect(
      await raw(`GET /ping HTTP/1.1\r\nhost: localhost\r\nx-a: ${'a'.repeat(40_000)}\r\n\r\n`),
    ).toMatch(/^HTTP\/1\.1 431 .*headers_too_large/s)
  })

  test('the edge cuts off a client that sends too slowly', async () => {
    // By default Node looks for expired requests every 30 seconds. The gateway makes it look every
    // second.
    expect(await raw('POST /adapters HTTP/1.1\r\nhost: localhost\r\nx-slow: ', impatient)).toMatch(
      /^HTTP\/1\.1 408 /,
    )
  })

  test('the edge refuses other hosts and origins on both planes', async () => {
    for (const path of ['/adapters', '/adapters/x/mcp', '/ping']) {
      expect(
        await raw(`GET ${path} HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n`),
      ).toMatch(/^HTTP\/1\.1 403 .*host_not_allowed/s)
      expect(
        await raw(
          `GET ${path} HTTP/1.1\r\nhost: localhost\r\norigin: https://evil.example\r\n` +
            'connection: close\r\n\r\n',
        ),
      ).toMatch(/^HTTP\/1\.1 403 .*origin_not_allowed/s)
    }
  })

  test('the edge answers preflights of configured origins and shows the session id', async () => {
    const preflight = await raw(
      'OPTIONS /adapters/x/mcp HTTP/1.1\r\nhost: localhost\r\n' +
        'origin: https://app.example\r\naccess-control-request-method: POST\r\n' +
        'access-control-request-headers: mcp-session-id\r\nconnection: close\r\n\r\n',
    )
    expect(preflight).toMatch(/^HTTP\/1\.1 204 /)
    expect(preflight).toMatch(/access-control-allow-origin: https:\/\/app\.example/i)
    expect(preflight).toMatch(/access-control-allow-headers: mcp-session-id/i)
    expect(preflight).toMatch(/access-control-expose-headers: .*Mcp-Session-Id/i)
  })

  test('health needs no identity, and everybody may read the document', async () => {
    expect((await gateway.api('GET', '/ping')).status).toBe(200)
    expect((await gateway.api('GET', '/healthz')).body).toEqual({ status: 'ok' })
    expect((await gateway.api('GET', '/readyz')).body).toEqual({ status: 'ready' })
    expect((await gateway.api('GET', '/openapi.json')).body).toMatchObject({
      openapi: '3.1.1',
      paths: { '/adapters': { get: { operationId: 'listAdapters' } } },
    })
    expect((await gateway.api('GET', '/docs')).body).toContain('POST')
  })
})

describe('an image', () => {
  test('an image may serve MCP at another path, and the query goes along (C25)', async () => {
    const name = newName()
    await create(minimal(name, { imageName: 'elsewhere', replicaCount: 1 }))
    const answer = await gateway.api(
      'POST',
      `/adapters/${name}/mcp?a=b`,
      { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'where' } },
      { ...alice, accept: 'application/json, text/event-stream' },
    )
    expect(answer).toMatchObject({
      status: 200,
      body: { result: { structuredContent: { url: '/some/where?a=b' } } },
    })
  })
})

describe('the program', () => {
  /** Runs the program to its end, which a mistake brings at once. */
  function run(
    environment: Record<string, string>,
    ...words: string[]
  ): { status: number | null; stderr: string } {
    const dataDir = mkdtempSync(join(tmpdir(), 'mcpgw-e2e-'))
    try {
      return spawnSync(process.execPath, [programs.gateway, ...words], {
        cwd: dataDir,
        env: { ...process.env, MCPGW_PORT: '0', MCPGW_DATA_DIR: dataDir, ...environment },
        encoding: 'utf8',
        timeout: 60_000,
      })
    } finally {
      rmSync(dataDir, { recursive: true, force: true })
    }
  }

  test.each([
    [
      'a port that is taken',
      () => run({ MCPGW_PORT: new URL(gateway.origin).port }),
      1,
      /another program listens there.*MCPGW_PORT/,
    ],
    [
      'a data folder that is in use',
      () => run({ MCPGW_DATA_DIR: gateway.dataDir }),
      1,
      /Another gateway .* uses the data folder/,
    ],
    [
      'a data folder that is a file',
      () => run({ MCPGW_DATA_DIR: programs.gateway }),
      1,
      /The data folder .* cannot be made/,
    ],
    [
      'a configuration that is not there',
      () => run({ MCPGW_CONFIG: '/no/such.yaml' }),
      1,
      /\/no\/such\.yaml: the file does not exist \(MCPGW_CONFIG\)/,
    ],
    ['a variable that is misspelt', () => run({ MCPGW_HSOT: 'x' }), 1, /MCPGW_HSOT: is not known/],
    ['an unknown option', () => run({}, '--nope'), 2, /Unknown option '--nope'\.\n/],
    [
      'an unknown command beside a mistake of the configuration',
      () => run({ MCPGW_HSOT: 'x' }, 'confg', 'check'),
      2,
      /Unknown command: confg check/,
    ],
    ['an unknown command', () => run({}, 'serve'), 2, /Unknown command: serve/],
  ])(
    'the program says what is wrong with %s, without a stack trace',
    (_what, start, status, message) => {
      const outcome = start()
      expect(outcome.stderr).toMatch(message)
      expect(outcome.stderr).not.toMatch(/^ +at /m)
      expect(outcome.status).toBe(status)
    },
  )

  test('the program drains on a Ctrl-C that arrives twice, from terminal and npm', async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'mcpgw-e2e-'))
    const second = await GatewayProcess.start({
      dataDir,
      environment: { MCPGW_EDGE_DRAIN_SECONDS: '3' },
      config: { runtime: { images: { echo: { command: [process.execPath, programs.echoHttp] } } } },
    })
    await second.api('POST', '/adapters', minimal('echo', { replicaCount: 1 }))
    await second.untilStatus('echo', ({ replicaStatus }) => replicaStatus === 'Healthy')
    // An unread answer delays the drain by its limit. The other signal comes in that time.
    const params = { name: 'big', arguments: { megabytes: 1000 } }
    const held = await fetch(`${second.origin}/adapters/echo/mcp`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params }),
    })
    expect(held.status).toBe(200)
    const ended = second.end('SIGINT')
    await sleep(50)
    process.kill(second.pid, 'SIGINT')
    expect(await ended).toBe(0)
    await expect(held.arrayBuffer()).rejects.toThrow()
    expect(existsSync(join(dataDir, 'gateway.lock'))).toBe(false)
    rmSync(dataDir, { recursive: true, force: true })
  })
})
