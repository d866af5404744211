import { readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import type { ImportedTool, ToolImportResult } from '@mcp-gateway/contract'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestGateway } from '../fixtures/gateway.ts'

let gateway: TestGateway
let service: Server
let origin = ''
/** Answers of the service by path, for requests that no operation takes. */
const pages = new Map<string, (location: string) => [number, Record<string, string>, string]>()

const pets = new Map([['1', { id: 1, name: 'Rex' }]])

beforeAll(async () => {
  gateway = await TestGateway.open()
  service = createServer((request, response) => {
    const { method, headers } = request
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://a')
    let body = ''
    request.setEncoding('utf8').on('data', (part: string) => (body += part))
    request.on('end', () => {
      const page = pages.get(pathname)?.(origin)
      if (page !== undefined) return void response.writeHead(page[0], page[1]).end(page[2])
      const json = (value: unknown, status = 200): void =>
        void response
          .writeHead(status, { 'content-type': 'application/json' })
          .end(JSON.stringify(value))

      const [, , collection, id] = pathname.split('/')
      if (headers['x-key'] !== 'secret') return json({ detail: 'no key' }, 401)
      if (collection === 'records') return json({ form: body, type: headers['content-type'] })
      if (method === 'GET' && id === undefined)
        return json({ pets: [...pets.values()], limit: searchParams.get('limit') })
      if (method === 'POST') {
        const pet = JSON.parse(body) as { id: number; name: string }
        pets.set(String(pet.id), pet)
        return json(pet, 201)
      }
      if (method === 'DELETE') return void (pets.delete(String(id)), response.writeHead(204).end())
      const pet = pets.get(decodeURIComponent(id ?? ''))
      return pet === undefined ? json({ detail: `no pet ${id}` }, 404) : json(pet)
    })
  })
  await new Promise<void>((resolve) => service.listen(0, '127.0.0.1', resolve))
  origin = `http://127.0.0.1:${(service.address() as AddressInfo).port}`
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  service.closeAllConnections()
  await new Promise((resolve) => service.close(resolve))
})

/** A pet store and a search by form, as well-known examples of OpenAPI have them, in YAML. */
const petStore = (server: string): string => `
openapi: 3.0.0
info: { title: Pet store, version: 1.0.0 }
servers: [{ url: ${server} }]
security: [{ key: [] }]
paths:
  /pets:
    get:
      summary: List all pets
      operationId: listPets
      parameters:
        - { name: limit, in: query, schema: { type: integer, maximum: 100 } }
      responses: { 200: { content: { application/json: {} } } }
    post:
      operationId: createPet
      requestBody:
        required: true
        content: { application/json: { schema: { $ref: '#/components/schemas/Pet' } } }
      responses: { 201: { description: created } }
  /pets/{petId}:
    parameters: [{ $ref: '#/components/parameters/petId' }]
    get: { operationId: showPetById, responses: {} }
    delete: { operationId: deletePet, responses: {} }
  /records/{dataset}:
    post:
      operationId: perform-search
      parameters: [{ name: dataset, in: path, required: true, schema: { type: string } }]
      requestBody:
        content:
          application/x-www-form-urlencoded:
            schema:
              type: object
              properties: { criteria: { type: string }, rows: { type: integer } }
              required: [criteria]
      responses: {}
components:
  securitySchemes: { key: { type: apiKey, in: header, name: X-Key } }
  parameters:
    petId: { name: petId, in: path, required: true, schema: { type: string } }
  schemas:
    Pet:
      type: object
      required: [id, name]
      properties: { id: { type: integer, format: int64 }, name: { type: string } }
`

interface Answer {
  readonly status: number
  readonly result: ToolImportResult
  readonly errors: readonly { readonly pointer: string; readonly code: string; detail: string }[]
}

async function importTools(
  body: object,
  query = '',
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const { status, body: answer } = await gateway.send(`/tools/import${query}`, {
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  })
  const parsed = JSON.parse(answer.toString()) as ToolImportResult & Pick<Answer, 'errors'>
  return { status, result: parsed, errors: parsed.errors ?? [] }
}

const outcomes = (tools: readonly ImportedTool[]): string[] =>
  tools.map(({ name, result, code }) => `${name} ${result}${code === undefined ? '' : ` ${code}`}`)

const credential = { header: 'x-key', value: 'secret' }

