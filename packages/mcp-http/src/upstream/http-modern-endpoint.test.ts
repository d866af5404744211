import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { errorAnswer, type ModernRequest } from '@mcp-gateway/protocol'
import { Pool } from 'undici'
import { expect, test } from 'vitest'
import { ModernSender } from './http-modern-endpoint.ts'

/** The status that a client gets for an error which a server gives with another status. */
async function statusFor(given: number): Promise<number> {
  const text = errorAnswer('1', -32603, 'The server was ended by SIGKILL.')
  const server = createServer((_, response) =>
    response.writeHead(given, { 'content-type': 'application/json' }).end(text),
  )
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const pool = new Pool(`http://127.0.0.1:${port}`)
  const request: ModernRequest = { id: '1', method: 'ping', meta: new Map(), params: new Map() }
  try {
    return await new Promise((resolve) =>
      new ModernSender(10_000).send({ pool, path: '/', headers: () => [] }, request, {
        answer: resolve,
        tell: () => undefined,
      }),
    )
  } finally {
    await pool.destroy()
    server.close()
  }
}

test.each([502, 503, 504])('status %s of a bridge tells that its server is away', async (status) =>
  expect(await statusFor(status)).toBe(status),
)

test.each([200, 400, 404, 500])(
  'an error with status %s is an answer of the server',
  async (status) => expect(await statusFor(status)).toBe(200),
)
