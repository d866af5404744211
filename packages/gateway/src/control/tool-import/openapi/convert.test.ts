import { describe, expect, test } from 'vitest'
import { convert } from './convert.ts'
import type { ImportedOperation, ImportTask } from './imported.ts'

type Table = Record<string, unknown>

function read(document: Table | string, task: Partial<ImportTask> = {}): ImportedOperation[] {
  const text = typeof document === 'string' ? document : JSON.stringify(document)
  const answer = convert({ text, credentialHeaders: [], ...task })
  if ('mistake' in answer) throw new Error(answer.mistake.detail)
  return [...answer.operations]
}

function documentOf(paths: Table, more: Table = {}): Table {
  return {
    openapi: '3.1.0',
    info: { title: 'Pets', version: '1' },
    servers: [{ url: 'https://api.example.com/v1' }],
    paths,
    ...more,
  }
}

/** The tool of a document's one operation. */
function toolOf(
  operation: Table,
  more: Table = {},
  path = '/pets',
  task: Partial<ImportTask> = {},
) {
  const [made] = read(documentOf({ [path]: { get: operation } }, more), task)
  if (made === undefined || !('body' in made.outcome))
    throw new Error(JSON.stringify(made?.outcome ?? 'no operation'))
  const { body, notes } = made.outcome
  const { request, tool } = body.toolDefinition
  return { body, tool, request, notes, input: tool.inputSchema as Table }
}

function refusalOf(operation: Table, more: Table = {}): string {
  const [made] = read(documentOf({ '/pets': { post: operation } }, more))
  return made !== undefined && 'code' in made.outcome ? made.outcome.code : 'made a tool'
}

const query = (schema: unknown, more: Table = {}): Table => ({
  parameters: [{ name: 'q', in: 'query', schema, ...more }],
})

describe('an operation as a tool', () => {
  test('parameters and body become arguments, with the places where they go', () => {
    const document = documentOf({
      '/pets/{petId}': {
        parameters: [{ name: 'petId', in: 'path', required: true, schema: { type: 'integer' } }],
        put: {
          operationId: 'updatePet',
          summary: 'Update a pet',
          parameters: [
            { name: 'tags[]', in: 'query', explode: false, schema: { type: 'array' } },
            { name: 'X-Trace', in: 'header', schema: { type: 'string' } },
            { name: 'petId', in: 'query', schema: { type: 'string' } },
          ],
          requestBody: {
            required: true,
            content: {
              'application/xml': {},
              'application/json; charset=utf-8': { schema: { type: 'object' } },
            },
          },
          responses: { 200: { content: { 'text/csv': {}, 'application/json': {} } } },
        },
      },
    })
    const [made] = read(document)

    expect(made).toMatchObject({
      operation: 'PUT /pets/{petId}',
      operationId: 'updatePet',
      outcome: {
        body: {
          name: 'update-pet',
          endpoint: 'https://api.example.com/v1',
          toolDefinition: {
            tool: {
              name: 'updatePet',
              description: 'Update a pet',
              annotations: { idempotentHint: true },
              inputSchema: {
                properties: { petId: { type: 'integer' }, tags: {}, petId_2: {}, body: {} },
                required: ['petId', 'body'],
              },
            },
            request: {
              method: 'PUT',
              path: '/pets/{petId}',
              parameters: [
                { argument: 'petId', in: 'path' },
                { argument: 'tags', in: 'query', name: 'tags[]', explode: false },
                { argument: 'X-Trace', in: 'header' },
                { argument: 'petId_2', in: 'query', name: 'petId' },
              ],
              body: { argument: 'body', contentType: 'application/json' },
              accept: 'application/json, text/csv, */*;q=0.5',
            },
          },
        },
      },
    })
  })

  test('names are legal, unique, and the same whatever is imported', () => {
    const item = (operationId?: string) => ({ get: { operationId } })
    const document = documentOf({
      '/a': item('list pets!'),
      '/b': item('list pets?'),
      '/c/{id}': item(),
      '/d': item('list'),
      '/e': item('x'.repeat(200)),
    })
    const names = (operations?: string[]) =>
      read(document, { operations }).map(({ outcome }) =>
        'body' in outcome
          ? [outcome.body.toolDefinition.tool.name, outcome.body.name]
          : outcome.code,
      )

    expect(names().slice(0, 2)).toEqual([
      ['list_pets', 'list-pets'],
      ['list_pets_2', 'list-pets-2'],
    ])
    expect(names(['GET /b'])).toEqual([['list_pets_2', 'list-pets-2']])
    expect(names(['GET /c/{id}'])).toEqual(['parameter_unsupported'])
    expect(names(['list'])).toEqual([['list', 'list-tool']])
    const [[tool = '', resource = ''] = []] = names(['GET /e']) as string[][]
    expect([tool.length, resource.length]).toEqual([64, 52])
  })

  test('the form of a body keeps the styles of its fields', () => {
    const type = 'application/x-www-form-urlencoded'
    const { request } = toolOf({
      requestBody: {
        content: { [type]: { encoding: { meta: { style: 'deepObject' }, other: {} } } },
      },
    })
    expect(request?.body).toEqual({
      argument: 'body',
      contentType: type,
      encoding: { meta: { style: 'deepObject' } },
    })
  })

  test.each([
    ['the address of the request', [], { server: 'https://b.example/x' }, 'https://b.example/x'],
    [
      'a variable',
      [{ url: 'https://{r}.a.example', variables: { r: { default: 'eu' } } }],
      {},
      'https://eu.a.example/',
    ],
    [
      'a relative address',
      [{ url: '../api' }],
      { url: 'https://c.example/docs/v1/openapi.json' },
      'https://c.example/docs/api',
    ],
    [
      'no address but that of the document',
      [],
      { url: 'https://c.example/o.json' },
      'https://c.example/',
    ],
  ])('%s decides where calls go', (_what, servers, task, endpoint) => {
    expect(toolOf({}, { servers }, '/pets', task).body.endpoint).toBe(endpoint)
  })

  test('headers that the gateway sends are no arguments, and notes name those that it cannot send', () => {
    const header = (name: string) => ({ name, in: 'header', schema: {} })
    const { input, notes } = toolOf(
      {
        parameters: [
          ...['Accept', 'Authorization', 'X-API-Key', 'Idempotency-Key', 'Host'].map(header),
          { name: 'session', in: 'cookie' },
        ],
      },
      {},
      '/pets',
      { credentialHeaders: ['x-api-key'] },
    )
    expect(input['properties']).toEqual({})
    expect(notes.map(({ detail }) => detail)).toEqual([
      expect.stringMatching(/'Host' is left out/),
      expect.stringMatching(/'session' is left out/),
    ])
  })

  test('an operation that asks for a key says so, unless a credential is given', () => {
    const security = {
      security: [{ key: [] }],
      components: { securitySchemes: { key: { type: 'apiKey', in: 'header', name: 'X-Key' } } },
    }
    expect(toolOf({}, security).notes).toEqual([
      expect.objectContaining({ detail: expect.stringContaining("'X-Key' in the header") }),
    ])
    expect(toolOf({ security: [] }, security).notes).toEqual([])
    expect(toolOf({}, security, '/pets', { credentialHeaders: ['x-key'] }).notes).toEqual([])
  })
})

