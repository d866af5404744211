import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { GatewayProcess } from '@mcp-gateway/testkit'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

let gateway: GatewayProcess
beforeAll(async () => {
  gateway = await GatewayProcess.start({ config: { edge: { unreadTimeoutSeconds: 0.5 } } })
})
afterAll(() => gateway[Symbol.asyncDispose]())

/** The most memory that the gateway has had, in megabytes. */
function peak(): number {
  const status = readFileSync(`/proc/${gateway.pid}/status`, 'utf8')
  return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) / 1024
}

/** Sends a body whose every byte is a chunk of its own. Resolves with the head of the answer. */
async function sendBytes(path: string, count: number): Promise<string> {
  const { hostname, port } = new URL(gateway.origin)
  const socket = connect(Number(port), hostname)
  let answer = ''
  socket.setEncoding('latin1').on('data', (text: string) => (answer += text))
  const head = ['content-type: application/json', 'transfer-encoding: chunked', 'connection: close']
  socket.write(`POST ${path} HTTP/1.1\r\nhost: localhost\r\n${head.join('\r\n')}\r\n\r\n`)
  const thousand = '1\r\n \r\n'.repeat(1000)
  for (let sent = 0; sent < count; sent += 1000)
    if (!socket.write(thousand)) await once(socket, 'drain')
  socket.end('0\r\n\r\n')
  await once(socket, 'close')
  return answer.slice(0, 12)
}

describe.skipIf(process.platform !== 'linux')('a body of a million chunks of one byte', () => {
  test.each(['/adapters/pieces/mcp', '/adapters'])(
    'a body to %s in single bytes takes little memory of the gateway',
    async (path) => {
      const named = { name: 'pieces', endpoint: 'http://127.0.0.1:9/mcp' }
      await gateway.api('POST', '/adapters', named)
      await sendBytes(path, 10_000)
      const before = peak()

      expect(await sendBytes(path, 1_000_000)).toBe('HTTP/1.1 400')
      // Without joining them it takes 350 MB.
      expect(peak() - before).toBeLessThan(100)
    },
  )
})

test('an answer to initialize in single bytes passes before it is whole', async () => {
  let asked = 0
  const server = createServer((_request, response) => {
    asked += 1
    if (asked > 1) return response.writeHead(404).end()
    response.writeHead(200, { 'content-type': 'application/json' })
    for (let sent = 0; sent < 200; sent += 1) response.write(' ')
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  await gateway.api('POST', '/adapters', {
    name: 'bytes',
    endpoint: `http://127.0.0.1:${port}/mcp`,
  })

  const stop = new AbortController()
  const answer = await fetch(`${gateway.origin}/adapters/bytes/mcp`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
    body: JSON.stringify({
      jsonrpc: '2.0',
      id: 1,
      method: 'initialize',
      params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: {} },
    }),
    signal: AbortSignal.any([stop.signal, AbortSignal.timeout(20_000)]),
  })

  expect(answer.status).toBe(200)
  const { value } = (await answer.body?.getReader().read()) ?? {}
  expect(value?.length).toBeGreaterThan(60)
  stop.abort()
  server.closeAllConnections()
  server.close()
})

test('a client that takes nothing of a public page loses its connection', async () => {
  const { hostname, port } = new URL(gateway.origin)
  const client = connect(Number(port), hostname).pause()
  client.on('error', () => undefined)
  const page = await fetch(`${gateway.origin}/openapi.json`)
  const { length } = await page.text()
  const count = 100
  client.write('GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n'.repeat(count))
  await sleep(3000)

  let read = 0
  client.on('data', (chunk: Buffer) => (read += chunk.length)).resume()
  await once(client, 'close')
  expect(read).toBeLessThan((count * length) / 2)
})
