import {
  createServer,
  request,
  type ClientRequest,
  type Server,
  type ServerResponse,
} from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterEach, expect, test } from 'vitest'
import { readBody } from './body.ts'
import { Shares } from './shares.ts'

const open: (Server | ClientRequest)[] = []
afterEach(() => {
  for (const each of open.splice(0)) {
    if ('destroy' in each) each.destroy()
    else {
      each.closeAllConnections()
      each.close()
    }
  }
})

/** A server that reads bodies of callers and does not answer. The path names the caller. */
async function serve(most: number, limitBytes = 20_000) {
  const shares = new Shares(most)
  const read: { readonly length: number; readonly response: ServerResponse }[] = []
  const server = createServer((incoming, response) => {
    const bounds = { limitBytes, room: () => shares.open(incoming.url ?? '') }
    readBody(incoming, response, bounds, ({ length }) => read.push({ length, response }))
  })
  open.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  /** Sends a body of this many bytes. Gives the status of the answer. */
  const post = (caller: string, bytes: number, headers = {}, ends = true) => {
    const sent = request({ port, method: 'POST', path: caller, headers, agent: false })
    open.push(sent)
    const status = new Promise<number | undefined>((resolve) => {
      sent.on('response', (answer) => resolve(answer.statusCode))
      sent.on('error', () => resolve(undefined))
    })
    sent.flushHeaders()
    sent.write('x'.repeat(bytes))
    if (ends) sent.end()
    return { status, sent }
  }
  return { port, shares, read, post }
}

test('bodies of one caller hold half of the room at most until their requests end', async () => {
  const { shares, read, post } = await serve(40_000)
  const first = post('/eve', 15_000, { 'content-length': 15_000 })
  await expect.poll(() => read.length).toBe(1)

  expect(await post('/eve', 15_000, { 'content-length': 15_000 }).status).toBe(429)
  expect(await post('/eve', 15_000).status).toBe(429)
  void post('/ann', 12_000)
  await expect.poll(() => read.map(({ length }) => length)).toEqual([15_000, 12_000])

  read[0]?.response.end()
  expect(await first.status).toBe(200)
  await expect.poll(() => shares.heldBy('/eve')).toBe(0)
})

test('an unfinished body gives its room to a caller that holds less, a whole one not', async () => {
  const { shares, read, post } = await serve(40_000)
  post('/eve', 10_000)
  await expect.poll(() => read.length).toBe(1)
  const slow = post('/eve', 10, { 'content-length': 10_000 }, false)
  await expect.poll(() => shares.heldBy('/eve')).toBe(20_000)
  post('/bob', 10_000)
  await expect.poll(() => read.length).toBe(2)

  post('/ann', 15_000, { 'content-length': 15_000 })

  expect(await slow.status).toBe(429)
  await expect.poll(() => read.length).toBe(3)
  expect(shares.heldBy('/eve')).toBe(10_000)
})

test('the room of a client that leaves in mid-body is free again', async () => {
  const { shares, post } = await serve(40_000)
  const { sent } = post('/eve', 10, { 'content-length': 15_000 }, false)
  await expect.poll(() => shares.held).toBe(15_000)
  sent.destroy()
  await expect.poll(() => shares.held).toBe(0)
})

test('a body that is too long is refused, with or without its length named before', async () => {
  const { shares, read, post } = await serve(400_000)
  expect(await post('/eve', 10, { 'content-length': 20_001 }, false).status).toBe(413)
  expect(await post('/eve', 20_001).status).toBe(413)
  expect(read).toEqual([])
  await expect.poll(() => shares.held).toBe(0)
})

test('a body in chunks of one byte takes little more memory than its bytes', async () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const used = (): number => {
    collect()
    const { heapUsed, external } = process.memoryUsage()
    return (heapUsed + external) / 1024 / 1024
  }
  const count = 400_000
  const { port, shares } = await serve(4 * count, count)
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => undefined)
  const before = used()

  socket.write('POST /eve HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n')
  socket.write('1\r\nx\r\n'.repeat(count))
  await expect.poll(() => shares.held).toBe(count)

  // Without joining, the chunks take 60 MB.
  expect(used() - before).toBeLessThan(15)
  socket.destroy()
})
