import type { ToolResource } from '@mcp-gateway/contract'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestGateway } from '../fixtures/gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await TestGateway.open()
})
afterAll(() => gateway[Symbol.asyncDispose]())

interface Answer<T> {
  readonly status: number
  readonly headers: Readonly<Record<string, unknown>>
  readonly body: T
}

async function call<T = ToolResource>(
  method: string,
  path: string,
  body?: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer<T>> {
  const answer = await gateway.send(path, {
    method,
    headers: {
      ...(body === undefined
        ? {}
        : {
            'content-type':
              method === 'PATCH' ? 'application/merge-patch+json' : 'application/json',
          }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  })
  const text = answer.body.toString()
  return {
    status: answer.status,
    headers: answer.headers,
    body: (text === '' ? undefined : JSON.parse(text)) as T,
  }
}

const adapter = (name: string) => ({ name, imageName: 'scripted', imageVersion: '1' })

interface Problem {
  readonly code: string
  readonly detail?: string
  readonly errors?: readonly {
    readonly pointer: string
    readonly code: string
    readonly detail: string
  }[]
}

let names = 0
const next = (): string => `t${(names += 1)}`

/** A tool with an endpoint on which nobody listens. */
function tool(
  name: string,
  more: Readonly<Record<string, unknown>> = {},
  definition: Readonly<Record<string, unknown>> = {},
) {
  return {
    name,
    endpoint: 'http://127.0.0.1:9/score',
    toolDefinition: { tool: { name: `${name}_tool`, ...definition } },
    ...more,
  }
}

const mistakeOf = async (body: unknown): Promise<unknown> => {
  const { status, body: problem } = await call<Problem>('POST', '/tools', body)
  expect(status).toBe(400)
  return problem.errors?.map(({ pointer, code }) => `${pointer} ${code}`)
}

/** The example of the original's README. */
const readme = {
  name: 'weather',
  imageName: 'scripted',
  imageVersion: '1.0.0',
  description: 'Weather tool for getting current weather information',
  toolDefinition: {
    tool: {
      name: 'weather',
      title: 'Weather Information',
      description: 'Gets the current weather for a specified location.',
      type: 'http',
      annotations: { readOnly: true },
      inputSchema: {
        type: 'object',
        properties: {
          location: { type: 'string', description: 'The city and state, e.g. San Francisco, CA' },
        },
        required: ['location'],
      },
    },
    port: 8000,
  },
}

describe('/tools', () => {
  test('/tools takes the payload of the original, and reads readOnly as readOnlyHint', async () => {
    const created = await call('POST', '/tools', readme)
    expect(created.status).toBe(201)
    expect(created.headers).toMatchObject({ location: '/tools/weather', etag: expect.any(String) })
    expect(created.body.warnings?.map(({ pointer, code }) => [pointer, code])).toEqual([
      ['/toolDefinition/tool/annotations/readOnly', 'renamed_field'],
    ])

    const { body } = await call('GET', '/tools/weather')
    const { type: _type, annotations: _annotations, ...definition } = readme.toolDefinition.tool
    expect(body).toMatchObject({
      id: 'weather',
      imageName: 'scripted',
      imageVersion: '1.0.0',
      replicaCount: 1,
      createdBy: 'dev',
      toolDefinition: { port: 8000, path: '/score' },
    })
    expect(body.toolDefinition.tool).toEqual({ ...definition, annotations: { readOnlyHint: true } })
    expect(body.warnings).toBeUndefined()
    await expect
      .poll(
        async () =>
          (await call<{ replicaStatus: string }>('GET', '/tools/weather/status')).body
            .replicaStatus,
        { timeout: 30_000 },
      )
      .toBe('Healthy')

    const logs = await gateway.send('/tools/weather/logs', { method: 'GET' })
    expect(logs.status).toBe(200)
    expect(logs.headers['content-type']).toContain('text/plain')
    expect((await call('DELETE', '/tools/weather')).status).toBe(204)
    expect((await call('GET', '/tools/weather')).status).toBe(404)
  })

  test('the error about an unknown field names its place, and a likely name', async () => {
    const { status, body } = await call(
      'POST',
      '/tools',
      tool(
        next(),
        { tolDefinition: 1 },
        { inputschema: {}, icons: [{ src: 'https://a/b', alt: 'x' }] },
      ),
    )
    expect(status).toBe(201)
    expect(
      body.warnings?.map(
        ({ pointer, detail }) => `${pointer} ${/Did you mean .*/.exec(detail)?.[0] ?? ''}`,
      ),
    ).toEqual([
      "/toolDefinition/tool/inputschema Did you mean 'inputSchema'?",
      '/toolDefinition/tool/icons/0/alt ',
      "/tolDefinition Did you mean 'toolDefinition'?",
    ])
  })

  test.each(['/adapters', '/tools'])(
    'a mask in a POST to %s is a mistake, because nothing is stored that it could keep',
    async (path) => {
      const name = next()
      const workload = path === '/tools' ? tool(name) : adapter(name)
      for (const given of [
        '********',
        { value: '********' },
        { value: '********', secret: true },
      ]) {
        const environmentVariables = { PLAIN: 'text', API_KEY: given }
        const answer = await call<Problem>('POST', path, { ...workload, environmentVariables })
        expect(answer).toMatchObject({
          status: 400,
          body: {
            code: 'validation_failed',
            errors: [{ pointer: '/environmentVariables/API_KEY', code: 'masked_value' }],
          },
        })
      }

      const credential = { header: 'X-Key', value: '********' }
      const answer = await call<Problem>('POST', path, { ...workload, credential })
      expect(answer).toMatchObject({
        status: 400,
        body: { errors: [{ pointer: '/credential/value', code: 'masked_value' }] },
      })
      expect((await call('GET', `${path}/${name}`)).status).toBe(404)
    },
  )

  test('adapters and tools share one name space, each at its own address', async () => {
    const name = next()
    expect((await call('POST', '/tools', tool(name))).status).toBe(201)
    const taken = await call<Problem>('POST', '/adapters', {
      name,
      imageName: 'scripted',
      imageVersion: '1',
    })
    expect([taken.status, taken.body.code]).toEqual([409, 'name_taken'])
    expect((await call('GET', `/adapters/${name}`)).status).toBe(404)
    expect((await call('DELETE', `/adapters/${name}`)).status).toBe(404)
    expect((await call('GET', `/tools/${name}`)).status).toBe(200)
    expect((await call<unknown[]>('GET', `/adapters?name=${name}`)).body).toEqual([])
    expect(
      (await call<ToolResource[]>('GET', `/tools?name=${name}`)).body.map(
        ({ name: found }) => found,
      ),
    ).toContain(name)
  })

  test.each([
    [
      '/adapters',
      (name: string) => ({ name, imageName: 'scripted', imageVersion: '1', replicaCount: 0 }),
    ],
    ['/tools', (name: string) => tool(name)],
  ])('a DELETE of one of %s with an old ETag is 412 and deletes nothing', async (path, body) => {
    const name = next()
    expect((await call('POST', path, body(name))).status).toBe(201)
    const etag = async (): Promise<string> => {
      const { status, headers } = await gateway.send(`${path}/${name}`, { method: 'GET' })
      expect(status).toBe(200)
      return String(headers.etag)
    }
    const remove = async (version: string): Promise<number> =>
      (
        await gateway.send(`${path}/${name}`, {
          method: 'DELETE',
          headers: { 'if-match': version },
        })
      ).status
    const old = await etag()
    expect((await call('PATCH', `${path}/${name}`, { description: 'changed' })).status).toBe(200)
    expect(await remove(old)).toBe(412)
    expect(await remove('"0-0"')).toBe(412)
    expect(await etag()).not.toBe(old)
    expect(await remove(await etag())).toBe(204)
  })

  test('the ETag of a deleted tool does not fit the next one of its name', async () => {
    const name = next()
    const path = `/adapters/${name}`
    const body = { ...adapter(name), replicaCount: 0 }
    const made = await call('POST', '/adapters', body)
    expect((await call('DELETE', path)).status).toBe(204)
    const again = await call('POST', '/adapters', body)
    expect(again.headers['etag']).not.toBe(made.headers['etag'])
    const old = { 'if-match': String(made.headers['etag']) }
    const changes = { PUT: body, PATCH: { description: 'x' }, DELETE: undefined }
    for (const [method, sent] of Object.entries(changes))
      expect((await call(method, path, sent, old)).status).toBe(412)
    const known = { 'if-none-match': String(made.headers['etag']) }
    expect((await call('GET', path, undefined, known)).status).toBe(200)
  })

  test('MCP tool names are unique over all tools, also in a race', async () => {
    const outcomes = await Promise.all(
      Array.from(
        { length: 10 },
        async () =>
          (await call<Problem>('POST', '/tools', tool(next(), {}, { name: 'get_weather' }))).status,
      ),
    )
    expect(outcomes.toSorted((a, b) => a - b)).toEqual([
      201,
      ...Array.from({ length: 9 }, () => 409),
    ])
    const name = next()
    await call('POST', '/tools', tool(name))
    const renamed = await call<Problem>('PATCH', `/tools/${name}`, {
      toolDefinition: { tool: { name: 'get_weather' } },
    })
    expect([renamed.status, renamed.body.code, renamed.body.detail]).toEqual([
      409,
      'name_taken',
      expect.stringContaining('MCP tool name'),
    ])
  })

  test.each(['get_weather2', 'Get.Weather-3', 'x'.repeat(128), '_', '0'])(
    'the legal MCP tool name %s works',
    async (name) => {
      expect((await call('POST', '/tools', tool(next(), {}, { name }))).status).toBe(201)
    },
  )

  test.each(['', 'a b', 'wetter_ß', 'a/b', 'x'.repeat(129)])(
    "the MCP tool name '%s' is refused",
    async (name) => {
      expect(await mistakeOf(tool(next(), {}, { name }))).toEqual([
        '/toolDefinition/tool/name invalid_format',
      ])
    },
  )

  test('a merge patch reaches into the definition, and texts restart nothing', async () => {
    const name = next()
    const { body: created } = await call('POST', '/tools', {
      ...readme,
      name,
      toolDefinition: { tool: { ...readme.toolDefinition.tool, name } },
    })
    const patched = await call('PATCH', `/tools/${name}`, {
      toolDefinition: { tool: { title: 'T', annotations: null }, path: '/other' },
    })
    expect(patched.status).toBe(200)
    expect(patched.body.toolDefinition.tool).toEqual({
      ...created.toolDefinition.tool,
      title: 'T',
      annotations: undefined,
    })
    expect(patched.body.toolDefinition.path).toBe('/other')

    const generation = async (): Promise<number> =>
      (await call<{ generation: number }>('GET', `/tools/${name}/status`)).body.generation
    expect(await generation()).toBe(1)

    await call('PATCH', `/tools/${name}`, { imageVersion: '2' })
    expect(await generation()).toBe(2)

    const moved = await call('PATCH', `/tools/${name}`, {
      imageName: null,
      imageVersion: null,
      endpoint: 'http://127.0.0.1:9/',
    })
    expect(moved.status).toBe(200)
    expect(moved.body.endpoint).toBe('http://127.0.0.1:9/')
    expect(moved.body.imageName).toBeUndefined()
    expect(
      (await call<{ replicaStatus: string }>('GET', `/tools/${name}/status`)).body.replicaStatus,
    ).toBe('External')

    const back = await call('PATCH', `/tools/${name}`, {
      endpoint: null,
      imageName: 'scripted',
      imageVersion: '3',
    })
    expect([back.status, back.body.imageName, back.body.replicaCount]).toEqual([200, 'scripted', 1])
    expect((await call('DELETE', `/tools/${name}`)).status).toBe(204)
  })

  test('a change against an old version is refused', async () => {
    const name = next()
    const { headers } = await call('POST', '/tools', tool(name))
    const etag = String(headers['etag'])
    expect(
      (await call('PATCH', `/tools/${name}`, { description: 'a' }, { 'if-match': etag })).status,
    ).toBe(200)
    expect((await call('PUT', `/tools/${name}`, tool(name), { 'if-match': etag })).status).toBe(412)
    expect((await call('GET', `/tools/${name}`, undefined, { 'if-none-match': etag })).status).toBe(
      200,
    )
  })

  test('a tool that a caller may not see does not exist for it', async () => {
    const name = next()
    await call('POST', '/tools', tool(name, { requiredRoles: ['weather.user'] }), {
      'x-dev-userid': 'alice',
    })
    const bob = { 'x-dev-userid': 'bob' }
    expect((await call('GET', `/tools/${name}`, undefined, bob)).status).toBe(404)
    expect((await call<unknown[]>('GET', `/tools?name=${name}`, undefined, bob)).body).toEqual([])
    const user = { ...bob, 'x-dev-roles': 'Weather.User' }
    expect((await call('GET', `/tools/${name}`, undefined, user)).status).toBe(200)
    expect((await call('PATCH', `/tools/${name}`, { description: 'x' }, user)).status).toBe(403)
    expect((await call('GET', `/tools/${name}/logs`, undefined, user)).status).toBe(403)
  })
})

describe('mistakes in a definition', () => {
  const schema = (inputSchema: unknown, more: object = {}): object =>
    tool(next(), {}, { inputSchema, ...more })

  test.each([
    [
      'neither image nor endpoint',
      () => ({ ...tool(next()), endpoint: undefined }),
      ['/imageName invalid_type', '/imageVersion invalid_type'],
    ],
    [
      'image and endpoint',
      () => tool(next(), { imageName: 'scripted', imageVersion: '1' }),
      ['/imageName ambiguous', '/imageVersion ambiguous'],
    ],
    [
      'no definition',
      () => ({ ...tool(next()), toolDefinition: undefined }),
      ['/toolDefinition invalid_type'],
    ],
    [
      'null for the definition',
      () => ({ ...tool(next()), toolDefinition: null }),
      ['/toolDefinition invalid_type'],
    ],
    [
      'a port out of range',
      () => tool(next(), { toolDefinition: { tool: { name: 'p' }, port: 70_000 } }),
      ['/toolDefinition/port too_big'],
    ],
    [
      'a path with a query',
      () => tool(next(), { toolDefinition: { tool: { name: 'p' }, path: '/a?b' } }),
      ['/toolDefinition/path invalid_format'],
    ],
    [
      'a schema that is text',
      () => schema('object'),
      ['/toolDefinition/tool/inputSchema invalid_type'],
    ],
    [
      'a schema of an array',
      () => schema({ type: 'array' }),
      ['/toolDefinition/tool/inputSchema/type schema_not_object'],
    ],
    [
      'a header annotation on a list',
      () => schema({ type: 'object', properties: { a: { type: 'array', 'x-mcp-header': 'A' } } }),
      ['/toolDefinition/tool/inputSchema invalid_header_annotation'],
    ],
    [
      'a large schema whose every property is repeated by a header',
      () => {
        const property = (index: number): object => ({
          [`p${index}`]: { type: 'string', 'x-mcp-header': `A${index}` },
        })
        return schema({
          type: 'object',
          properties: Object.assign(
            {},
            ...Array.from({ length: 5000 }, (_, index) => property(index)),
          ),
        })
      },
      ['/toolDefinition/tool/inputSchema schema_too_large'],
    ],
    [
      'a schema without a type',
      () => schema({}),
      ['/toolDefinition/tool/inputSchema/type schema_not_object'],
    ],
    [
      'a type that does not exist',
      () => schema({ type: 'object', properties: { a: { type: 'text' } } }),
      ['/toolDefinition/tool/inputSchema/properties/a/type schema_invalid'],
    ],
    [
      'a reference that has no end',
      () => schema({ type: 'object', $ref: '#/$defs/a', $defs: { a: { $ref: '#/$defs/a' } } }),
      ['/toolDefinition/tool/inputSchema/$defs/a schema_loop'],
    ],
    [
      'a schema of a megabyte',
      () => schema({ type: 'object', description: 'x'.repeat(1024 * 1024) }),
      ['/toolDefinition/tool/inputSchema schema_too_large'],
    ],
    [
      'a schema that takes many seconds to compile',
      () => {
        const patternProperties = Object.fromEntries(
          Array.from({ length: 5000 }, (_, index) => [`p${index}`, {}]),
        )
        return schema({ type: 'object', patternProperties, additionalProperties: false })
      },
      ['/toolDefinition/tool/inputSchema schema_too_slow'],
    ],
    [
      'a long regular expression',
      () => schema({ type: 'object', properties: { a: { pattern: 'a?'.repeat(600) } } }),
      ['/toolDefinition/tool/inputSchema/properties/a/pattern pattern_too_long'],
    ],
    [
      'a mistake in the output schema',
      () => schema({ type: 'object' }, { outputSchema: { type: 1 } }),
      ['/toolDefinition/tool/outputSchema/type schema_invalid'],
    ],
    [
      'a definition that fills a list',
      () => tool(next(), {}, { _meta: { a: 'x'.repeat(200_000) } }),
      ['/toolDefinition/tool definition_too_large'],
    ],
    ['no URL', () => tool(next(), { endpoint: 'weather' }), ['/endpoint invalid_format']],
    [
      'another scheme',
      () => tool(next(), { endpoint: 'file:///etc/passwd' }),
      ['/endpoint invalid_format'],
    ],
    [
      'a password in the address',
      () => tool(next(), { endpoint: 'http://u:p@example.com/' }),
      ['/endpoint endpoint_credentials'],
    ],
    [
      'the address of cloud metadata',
      () => tool(next(), { endpoint: 'http://169.254.169.254/latest' }),
      ['/endpoint endpoint_forbidden'],
    ],
    [
      'the same in hexadecimal',
      () => tool(next(), { endpoint: 'http://0xa9fea9fe/' }),
      ['/endpoint endpoint_forbidden'],
    ],
    [
      'the same as IPv6',
      () => tool(next(), { endpoint: 'http://[::ffff:a9fe:a9fe]/' }),
      ['/endpoint endpoint_forbidden'],
    ],
    [
      'a private address',
      () => tool(next(), { endpoint: 'http://10.0.0.7/' }),
      ['/endpoint endpoint_forbidden'],
    ],
  ] as const)('a definition with %s is refused with its place', async (_what, body, mistakes) => {
    expect(await mistakeOf(body())).toEqual(mistakes)
  })

  test('nesting that is deeper than recursion goes is refused with its place', async () => {
    const deep = `${'{"a":'.repeat(40_000)}1${'}'.repeat(40_000)}`
    const name = next()
    const body = JSON.stringify(tool(name)).replace('"name":"', `"_meta":${deep},"name":"`)
    expect((await call<Problem>('POST', '/tools', body)).body).toMatchObject({
      code: 'validation_failed',
      errors: [{ code: 'too_deep' }],
    })
    await call('POST', '/tools', tool(name))
    const patched = await call<Problem>(
      'PATCH',
      `/tools/${name}`,
      `{"toolDefinition":{"tool":{"_meta":${deep}}}}`,
    )
    expect([patched.status, patched.body.errors?.[0]?.code]).toEqual([400, 'too_deep'])
  })

  test('loopback is refused where the configuration takes it back', async () => {
    await using strict = await TestGateway.open({ tools: { endpointNetworks: [] } })
    for (const endpoint of [
      'http://127.0.0.1/',
      'http://localhost/',
      'http://x.localhost./',
      'http://[::1]/',
    ]) {
      const answer = await strict.send('/tools', {
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(tool('a', { endpoint })),
      })
      expect([answer.status, answer.body.toString()]).toEqual([
        400,
        expect.stringContaining('endpoint_forbidden'),
      ])
    }
  })
})
