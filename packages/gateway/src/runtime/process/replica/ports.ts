import { randomInt } from 'node:crypto'
import { createServer, type AddressInfo } from 'node:net'

/**
 * The system assigns ports from 32768 (Linux) or 49152 (RFC 6335 section 6) to any connection, so a
 * starting server could find one taken. Kubernetes node ports, from 30000, redirect connections.
 */
const range = { first: 20_000, last: 29_999 }

/** Ports of living instances, which may not listen yet. */
const taken = new Set<number>()

/**
 * Returns a port that nobody listens on. If another process takes it first, the replica fails to
 * start and gets another.
 */
export async function takePort(host: string): Promise<number> {
  for (let tries = 0; ; tries += 1) {
    // If most of the range is in use, let the system choose a port.
    const port = await freePort(host, tries < 100 ? randomInt(range.first, range.last + 1) : 0)
    if (port === undefined || taken.has(port)) continue
    taken.add(port)
    return port
  }
}

export function givePortBack(port: number): void {
  taken.delete(port)
}

/** Returns the port if it is free. For 0, the system chooses one. */
function freePort(host: string, wanted: number): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) => {
      // EACCES: Windows reserves port ranges.
      if (wanted !== 0 && (error.code === 'EADDRINUSE' || error.code === 'EACCES'))
        resolve(undefined)
      else reject(error)
    })
    server.listen({ host, port: wanted }, () => {
      const { port } = server.address() as AddressInfo
      server.close(() => resolve(port))
    })
  })
}