describe('schemas', () => {
  const schemaOf = (schema: unknown, more: Table = {}): Table => {
    const { input } = toolOf(query(schema), more)
    return { ...((input['properties'] as Table)['q'] as Table), $defs: input['$defs'] }
  }

  test('keywords of OpenAPI 3.0 become those of JSON Schema 2020-12', () => {
    const schema = {
      type: 'integer',
      nullable: true,
      minimum: 1,
      exclusiveMinimum: true,
      example: 5,
      xml: {},
      'x-mcp-header': 'Host',
      pattern: '[',
      required: true,
    }
    expect(schemaOf(schema, { openapi: '3.0.3' })).toEqual({
      type: ['integer', 'null'],
      exclusiveMinimum: 1,
      examples: [5],
    })
  })

  test('references are replaced by their schemas, and circles become definitions', () => {
    const schemas = {
      Node: {
        type: 'object',
        properties: {
          id: { type: 'string', readOnly: true },
          tag: { $ref: '#/components/schemas/Tag', description: 'own' },
          next: { $ref: '#/components/schemas/Node' },
        },
        required: ['id', 'tag'],
      },
      Tag: { type: 'string', description: 'of all' },
    }
    const node = { $ref: '#/components/schemas/Node' }
    const inner = {
      type: 'object',
      properties: { tag: { type: 'string', description: 'own' }, next: { $ref: '#/$defs/Node' } },
      required: ['tag'],
    }
    expect(schemaOf(node, { components: { schemas } })).toEqual({
      ...inner,
      $defs: { Node: inner },
    })
  })

  test('references that multiply end as definitions, in no time', () => {
    const link = (at: number) => ({ $ref: `#/components/schemas/A${at}` })
    const schemas = Object.fromEntries(
      Array.from({ length: 60 }, (_each, at) => [
        `A${at}`,
        at === 59 ? { type: 'string' } : { properties: { a: link(at + 1), b: link(at + 1) } },
      ]),
    )
    const { $defs } = schemaOf(link(0), { components: { schemas } })
    expect(Object.keys($defs as Table)).toHaveLength(60)
  })

  test('a chain of thousands of schemas is refused, without a stack overflow', () => {
    const schemas = Object.fromEntries(
      Array.from({ length: 20_000 }, (_each, at) => [
        `A${at}`,
        { properties: { a: { $ref: `#/components/schemas/A${at + 1}` } } },
      ]),
    )
    expect(refusalOf(query({ $ref: '#/components/schemas/A0' }), { components: { schemas } })).toBe(
      'schema_too_large',
    )
  })

  test.each([
    ['http://169.254.169.254/latest/meta-data', 'external_reference'],
    ['file:///etc/passwd', 'external_reference'],
    ['../other.yaml#/a', 'external_reference'],
    ['#/components/schemas/None', 'reference_not_found'],
    ['#/components/schemas/__proto__', 'reference_not_found'],
    ['#anchor/x', 'reference_not_found'],
  ])('a reference to %s is refused', (reference, code) => {
    expect(refusalOf(query({ $ref: reference }))).toBe(code)
    expect(refusalOf({ parameters: [{ $ref: reference }] })).toBe(code)
    expect(refusalOf({ requestBody: { $ref: reference } })).toBe(code)
  })

  test('a parameter that refers to itself is refused', () => {
    const loop = { $ref: '#/components/parameters/Loop' }
    expect(refusalOf({ parameters: [loop] }, { components: { parameters: { Loop: loop } } })).toBe(
      'reference_loop',
    )
  })
})

