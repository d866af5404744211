import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import { isHeldBelow, isHeldOutside, ListeningSockets, remoteSocket } from './socket-owner.ts'

const onLinux = process.platform === 'linux'
const note = onLinux ? '' : ' (skipped: needs Linux)'

async function connected(host: string): Promise<{ here: Socket; there: Socket; end: () => void }> {
  const server = createServer()
  server.listen(0, host)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const there = connect({ host, port })
  const [here] = (await once(server, 'connection')) as [Socket]
  return {
    here,
    there,
    end: () => {
      there.destroy()
      here.destroy()
      server.close()
    },
  }
}

test.skipIf(!onLinux).each(['127.0.0.1', '127.0.0.9', '::1', '::ffff:127.0.0.1'])(
  `the user at the other end of a connection on %s is that of its process${note}`,
  async (host) => {
    const { here, end } = await connected(host)
    try {
      expect(await remoteSocket(here)).toEqual({
        user: process.getuid?.(),
        inode: expect.stringMatching(/^[1-9][0-9]*$/),
      })
    } finally {
      end()
    }
  },
)

test.skipIf(!onLinux)(
  `each of many connections looked up at once has its own other end${note}`,
  async () => {
    const connections = await Promise.all(Array.from({ length: 20 }, () => connected('127.0.0.1')))
    try {
      const found = await Promise.all(connections.map(({ here }) => remoteSocket(here)))

      expect(new Set(found.map((socket) => socket?.inode)).size).toBe(20)
      expect(found).not.toContain(undefined)
    } finally {
      for (const { end } of connections) end()
    }
  },
)

test('nobody is at the other end of a connection that no process holds', async () => {
  expect(
    await remoteSocket({
      localAddress: '127.0.0.1',
      localPort: 1,
      remoteAddress: '127.0.0.1',
      remotePort: 2,
    }),
  ).toBeUndefined()
})

test.skipIf(!onLinux)(
  `a socket is held outside of sandboxes while a process has it open${note}`,
  async () => {
    const { here, end } = await connected('127.0.0.1')
    const { inode = '' } = (await remoteSocket(here)) ?? {}
    expect(await isHeldOutside(inode)).toBe(true)
    end()
    await once(here, 'close')

    expect(await isHeldOutside(inode)).toBe(false)
  },
)

test.skipIf(!onLinux)(
  `checks of listening sockets share a reading until it is too old${note}`,
  async () => {
    const listening = new ListeningSockets()
    const first = createServer().listen(0, '127.0.0.1')
    await once(first, 'listening')
    const { port: firstPort } = first.address() as AddressInfo
    const own = [{ user: process.getuid?.(), inode: expect.stringMatching(/^[1-9][0-9]*$/) }]
    expect(await listening.at('127.0.0.1', firstPort, 0)).toEqual(own)

    const second = createServer().listen(0, '::')
    await once(second, 'listening')
    const { port } = second.address() as AddressInfo
    try {
      const hour = 3_600_000
      expect(await listening.at('127.0.0.1', port, hour)).toEqual([])
      expect(await listening.at('127.0.0.1', firstPort, hour)).toEqual(own)
      expect(await listening.at('127.0.0.1', port, 0)).toEqual(own)
      expect(await listening.at('127.0.0.1', port, hour)).toEqual(own)
    } finally {
      first.close()
      second.close()
    }
  },
)

test.skipIf(!onLinux)(
  `others run while a process with many descriptors is searched${note}`,
  async () => {
    const open = Array.from({ length: 1000 }, () => openSync('/dev/null', 'r'))
    const { here, end } = await connected('127.0.0.1')
    const { inode = '' } = (await remoteSocket(here)) ?? {}
    expect(await isHeldBelow(process.pid, inode)).toBe(true)

    let turns = 0
    let isOver = false
    const count = (): void => {
      turns += 1
      if (!isOver) setImmediate(count)
    }
    count()
    expect(await isHeldBelow(process.pid, 'none')).toBe(false)
    isOver = true
    end()
    for (const each of open) closeSync(each)

    expect(turns).toBeGreaterThan(10)
  },
)

test.skipIf(!onLinux).each([
  ['127.0.0.1', '127.0.0.1', '::'],
  ['127.0.0.1', '0.0.0.0', '::'],
  ['::1', '::1', '0.0.0.0'],
])(`a socket of the other family takes no connection to %s${note}`, async (address, own, other) => {
  const server = createServer().listen(0, own)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const stranger = createServer().listen({ port, host: other, ipv6Only: true })
  await once(stranger, 'listening')
  const sockets = new ListeningSockets()

  expect(await sockets.at(address, port, 0)).toHaveLength(1)
  stranger.close()
  server.close()
  await once(server, 'close')
  expect(await sockets.at(address, port, 0)).toEqual([])
})
