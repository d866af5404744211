import { randomInt } from 'node:crypto'
import { createServer } from 'node:net'

/**
 * A free loopback port, outside the ephemeral ports (from 32768 on Linux, from 49152 elsewhere) and
 * the gateway's replica ports. A process that starts again finds its port still free.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(10_000, 20_000)
    const free = await new Promise<boolean>((resolve) => {
      const server = createServer().once('error', () => resolve(false))
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
    })
    if (free) return port
  }
}
