import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import type { Principal } from '../core/principal.ts'
import { exceptWorkloads } from './local-caller.ts'

const somebody: Principal = { id: 'dev', issuer: 'development', name: 'dev', roles: [] }

/** A request on a connection, with the members that the code reads. */
const on = (socket: object): IncomingMessage => ({ socket }) as IncomingMessage

async function connected(): Promise<{ readonly here: Socket; [Symbol.dispose](): void }> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const there = connect({ host: '127.0.0.1', port })
  const [here] = (await once(server, 'connection')) as [Socket]
  return {
    here,
    [Symbol.dispose]() {
      there.destroy()
      here.destroy()
      server.close()
    },
  }
}

test('a caller whose process has ended is refused', async () => {
  const method = exceptWorkloads(
    () => somebody,
    () => false,
  )
  const gone = {
    localAddress: '127.0.0.1',
    localPort: 1,
    remoteAddress: '127.0.0.1',
    remotePort: 2,
  }
  await expect(method(on(gone))).rejects.toMatchObject({ code: 'caller_is_workload' })
})

test.skipIf(process.platform !== 'linux').each([true, false])(
  'a caller is looked up once per connection, and is a workload: %s',
  async (isWorkload) => {
    using connection = await connected()
    let asked = 0
    const method = exceptWorkloads(
      () => somebody,
      () => {
        asked += 1
        return isWorkload
      },
    )
    for (let request = 0; request < 2; request += 1) {
      const called = Promise.resolve().then(() => method(on(connection.here)))
      await (isWorkload
        ? expect(called).rejects.toMatchObject({ code: 'caller_is_workload' })
        : expect(called).resolves.toBe(somebody))
    }
    expect(asked).toBe(1)
  },
)
