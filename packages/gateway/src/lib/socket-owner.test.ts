import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import { remoteUser } from './socket-owner.ts'

const onLinux = process.platform === 'linux'

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
  'the user at the other end of a connection on %s is that of its process',
  async (host) => {
    const { here, end } = await connected(host)
    try {
      expect(await remoteUser(here)).toBe(process.getuid?.())
    } finally {
      end()
    }
  },
)

test('nobody is at the other end of a connection that no process holds', async () => {
  expect(
    await remoteUser({
      localAddress: '127.0.0.1',
      localPort: 1,
      remoteAddress: '127.0.0.1',
      remotePort: 2,
    }),
  ).toBeUndefined()
})
