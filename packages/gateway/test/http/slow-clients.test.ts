import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, createServer, type AddressInfo, type Server } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { GatewayProcess } from '@mcp-gateway/testkit'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'

let gateway: GatewayProcess
beforeAll(async () => {
  gateway = await GatewayProcess.start({ config: { edge: { unreadTimeoutSeconds: 0.5 } } })
})
afterAll(() => gateway[Symbol.asyncDispose]())

const afterwards: (() => unknown)[] = []
afterEach(() => {
  for (const undo of afterwards.splice(0)) undo()
})

/** Gives the peak memory of the gateway, in megabytes. */
function peak(): number {
  const status = readFileSync(`/proc/${gateway.pid}/status`, 'utf8')
  return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) / 1024
}

/** Sends a body in chunks of one byte. Resolves with the head of the answer. */
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
      // Without joining the chunks it takes 350 MB.
      expect(peak() - before).toBeLessThan(100)
    },
  )
})

/** A server whose first answer has a head and 200 chunks of one byte, and never ends. */
async function serveBytes(): Promise<Server> {
  let asked = 0
  const server = createServer((socket) => {
    socket
      .on('error', () => undefined)
      .once('data', () => {
        asked += 1
        if (asked > 1) return socket.end('HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n')

        const fields = 'content-type: application/json\r\ntransfer-encoding: chunked'
        socket.write(`HTTP/1.1 200 OK\r\n${fields}\r\n\r\n${'1\r\n \r\n'.repeat(200)}`)
      })
    afterwards.push(() => socket.destroy())
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  afterwards.push(() => server.close())
  return server
}

test('an answer to initialize in single bytes passes before it is whole', async () => {
  const { port } = (await serveBytes()).address() as AddressInfo
  // A repeated test needs a name that the gateway does not know yet.
  const name = `bytes-${randomUUID().slice(0, 8)}`
  await gateway.api('POST', '/adapters', { name, endpoint: `http://127.0.0.1:${port}/mcp` })

  const stop = new AbortController()
  afterwards.push(() => stop.abort())
  const answer = await fetch(`${gateway.origin}/adapters/${name}/mcp`, {
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