describe('an import of a document', () => {
  test('a client calls the operations that an import has registered', async () => {
    pages.set('/openapi.yaml', () => [200, {}, petStore('/v1')])
    const imports = { url: `${origin}/openapi.yaml`, credential }

    const trial = await importTools(imports)
    expect(trial.result).toMatchObject({ dryRun: true, document: { title: 'Pet store' } })
    expect((await gateway.send('/tools', { method: 'GET' })).body.toString()).toBe('[]')
    const real = await importTools(imports, '?dryRun=false')
    expect(outcomes(real.result.tools)).toEqual(
      ['list-pets', 'create-pet', 'show-pet-by-id', 'delete-pet', 'perform-search'].map(
        (name) => `${name} created`,
      ),
    )
    expect(outcomes(real.result.tools)).toEqual(outcomes(trial.result.tools))
    expect(real.result.tools[0]?.endpoint).toBe(`${origin}/v1`)
    const audited = (): string[] =>
      readFileSync(join(gateway.dataDir, 'audit.log'), 'utf8').match(/"tool\.(create|import)"/g) ??
      []
    await expect
      .poll(() => audited().toSorted())
      .toEqual([
        ...Array.from({ length: 5 }, () => '"tool.create"'),
        '"tool.import"',
        '"tool.import"',
      ])

    const client = new Client({ name: 'test', version: '1' })
    await client.connect(new StreamableHTTPClientTransport(new URL('/mcp', gateway.origin)))
    const { tools } = await client.listTools()
    expect(tools.map(({ name }) => name)).toEqual([
      'createPet',
      'deletePet',
      'listPets',
      'perform-search',
      'showPetById',
    ])
    const call = async (name: string, args: Record<string, unknown>) =>
      client.callTool({ name, arguments: args })

    const created = await call('createPet', { body: { id: 2, name: 'Tom & Jerry' } })
    expect(created.structuredContent).toEqual({ id: 2, name: 'Tom & Jerry' })
    const listed = await call('listPets', { limit: 5 })
    expect(listed.structuredContent).toMatchObject({ limit: '5', pets: [{ id: 1 }, { id: 2 }] })
    expect((await call('showPetById', { petId: '2' })).structuredContent).toMatchObject({ id: 2 })
    expect(await call('deletePet', { petId: '2' })).toMatchObject({ content: [] })
    expect(await call('showPetById', { petId: '2' })).toMatchObject({ isError: true })
    const search = { dataset: 'a', body: { criteria: 'a:b & c', rows: 5 } }
    expect((await call('perform-search', search)).structuredContent).toEqual({
      form: 'criteria=a%3Ab%20%26%20c&rows=5',
      type: 'application/x-www-form-urlencoded',
    })
    expect(await call('listPets', { limit: 500 })).toMatchObject({ isError: true })
    expect(await call('showPetById', { petId: '..' })).toMatchObject({ isError: true })
    await client.close()
  })

  test('a second import changes nothing, and says that the tools exist', async () => {
    const body = { document: petStore(origin), operations: ['listPets'], credential }
    for (const query of ['', '?dryRun=false'])
      expect(outcomes((await importTools(body, query)).result.tools)).toEqual([
        'list-pets exists name_taken',
      ])
  })

  test('a prefix, a server and common fields are those of every tool', async () => {
    const body = {
      document: JSON.parse(
        JSON.stringify({
          openapi: '3.1.0',
          info: { title: 't', version: '1' },
          paths: { '/a': { get: { operationId: 'first' } } },
        }),
      ) as object,
      prefix: 'petstore',
      server: `${origin}/v2`,
      labels: { team: 'pets' },
      requiredRoles: ['vet'],
    }
    const { result } = await importTools(body, '?dryRun=false')
    expect(result.tools).toMatchObject([{ name: 'petstore-first', toolName: 'petstore_first' }])

    const stored = JSON.parse(
      (await gateway.send('/tools/petstore-first', { method: 'GET' })).body.toString(),
    ) as object
    expect(stored).toMatchObject({
      endpoint: `${origin}/v2`,
      labels: { team: 'pets' },
      requiredRoles: ['vet'],
      callerIdentity: 'none',
    })
  })

  test('the API document of the gateway itself can be imported', async () => {
    const file = new URL('../../../../openapi/mcp-gateway.openapi.json', import.meta.url)
    const document = readFileSync(file, 'utf8')
    const { result } = await importTools({ document, server: gateway.origin, prefix: 'gw' })
    const refused = result.tools.filter(({ result: outcome }) => outcome !== 'created')
    expect(result.tools.length).toBeGreaterThan(30)
    expect(refused).toEqual([])
  })

  test('an operation that is refused says why, and the others are registered', async () => {
    const paths = {
      '/good': { get: { operationId: 'good' } },
      '/bad': { get: { operationId: 'bad', servers: [{ url: 'http://169.254.169.254/x' }] } },
      '/schema': {
        get: {
          operationId: 'schema',
          parameters: [{ name: 'q', in: 'query', schema: { type: 'no type', minimum: 'x' } }],
        },
      },
      '/a/../b': { get: { operationId: 'upwards' } },
    }
    const document = {
      openapi: '3.1.0',
      info: {},
      servers: [{ url: `${origin}/v1` }],
      paths,
    }
    const { result } = await importTools({ document, prefix: 'mixed' }, '?dryRun=false')
    expect(result.tools.map(({ result: outcome, errors }) => [outcome, errors?.[0]?.code])).toEqual(
      [
        ['created', undefined],
        ['refused', 'endpoint_forbidden'],
        ['refused', 'schema_invalid'],
        ['refused', 'invalid_format'],
      ],
    )
  })
})

