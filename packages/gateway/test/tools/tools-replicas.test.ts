import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestGateway } from '../fixtures/gateway.ts'
import { modern } from '../fixtures/mcp-requests.ts'

/** A tool server that tells its replica, starts after a given delay, and dies on command. */
const program = `
  const { createServer } = require('node:http')
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (part) => (body += part))
    request.on('end', () => {
      if (JSON.parse(body).die) process.exit(1)
      response
        .writeHead(200, { 'content-type': 'application/json' })
        .end(JSON.stringify({ replica: process.env.MCPGW_REPLICA_NAME, path: request.url }))
    })
  })
  const { HOST, PORT, LATE_MS = '0' } = process.env
  setTimeout(() => server.listen(Number(PORT), HOST), Number(LATE_MS))
`

let gateway: TestGateway
beforeAll(async () => {
  gateway = await TestGateway.open({
    runtime: { images: { mortal: { command: [process.execPath, '-e', program] } } },
  })
})
afterAll(() => gateway[Symbol.asyncDispose]())

async function register(name: string, more: object = {}, definition: object = {}): Promise<void> {
  const body = {
    name,
    imageName: 'mortal',
    imageVersion: '1',
    toolDefinition: { tool: { name }, ...definition },
    ...more,
  }
  const { status } = await gateway.send('/tools', {
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  expect(status).toBe(201)
}

async function call(
  name: string,
  args: object = {},
): Promise<{ replica: unknown; path: unknown; code: unknown }> {
  const { message } = await modern(gateway, 'tools/call', { name, arguments: args })
  const structured = message.result?.['structuredContent'] as
    | { replica?: unknown; path?: unknown }
    | undefined
  const meta = message.result?.['_meta'] as Record<string, { code?: unknown } | undefined>
  return {
    replica: structured?.replica,
    path: structured?.path,
    code: meta['mcp-gateway/error']?.code,
  }
}

describe('a tool with replicas', () => {
  test('a call waits for a tool that starts, and goes to its path', async () => {
    await register('late', { environmentVariables: { LATE_MS: '400' } }, { path: '/a/b' })
    expect(await call('late')).toEqual({ replica: 'late-0', path: '/a/b', code: undefined })
  })

  test('a tool serves with all replicas, and continues with those that live', async () => {
    await register('two', { replicaCount: 2 })
    const seen = new Set<unknown>()
    await expect
      .poll(async () => {
        seen.add((await call('two')).replica)
        return seen.size
      })
      .toBe(2)
    // The gateway does not repeat a call that may have run: the call that killed its replica fails.
    expect((await call('two', { die: true })).code).toBe('broke_off')
    const after = await Promise.all(Array.from({ length: 30 }, () => call('two')))
    expect(after.filter(({ code }) => code !== undefined)).toEqual([])
  })

  test('a stopped tool says so at once', async () => {
    await register('stopped', { replicaCount: 0 })
    await expect.poll(async () => (await call('stopped')).code).toBe('stopped')
  })

  test('a deleted tool is called no more', async () => {
    await register('brief')
    expect((await call('brief')).replica).toBe('brief-0')
    expect((await gateway.send('/tools/brief', { method: 'DELETE' })).status).toBe(204)
    const { message } = await modern(gateway, 'tools/call', { name: 'brief' })
    expect(message.error).toMatchObject({ code: -32602 })
  })
})
