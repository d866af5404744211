import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import { isHeldOutside, remoteSocket } from './socket-owner.ts'

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
