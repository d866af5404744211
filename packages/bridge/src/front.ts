import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { sendJson, sendRpcError } from '@mcp-gateway/mcp-http'
import { errorCode } from '@mcp-gateway/protocol'

/** What answers at `/mcp`. */
export interface Handler extends AsyncDisposable {
  handle(request: IncomingMessage, response: ServerResponse): void
}

export interface FrontOptions {
  /** Host names, without port, that requests may name; undefined allows all. */
  readonly allowedHosts: ReadonlySet<string> | undefined
}

const healthy = Buffer.from('{"status":"ok"}')

/** The HTTP server of the bridge: `/mcp` for the handler, `/healthz` for probes, Host and Origin checked against DNS rebinding. */
export function createFront(handler: Handler, { allowedHosts }: FrontOptions): Server {
  // A client that vanished without a word would hold its session for ever: TCP asks after it.
  return createServer(
    {
      keepAlive: true,
      keepAliveInitialDelay: 30_000,
      noDelay: true,
      requestTimeout: 60_000,
      keepAliveTimeout: 75_000,
    },
    (request, response) => {
      const { host, origin } = request.headers
      if (
        allowedHosts !== undefined &&
        (host === undefined ||
          !allowedHosts.has(hostName(host)) ||
          (origin !== undefined && !allowedHosts.has(hostName(origin.replace(/^https?:\/\//, '')))))
      ) {
        return sendRpcError(
          response,
          403,
          undefined,
          errorCode.invalidRequest,
          'This Host or Origin is not allowed (MCP_ALLOWED_HOSTS).',
        )
      }
      const { url = '' } = request
      if (/^\/mcp\/?(\?|$)/.test(url)) return handler.handle(request, response)
      if (url === '/healthz') return sendJson(response, 200, healthy, {})
      sendRpcError(response, 404, undefined, errorCode.methodNotFound, 'The MCP server is at /mcp.')
    },
  )
}

/** The name in `name:port`, in lower case; empty when it is something else. */
function hostName(host: string): string {
  return /^(\[[^\]]*\]|[^:]*)(:\d*)?$/.exec(host)?.[1]?.toLowerCase() ?? ''
}
