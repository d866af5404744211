import { connect, createServer, type AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { givePortBack, takePort } from './ports.ts'

test('ports of replicas are free, differ, and are none of the ephemeral ones', async () => {
  const ports = await Promise.all(Array.from({ length: 50 }, () => takePort('127.0.0.1')))
  try {
    expect(new Set(ports).size).toBe(50)
    for (const port of ports) {
      await using server = createServer()
      await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
      const client = connect(port, '127.0.0.1')
      await new Promise<void>((resolve) => client.once('connect', () => resolve()))
      expect((client.address() as AddressInfo).port).toBeGreaterThan(Math.max(...ports))
      client.destroy()
    }
  } finally {
    for (const port of ports) givePortBack(port)
  }
})

test('a host that is not of this machine is an error, and is not tried forever', async () => {
  await expect(takePort('192.0.2.1')).rejects.toMatchObject({ code: 'EADDRNOTAVAIL' })
})