describe('documents', () => {
  test('YAML with aliases and merge keys is read, and its aliases do not multiply', () => {
    const lists = 'bcdefghij'
      .split('')
      .map((name, at) => `x-${name}: &${name} [${Array(9).fill(`*${'abcdefghi'[at]}`).join(', ')}]`)
    const text = [
      'openapi: 3.0.3',
      'info: { title: t, version: 2020-01-01 }',
      'servers: [{ url: "https://a.example" }]',
      'x-common: &common { responses: {} }',
      'x-a: &a [x, x, x]',
      ...lists,
      'paths:',
      '  /a: { get: { <<: *common, operationId: small } }',
      '  /b: { get: { operationId: bomb, parameters: ' +
        '[{ name: q, in: query, schema: { default: *j } }] } }',
    ].join('\n')
    expect(read(text).map(({ outcome }) => ('code' in outcome ? outcome.code : 'made'))).toEqual([
      'made',
      'schema_too_large',
    ])
  })

  test.each([
    ['', /must be an OpenAPI document/],
    ['{"swagger":"2.0"}', /version 2 \(Swagger\)/],
    ['a: [', /must be JSON or YAML/],
    ['a: !!js/function "x"', /must be JSON or YAML/],
    ['a: *b', /must be JSON or YAML/],
  ])('the text %j is refused', (text, message) => {
    expect(() => read(text)).toThrow(message)
  })

  test('parts of any other type never break the reading', () => {
    for (const wrong of [null, 5, 'x', [], [null], { a: null }])
      for (const member of ['paths', 'servers', 'components', 'info', 'security'])
        expect(read({ ...documentOf({ '/a': { get: {} } }), [member]: wrong })).toBeDefined()
  })

  test('a document of ten thousand operations has two hundred read, and the others named', () => {
    const paths = Object.fromEntries(
      Array.from({ length: 10_000 }, (_each, at) => [
        `/p${at}`,
        { get: { operationId: `o${at}` } },
      ]),
    )
    const text = JSON.stringify(documentOf(paths))
    const answer = convert({ text, credentialHeaders: [] })
    if ('mistake' in answer) throw new Error(answer.mistake.detail)
    expect([answer.operations.length, answer.remaining.length]).toEqual([200, 9800])
    expect(read(text, { operations: ['o9999'] })).toMatchObject([{ operation: 'GET /p9999' }])
  })

  test.each([
    ['nothing', 'operation_not_found'],
    ['GET /external', 'external_reference'],
    ['twice', 'operation_ambiguous'],
    ['HEAD /a', 'method_unsupported'],
    ['upload', 'body_unsupported'],
    ['relative', 'no_server'],
    ['cookie', 'parameter_unsupported'],
  ])('the operation %s is refused with the code %s', (operation, code) => {
    const document = documentOf({
      '/external': { $ref: 'https://b.example/item.json' },
      '/a': { get: { operationId: 'twice' }, head: {} },
      '/b': {
        get: { operationId: 'twice' },
        post: {
          operationId: 'upload',
          requestBody: { required: true, content: { 'multipart/form-data': {} } },
        },
        put: { operationId: 'relative', servers: [{ url: '/v1' }] },
        delete: {
          operationId: 'cookie',
          parameters: [{ name: 'c', in: 'cookie', required: true }],
        },
      },
    })
    expect(read(document, { operations: [operation] })).toMatchObject([{ outcome: { code } }])
  })
})