describe('the source of a document', () => {
  const document = { openapi: '3.1.0', paths: {} }

  test.each([
    ['neither a document nor a url', {}, '/document invalid_type'],
    ['both', { document, url: 'https://a.example' }, '/document ambiguous'],
    ['a number', { document: 5 }, '/document invalid_type'],
    ['a document of version 2', { document: { swagger: '2.0' } }, '/document document_invalid'],
    ['a metadata address', { url: 'http://169.254.169.254/latest' }, '/url document_unavailable'],
    ['a private address', { url: 'http://10.0.0.1/openapi.json' }, '/url document_unavailable'],
    ['a file', { url: 'file:///etc/passwd' }, '/url invalid_format'],
  ])('%s is refused', async (_what, body, expected) => {
    const { status, errors } = await importTools(body)
    expect(status).toBe(400)
    expect(errors.map(({ pointer, code }) => `${pointer} ${code}`)).toEqual([expected])
  })

  test.each([
    ['/missing', 404, {}, 'x', /HTTP 404/],
    ['/inside', 302, { location: 'http://169.254.169.254/latest' }, '', /may not call/],
    ['/file', 302, { location: 'file:///etc/passwd' }, '', /does not follow/],
    ['/loop', 307, { location: '/loop' }, '', /more than 5 redirects/],
    ['/large', 200, {}, ' '.repeat(17 * 1024 * 1024), /more than 16777216 bytes/],
  ])('a document at %s is refused with the reason', async (path, status, headers, text, reason) => {
    pages.set(path, () => [status, headers as Record<string, string>, text])
    const { status: answered, errors } = await importTools({ url: origin + path })
    expect(answered).toBe(400)
    expect(errors).toMatchObject([{ pointer: '/url', code: 'document_unavailable' }])
    expect(errors[0]?.detail).toMatch(reason)
  })

  test('a redirect to an allowed address is followed', async () => {
    pages.set('/moved', () => [301, { location: '/here' }, ''])
    pages.set('/here', () => [200, {}, JSON.stringify(document)])
    expect((await importTools({ url: `${origin}/moved` })).status).toBe(200)
  })

  test('ten megabytes of YAML hold up nobody', async () => {
    const paths = Array.from(
      { length: 90_000 },
      (_each, at) => `  /p${at}: { get: { operationId: o${at}, summary: "${'x'.repeat(60)}" } }`,
    )
    const text = `openapi: 3.1.0\ninfo: {}\nservers: [{ url: ${origin} }]\npaths:\n${paths.join('\n')}`
    expect(text.length).toBeGreaterThan(9_000_000)
    pages.set('/huge.yaml', () => [200, {}, text])

    const imported = importTools({ url: `${origin}/huge.yaml`, operations: ['o89999'] })
    let longest = 0
    let over = false
    void imported.then(() => (over = true))
    while (!over) {
      const begun = performance.now()
      await gateway.send('/healthz', { method: 'GET' })
      longest = Math.max(longest, performance.now() - begun)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }

    const { status, errors, result } = await imported
    if (status === 200) expect(result.tools).toMatchObject([{ operation: 'GET /p89999' }])
    else expect(errors).toMatchObject([{ code: 'document_invalid' }])
    expect(longest).toBeLessThan(5000)
  })

  test('a document of more than 200 operations is only tried, unless the request names some', async () => {
    const paths = Object.fromEntries(
      Array.from({ length: 201 }, (_each, at) => [`/p${at}`, { get: {} }]),
    )
    const many = { openapi: '3.1.0', info: {}, paths }
    const trial = await importTools({ document: many })
    expect(trial.result).toMatchObject({ remaining: ['GET /p200'] })
    const { errors } = await importTools({ document: many }, '?dryRun=false')
    expect(errors).toMatchObject([{ code: 'too_many_operations' }])
  })
})

test('rights and quotas of an import are those of POST /tools', async () => {
  const roles = { 'x-dev-userid': 'bob', 'x-dev-roles': '' }
  await using strict = await TestGateway.open({
    access: { create: { tool: ['mcp.engineer'] }, quotas: { tools: 1 } },
  })
  const send = async (headers: Readonly<Record<string, string>>) => {
    const body = JSON.stringify({
      document: petStore(origin),
      operations: ['listPets', 'createPet'],
    })
    const answer = await strict.send('/tools/import?dryRun=false', {
      headers: { 'content-type': 'application/json', ...headers },
      body,
    })
    return { status: answer.status, result: JSON.parse(answer.body.toString()) as ToolImportResult }
  }

  expect((await send(roles)).status).toBe(403)
  const { result } = await send({ 'x-dev-userid': 'ann', 'x-dev-roles': 'mcp.engineer' })
  expect(outcomes(result.tools)).toEqual(['list-pets created', 'create-pet refused quota_exceeded'])
})
