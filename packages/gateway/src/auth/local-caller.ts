import type { Socket } from 'node:net'
import { GatewayError } from '../core/errors.ts'
import { remoteSocket, type LocalSocket } from '../lib/net/socket-owner.ts'
import type { Method } from './authenticate.ts'

/**
 * Refuses processes of workloads, which could claim any identity on loopback. An ended process
 * cannot be identified, so it is refused too. Looks up each connection once.
 */
export function exceptWorkloads(
  method: (request: Parameters<Method>[0]) => ReturnType<Method>,
  isWorkload: (socket: LocalSocket) => boolean | Promise<boolean>,
): Method {
  const allowed = new WeakMap<Socket, boolean>()
  return (request) => {
    const { socket } = request
    const known = allowed.get(socket)
    if (known !== undefined) return known ? method(request) : refuse()

    return remoteSocket(socket).then(async (remote) => {
      const isOther = remote !== undefined && !(await isWorkload(remote))
      allowed.set(socket, isOther)
      const found = isOther ? method(request) : refuse()
      if (found === undefined) throw new GatewayError('unauthenticated')
      return found
    })
  }
}

function refuse(): never {
  throw new GatewayError('caller_is_workload', {
    detail:
      'Servers that the gateway runs cannot use development identity. ' +
      'If the server should call the gateway, give it an API key.',
  })
}
