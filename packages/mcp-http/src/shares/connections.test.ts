import { createServer, type Server, type ServerResponse } from 'node:http'
import { connect, type AddressInfo, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { Connections, cutUnread } from './connections.ts'
import { Shares } from './shares.ts'

const open: (Server | Socket)[] = []
afterEach(() => {
  for (const each of open.splice(0))
    if ('destroy' in each) each.destroy()
    else each.close()
})

const large = Buffer.alloc(32 * 1024 * 1024)

/** A server whose answers to `/slow` wait in `held`. */
async function serve(most: number, unreadMs = 60_000) {
  const shares = new Shares(most)
  const connections = new Connections(shares, (address) => address)
  const held: ServerResponse[] = []
  let requests = 0
  const server = createServer({ connectionsCheckingInterval: 100 }, (request, response) => {
    if (!connections.begin(response)) return
    requests += 1
    if (request.url === '/slow') held.push(response)
    else response.end(request.url === '/large' ? large : 'done')
  })
  server.on('connection', (socket) => connections.admit(socket))
  cutUnread(server, unreadMs)
  open.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return { shares, held, client: (from = 1) => new Client(port, from), requests: () => requests }
}

class Client {
  readonly #socket: Socket
  text = ''
  closed = false

  constructor(port: number, from: number) {
    this.#socket = connect({ port, host: '127.0.0.1', localAddress: `127.0.0.${from}` })
    this.#socket.setEncoding('latin1').on('data', (part: string) => (this.text += part))
    this.#socket.on('error', () => undefined).on('close', () => (this.closed = true))
    open.push(this.#socket)
  }

  write(text: string): this {
    this.#socket.write(text)
    return this
  }

  pause(): this {
    this.#socket.pause()
    return this
  }

  /** Reads for a moment. */
  async sip(): Promise<void> {
    this.#socket.resume()
    await sleep(5)
    this.#socket.pause()
    await sleep(50)
  }

  close(): void {
    this.#socket.destroy()
  }

  /** Sends a request. Gives the status of its answer. */
  async ask(): Promise<string> {
    this.text = ''
    this.write('GET / HTTP/1.1\r\nhost: h\r\n\r\n')
    await expect.poll(() => this.text).toMatch(/\r\n\r\n[^]/)
    return this.text.slice(9, 12)
  }
}

test('a new connection takes the place of the longest idle one of its address', async () => {
  const { shares, client } = await serve(6)
  const [first, second, third] = [client(), client(), client()]
  for (const each of [first, second, third, first]) expect(await each.ask()).toBe('200')

  expect(await client().ask()).toBe('200')

  await expect.poll(() => second.closed).toBe(true)
  expect([first.closed, third.closed, shares.held]).toEqual([false, false, 3])
  expect(await first.ask()).toBe('200')
})

test('a connection with a request or a part of one keeps its place', async () => {
  const { held, client, requests } = await serve(6)
  const [slow, late, silent] = [client(), client(), client()]
  expect(await late.ask()).toBe('200')
  slow.write('GET /slow HTTP/1.1\r\nhost: h\r\n\r\n')
  late.write('GET / HTTP/1.1\r\nho')
  await expect.poll(() => held.length).toBe(1)
  const ran = requests()

  const refused = client()
  expect(await refused.ask()).toBe('503')

  await expect.poll(() => refused.closed).toBe(true)
  expect(refused.text).toMatch(/"code":"no_room"[^]*\}$/)
  expect(requests()).toBe(ran)
  late.text = ''
  late.write('st: h\r\n\r\n')
  await expect.poll(() => late.text).toContain('200 OK')
  expect([slow.closed, late.closed, silent.closed]).toEqual([false, false, false])
})

test('a connection whose pipelined requests are not all answered is not idle', async () => {
  const { held, client } = await serve(2)
  const busy = client().write('GET /slow HTTP/1.1\r\nhost: h\r\n\r\n'.repeat(2))
  await expect.poll(() => held.length).toBe(2)
  held[0]?.end('first')
  await expect.poll(() => busy.text).toContain('first')

  expect(await client().ask()).toBe('503')
  held[1]?.end('second')
  await expect.poll(() => busy.text).toContain('second')
  expect(await client().ask()).toBe('200')
  await expect.poll(() => busy.closed).toBe(true)
})

test('a client that takes nothing of its answer loses its connection after a time', async () => {
  const { shares, client } = await serve(6, 300)
  client().pause().write('GET /large HTTP/1.1\r\nhost: h\r\n\r\n')
  await expect.poll(() => shares.held).toBe(1)

  await expect.poll(() => shares.held).toBe(0)
})

test('a client that takes its answer slowly, or waits for it long, keeps its connection', async () => {
  const { shares, held, client } = await serve(6, 300)
  const [slow, late] = [client().pause(), client()]
  slow.write('GET /large HTTP/1.1\r\nhost: h\r\n\r\n')
  late.write('GET /slow HTTP/1.1\r\nhost: h\r\n\r\n')
  for (let sips = 0; sips < 20; sips += 1) await slow.sip()

  expect(shares.held).toBe(2)
  held[0]?.end('at last')
  await expect.poll(() => late.text).toContain('at last')
})

test('a client that sends more than a hundred requests ahead loses its connection', async () => {
  const { shares, client, requests } = await serve(6)
  const busy = client().write(
    `GET /slow HTTP/1.1\r\nhost: h\r\n\r\n${'GET / HTTP/1.1\r\nhost: h\r\n\r\n'.repeat(500)}`,
  )

  await expect.poll(() => busy.closed).toBe(true)
  await expect.poll(() => shares.held).toBe(0)
  expect(requests()).toBe(100)
})

test('the address with most connections gives its longest idle one when none is left', async () => {
  const { shares, client } = await serve(6)
  const heavy = [client(1), client(1), client(1)]
  for (const each of heavy) expect(await each.ask()).toBe('200')
  const others = [2, 3, 4].map((from) => client(from))
  for (const each of others) expect(await each.ask()).toBe('200')
  expect(shares.held).toBe(6)

  expect(await client(5).ask()).toBe('200')
  expect(await client(6).ask()).toBe('200')

  await expect.poll(() => heavy.map(({ closed }) => closed)).toEqual([true, true, false])
  expect(others.map(({ closed }) => closed)).toEqual([false, false, false])
  // Each address holds one place now. A new address still gets in, and an address with one place
  // gets a second.
  expect(await client(7).ask()).toBe('200')
  expect(await client(7).ask()).toBe('200')
  expect(shares.held).toBe(6)
})

test('the places of connections that close are free again', async () => {
  const { shares, client } = await serve(2)
  for (let count = 0; count < 3; count += 1) {
    const one = client()
    expect(await one.ask()).toBe('200')
    one.close()
    await expect.poll(() => shares.held).toBe(0)
  }
})
