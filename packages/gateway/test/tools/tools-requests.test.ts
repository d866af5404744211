import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestGateway } from '../fixtures/gateway.ts'
import { modern } from '../fixtures/mcp-requests.ts'

let gateway: TestGateway
let service: Server
let origin = ''

interface Seen {
  readonly method: string
  readonly url: string
  readonly headers: Readonly<Record<string, unknown>>
  readonly body: string
}

beforeAll(async () => {
  gateway = await TestGateway.open()
  service = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (part: string) => (body += part))
    request.on('end', () => {
      const { method, url, headers } = request
      if (method === 'DELETE') return void response.writeHead(204).end()
      response.setHeader('content-type', 'application/json')
      response.end(JSON.stringify({ method, url, headers, body }))
    })
  })
  await new Promise<void>((resolve) => service.listen(0, '127.0.0.1', resolve))
  origin = `http://127.0.0.1:${(service.address() as AddressInfo).port}`
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await new Promise((resolve) => service.close(resolve))
})

let count = 0
const anything = { type: ['string', 'number', 'object', 'array'] }

function bodyOf(request: unknown, more: object = {}): Record<string, unknown> {
  const name = `request-${(count += 1)}`
  const properties = { id: anything, q: anything, tag: anything, body: anything }
  return {
    name,
    endpoint: `${origin}/base?key=1`,
    toolDefinition: { tool: { name, inputSchema: { type: 'object', properties } }, request },
    ...more,
  }
}

async function register(body: Readonly<Record<string, unknown>>) {
  const { status, body: answer } = await gateway.send('/tools', {
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  return { status, answer: JSON.parse(answer.toString()) as Record<string, unknown> }
}

interface CallResult {
  readonly structuredContent?: Seen
  readonly isError?: boolean
  readonly content: readonly { readonly text: string }[]
}

async function call(name: string, args: unknown): Promise<CallResult> {
  const { message } = await modern(gateway, 'tools/call', { name, arguments: args })
  return message.result as unknown as CallResult
}

const whole = {
  method: 'PUT',
  path: '/pets/{id}',
  parameters: [
    { argument: 'id', in: 'path' },
    { argument: 'q', in: 'query', name: 'q[]' },
    { argument: 'tag', in: 'header', name: 'X-Tag' },
  ],
  body: { argument: 'body' },
}

describe('a tool whose definition has a request', () => {
  test('a call puts its arguments into the path, the query, a header and the body', async () => {
    const body = bodyOf(whole, { credential: { header: 'x-api-key', value: 'secret' } })
    const { status } = await register(body)
    expect(status).toBe(201)

    const args = { id: 'a/b', q: [1, 'x&y'], tag: 'blue', body: { name: 'Rex' } }
    const { structuredContent: seen } = await call(String(body['name']), args)

    expect(seen).toMatchObject({
      method: 'PUT',
      url: '/base/pets/a%2Fb?key=1&q%5B%5D=1&q%5B%5D=x%26y',
      body: '{"name":"Rex"}',
    })
    expect(seen?.headers).toMatchObject({
      'x-tag': 'blue',
      'x-api-key': 'secret',
      'content-type': 'application/json',
      'user-agent': 'mcp-gateway',
    })
  })

  test('a GET has no body, and an answer without content is a success', async () => {
    const reading = bodyOf({ method: 'GET' })
    const deleting = bodyOf({ method: 'DELETE' })
    expect([await register(reading), await register(deleting)].map(({ status }) => status)).toEqual(
      [201, 201],
    )

    const { structuredContent: seen } = await call(String(reading['name']), {})
    expect(seen).toMatchObject({ method: 'GET', url: '/base?key=1', body: '' })
    expect(seen?.headers).not.toHaveProperty('content-type')
    expect(await call(String(deleting['name']), {})).toMatchObject({ content: [] })
  })

  test('arguments that would leave their place never reach the service', async () => {
    const body = bodyOf(whole)
    await register(body)
    const { isError, content } = await call(String(body['name']), {
      id: '../../admin',
      tag: 'a\r\nx-evil: 1',
    })

    expect(isError).toBe(true)
    expect(content[0]?.text).toMatch(/arguments\/id: must not hold '\.' or '\.\.'/)
    expect(content[0]?.text).toMatch(/arguments\/tag: must be visible ASCII/)
  })

  test('the request is shown, kept by PATCH, and removed by null', async () => {
    const body = bodyOf(whole)
    await register(body)
    const patch = async (definition: object) => {
      const { body: answer } = await gateway.send(`/tools/${String(body['name'])}`, {
        method: 'PATCH',
        headers: { 'content-type': 'application/merge-patch+json' },
        body: JSON.stringify({ toolDefinition: definition }),
      })
      return (JSON.parse(answer.toString()) as { toolDefinition: { request?: object } })
        .toolDefinition.request
    }

    expect(await patch({ tool: { title: 'Pets' } })).toMatchObject(whole)
    expect(await patch({ request: { method: 'POST' } })).toMatchObject({
      ...whole,
      method: 'POST',
    })
    expect(await patch({ request: null })).toBeUndefined()
  })
})

describe('a request that cannot be right is refused at registration', () => {
  const query = (more: object) => ({
    method: 'GET',
    parameters: [{ argument: 'q', in: 'query', ...more }],
  })
  const header = (name: string) => ({
    method: 'GET',
    parameters: [{ argument: 'tag', in: 'header', name }],
  })

  test.each([
    ['an unknown method', { method: 'TRACE' }, 'invalid_value'],
    ['a path with an unknown parameter', { path: '/a/{b}' }, 'path_parameter'],
    [
      'a path parameter without a place',
      { path: '/a', parameters: [{ argument: 'id', in: 'path' }] },
      'path_parameter',
    ],
    ['a path upwards', { path: '/a/../b' }, 'invalid_format'],
    ['an escaped path upwards', { path: '/a/%2e%2E/b' }, 'invalid_format'],
    ['a path with a query', { path: '/a?b=c' }, 'invalid_format'],
    ['an argument that does not exist', query({ argument: 'nobody' }), 'unknown_argument'],
    ['a body that does not exist', { body: { argument: 'nobody' } }, 'unknown_argument'],
    ['a style of another place', query({ style: 'simple' }), 'invalid_value'],
    ['a query field of the endpoint', query({ name: 'key' }), 'fixed_parameter'],
    ['a header of HTTP', header('Host'), 'header_forbidden'],
    ['a cookie', header('Cookie'), 'header_forbidden'],
    ['a header of the caller', header('X_Mcp_UserId'), 'header_forbidden'],
    ['a header that frames the body', header('Content-Length'), 'header_forbidden'],
    ['a header that changes the method', header('X-HTTP-Method-Override'), 'header_forbidden'],
    ['a header with a line break', header('X-A\r\nB'), 'header_forbidden'],
    ['a header of the credential', header('X-Secret'), 'fixed_parameter'],
    ['an unknown content type', { body: { contentType: 'multipart/form-data' } }, 'invalid_format'],
    [
      'a parameter twice',
      { parameters: [query({}), query({})].flatMap(({ parameters }) => parameters) },
      'duplicate_parameter',
    ],
  ])('%s', async (_what, request, code) => {
    const credential = { header: 'x-secret', value: 'secret' }
    const { status, answer } = await register(bodyOf(request, { credential }))
    expect(status).toBe(400)
    expect((answer['errors'] as { code: string }[]).map((each) => each.code)).toContain(code)
  })
})
