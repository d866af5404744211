import type { Socket } from 'node:net'
import { GatewayError } from '../core/errors.ts'
import { remoteUser } from '../lib/socket-owner.ts'
import type { Method } from './authenticate.ts'

/**
 * Refuses callers that are processes of workloads. On loopback anybody may say who they are, and a local server is on
 * loopback too; its process runs as a user of the range, which tells it from the people of this machine. A process that
 * has gone cannot be told, so it is refused. Each connection is looked up once.
 */
export function exceptWorkloads(
  method: (request: Parameters<Method>[0]) => ReturnType<Method>,
  users: { readonly first: number; readonly count: number },
): Method {
  const allowed = new WeakMap<Socket, boolean>()
  return (request) => {
    const { socket } = request
    const known = allowed.get(socket)
    if (known !== undefined) return known ? method(request) : refuse()

    return remoteUser(socket).then((user) => {
      const isOther =
        user !== undefined && (user < users.first || user >= users.first + users.count)
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
      'Servers that the gateway runs cannot use development identity. Give the server an API key if it is to call the gateway.',
  })
}
