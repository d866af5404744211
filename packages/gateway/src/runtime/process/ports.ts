import { randomInt } from 'node:crypto'
import { createServer, type AddressInfo } from 'node:net'

/**
 * Where replicas listen. The system hands none of these out by itself, as it does from 32768 on Linux and from 49152 elsewhere
 * (RFC 6335 section 6): any connection may be given such a port while the server is still starting, which then finds it in use.
 * From 30000 are the node ports of a Kubernetes that may run on this machine, whose connections are led away although nobody listens.
 */
const range = { first: 20_000, last: 29_999 }

/** Of living instances, which may not listen yet. */
const taken = new Set<number>()

/** A port that nobody listens on. Somebody may take it before the replica does; then it fails to start and gets another. */
export async function takePort(host: string): Promise<number> {
  for (let tries = 0; ; tries += 1) {
    // Where most of the range is in use, any other does.
    const port = await freePort(host, tries < 100 ? randomInt(range.first, range.last + 1) : 0)
    if (port === undefined || taken.has(port)) continue
    taken.add(port)
    return port
  }
}

export function givePortBack(port: number): void {
  taken.delete(port)
}

/** The port, if it is free; for 0, one that the system chooses. */
function freePort(host: string, wanted: number): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) => {
      // EACCES: Windows keeps ranges for itself.
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
