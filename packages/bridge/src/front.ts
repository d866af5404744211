import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { Connections, cutUnread, sendJson, sendRpcError, Shares } from '@mcp-gateway/mcp-http'
import { errorCode } from '@mcp-gateway/protocol'

/** Handles the requests to `/mcp`. */
export interface Handler extends AsyncDisposable {
  handle(request: IncomingMessage, response: ServerResponse): void
}

export interface FrontOptions {
  /** Host names, without port, that requests may use. Undefined allows all. */
  readonly allowedHosts: ReadonlySet<string> | undefined
  /** Connections that may be open. One address may have half of them. */
  readonly mostConnections?: number
  /** Time for which a client may take nothing of a waiting answer. */
  readonly unreadTimeoutMs?: number
}

/**
 * The same number as in a gateway. A gateway in front may have half, and each of its requests uses
 * one.
 */
const mostConnections = 40_000

/** The same as in a gateway. */
const unreadTimeoutMs = 120_000

const healthy = Buffer.from('{"status":"ok"}')

/**
 * The HTTP server of the bridge: `/mcp` for the handler and `/healthz` for probes. It checks Host
 * and Origin against DNS rebinding.
 */
export function createFront(handler: Handler, options: FrontOptions): Server {
  const { allowedHosts } = options
  const shares = new Shares(options.mostConnections ?? mostConnections)
  const connections = new Connections(shares, (address) => address)

  // TCP keep-alive finds clients that vanished silently, whose sessions would otherwise never end.
  const server = createServer(
    {
      keepAlive: true,
      keepAliveInitialDelay: 30_000,
      noDelay: true,
      headersTimeout: 15_000,
      requestTimeout: 60_000,
      keepAliveTimeout: 75_000,
      // Milliseconds between checks of the first two limits.
      connectionsCheckingInterval: 1000,
    },
    (request, response) => {
      if (!connections.begin(response)) return
      const { host, origin } = request.headers
      if (
        allowedHosts !== undefined &&
        (host === undefined ||
          !allowedHosts.has(hostName(host)) ||
          (origin !== undefined && !allowedHosts.has(hostName(origin.replace(/^https?:\/\//, '')))))
      ) {
        return sendRpcError(response, 403, {
          code: errorCode.invalidRequest,
          message: 'This Host or Origin is not allowed (MCP_ALLOWED_HOSTS).',
        })
      }

      const { url = '' } = request
      if (/^\/mcp\/?(\?|$)/.test(url)) return handler.handle(request, response)
      if (url === '/healthz') return sendJson(response, 200, healthy, {})

      sendRpcError(response, 404, {
        code: errorCode.methodNotFound,
        message: 'The MCP server is at /mcp.',
      })
    },
  )

  server.on('connection', (socket) => connections.admit(socket))
  cutUnread(server, options.unreadTimeoutMs ?? unreadTimeoutMs)
  return server
}

/** The name in `name:port`, in lower case. Empty for any other text. */
function hostName(host: string): string {
  return /^(\[[^\]]*\]|[^:]*)(:\d*)?$/.exec(host)?.[1]?.toLowerCase() ?? ''
}
