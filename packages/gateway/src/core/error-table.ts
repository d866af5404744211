/** One error that the gateway answers with. */
export interface ErrorRow {
  readonly status: number
  /** The JSON-RPC code at MCP endpoints; without one, that of the status. */
  readonly rpc?: number
  readonly title: string
  /** Says what is wrong, why, and what to do. It is the detail of an error without its own. */
  readonly help: string
  /** True when the same request may succeed later, and cannot run anything twice. */
  readonly retry: boolean
  /** True when callers may read the detail; it then holds no secrets and no internals. */
  readonly exposeDetail: boolean
}

/**
 * Every error, by its stable code, in the order of their statuses. -32700 to -32600 are codes of
 * JSON-RPC; MCP SDKs expect -32001 for an unknown session.
 */
export const errorTable = {
  invalid_json: {
    status: 400,
    rpc: -32700,
    title: 'The body is not valid JSON',
    help: 'The gateway cannot read the body as JSON in UTF-8. Correct the body.',
    retry: false,
    exposeDetail: true,
  },
  invalid_request: {
    status: 400,
    title: 'The request is not valid',
    help: 'The request breaks a rule of HTTP or of MCP. Correct the request.',
    retry: false,
    exposeDetail: true,
  },
  ambiguous_message: {
    status: 400,
    title: 'The message is ambiguous',
    help:
      'Two readers could read the message differently. Send each member once, as MCP ' +
      'spells it.',
    retry: false,
    exposeDetail: true,
  },
  validation_failed: {
    status: 400,
    rpc: -32602,
    title: 'The request has mistakes',
    help: 'The member errors names each mistake and its place. Correct all of them.',
    retry: false,
    exposeDetail: true,
  },
  unauthenticated: {
    status: 401,
    title: 'Authentication is required',
    help: 'The request has no credential that the gateway accepts. Send a valid token or API key.',
    retry: false,
    exposeDetail: true,
  },
  insufficient_scope: {
    status: 403,
    title: 'The token lacks a scope',
    help:
      'The token is valid but lacks a scope that the gateway requires. Ask for a token ' +
      'with it.',
    retry: false,
    exposeDetail: true,
  },
  forbidden: {
    status: 403,
    title: 'Not allowed',
    help: 'The caller has no role for this. Ask the owner of the resource, or an administrator.',
    retry: false,
    exposeDetail: true,
  },
  variable_not_allowed: {
    status: 403,
    title: 'A variable may not be set',
    help: 'The variable changes which program runs, or is reserved. Remove it.',
    retry: false,
    exposeDetail: true,
  },
  caller_is_workload: {
    status: 403,
    title: 'Servers of the gateway are not callers',
    help:
      'The request comes from a server that the gateway runs. Such a server needs a ' +
      'credential.',
    retry: false,
    exposeDetail: true,
  },
  forwarded_request: {
    status: 403,
    title: 'The request came through a proxy',
    help:
      'Development identity serves this machine only. Call the gateway directly, or use an ' +
      'API key.',
    retry: false,
    exposeDetail: true,
  },
  quota_exceeded: {
    status: 403,
    title: 'The quota is used up',
    help: 'The owner has as many resources as the quota allows. Remove one that is not needed.',
    retry: false,
    exposeDetail: true,
  },
  host_not_allowed: {
    status: 403,
    title: 'The Host header is not allowed',
    help: 'The gateway does not serve this host name. Use one of edge.allowedHosts.',
    retry: false,
    exposeDetail: true,
  },
  origin_not_allowed: {
    status: 403,
    title: 'The Origin header is not allowed',
    help:
      'Pages of this origin may not call the gateway. An operator can allow it in ' +
      'edge.allowedOrigins.',
    retry: false,
    exposeDetail: true,
  },
  not_found: {
    status: 404,
    rpc: -32601,
    title: 'Not found',
    help: 'There is nothing of this name, or the caller may not see it. Check the name.',
    retry: false,
    exposeDetail: true,
  },
  session_not_found: {
    status: 404,
    rpc: -32001,
    title: 'Session not found',
    help: 'The session has ended, or belongs to another caller. Initialize again.',
    retry: false,
    exposeDetail: true,
  },
  method_not_allowed: {
    status: 405,
    title: 'Method not allowed',
    help: 'This path does not take this method. The header Allow names the methods that it takes.',
    retry: false,
    exposeDetail: true,
  },
  request_timeout: {
    status: 408,
    title: 'The request arrived too slowly',
    help: 'The headers or the body took longer to arrive than the gateway waits. Send them again.',
    retry: true,
    exposeDetail: true,
  },
  name_taken: {
    status: 409,
    title: 'The name is taken',
    help: 'Another resource has this name. Choose another name.',
    retry: false,
    exposeDetail: true,
  },
  declared_in_file: {
    status: 409,
    title: 'A file declares the resource',
    help: 'Only the file that declares this resource can change it. Change the file.',
    retry: false,
    exposeDetail: true,
  },
  secret_in_use: {
    status: 409,
    title: 'The secret is in use',
    help: 'Resources refer to the secret. Change them first, or remove it with force=true.',
    retry: false,
    exposeDetail: true,
  },
  runs_elsewhere: {
    status: 409,
    title: 'It does not run here',
    help:
      'An endpoint elsewhere serves this resource, so there is nothing here to restart or ' +
      'read.',
    retry: false,
    exposeDetail: true,
  },
  conflict: {
    status: 409,
    title: 'The resource changed meanwhile',
    help: 'Other callers changed the resource during each attempt. Send the request again.',
    retry: true,
    exposeDetail: true,
  },
  precondition_failed: {
    status: 412,
    title: 'The resource changed since it was read',
    help: 'The ETag in If-Match is not that of the resource. Read the resource, then try again.',
    retry: false,
    exposeDetail: true,
  },
  body_too_large: {
    status: 413,
    title: 'The body is too large',
    help: 'The body exceeds a limit of the gateway. Send less at once.',
    retry: false,
    exposeDetail: true,
  },
  environment_too_large: {
    status: 413,
    title: 'The environment is too large',
    help: 'Programs cannot start with so many bytes of variables. Set fewer or shorter variables.',
    retry: false,
    exposeDetail: true,
  },
  unsupported_media_type: {
    status: 415,
    title: 'Unsupported media type',
    help:
      'The gateway takes uncompressed JSON in UTF-8. Send the header Content-Type: ' +
      'application/json.',
    retry: false,
    exposeDetail: true,
  },
  share_used_up: {
    status: 429,
    title: 'The share of the caller is used up',
    help: 'The caller has as many requests or bytes open as one caller may have. Try again later.',
    retry: true,
    exposeDetail: true,
  },
  too_many_requests: {
    status: 429,
    title: 'Too many requests',
    help: 'The gateway refuses requests of this caller for a time. Wait as Retry-After says.',
    retry: true,
    exposeDetail: true,
  },
  headers_too_large: {
    status: 431,
    title: 'The headers are too large',
    help: 'The headers exceed a limit of the gateway. Send fewer or shorter headers.',
    retry: false,
    exposeDetail: true,
  },
  client_closed_request: {
    status: 499,
    rpc: -32603,
    title: 'The client closed the request',
    help:
      'The client closed the connection before the answer was whole. Only the log shows ' +
      'this code.',
    retry: false,
    exposeDetail: true,
  },
  internal: {
    status: 500,
    title: 'Internal error',
    help: 'The gateway failed. Its log has the reason, beside the id of the request.',
    retry: false,
    exposeDetail: false,
  },
  upstream_unreachable: {
    status: 502,
    title: 'The server cannot be reached',
    help: 'The server does not accept connections, so the request was not run. Try again later.',
    retry: true,
    exposeDetail: true,
  },
  upstream_failed: {
    status: 502,
    title: 'The server broke off',
    help: 'The server ended its answer early. The request may have run; see the log of the server.',
    retry: false,
    exposeDetail: true,
  },
  upstream_not_mcp: {
    status: 502,
    title: 'The server does not speak MCP at this address',
    help: 'The answer of the server is not an MCP message. Check its address and its log.',
    retry: false,
    exposeDetail: true,
  },
  answer_dropped: {
    status: 502,
    title: 'The gateway has no room for the answer',
    help: 'The gateway had no memory left for the answer. The request may have run.',
    retry: false,
    exposeDetail: true,
  },
  upstream_redirects: {
    status: 502,
    title: 'The server answers with a redirect',
    help: 'The gateway follows no redirects. Register the address that the server redirects to.',
    retry: false,
    exposeDetail: true,
  },
  upstream_untrusted: {
    status: 502,
    title: "The server's certificate is not trusted",
    help:
      'The gateway cannot verify the certificate of the server. Ask an operator to trust ' +
      'its issuer.',
    retry: false,
    exposeDetail: true,
  },
  endpoint_forbidden: {
    status: 502,
    title: 'The server is at an address that the gateway may not call',
    help:
      'The configuration forbids this address. An operator can allow its network in ' +
      'endpointNetworks.',
    retry: false,
    exposeDetail: true,
  },
  upstream_unauthorized: {
    status: 502,
    title: 'The server does not accept the gateway',
    help: 'The server wants another credential. Set the credential of the resource.',
    retry: false,
    exposeDetail: true,
  },
  no_ready_replica: {
    status: 503,
    title: 'No replica is ready',
    help:
      'No replica of the server became ready in time. Try again later; its status has the ' +
      'reason.',
    retry: true,
    exposeDetail: true,
  },
  no_room: {
    status: 503,
    title: 'The gateway has no room now',
    help: 'All callers together use up what the gateway can hold. Try again later.',
    retry: true,
    exposeDetail: true,
  },
  too_many_connections: {
    status: 503,
    title: 'Too many connections to the server are open',
    help: 'The gateway opens no more connections to this server now. Try again later.',
    retry: true,
    exposeDetail: true,
  },
  stopped: {
    status: 503,
    title: 'The server is stopped',
    help: 'The replicaCount of the resource is 0. Its owner can raise it.',
    retry: false,
    exposeDetail: true,
  },
  secret_unreadable: {
    status: 503,
    title: 'A stored secret cannot be decrypted',
    help: 'The gateway cannot read a secret that this request needs. Store the secret again.',
    retry: false,
    exposeDetail: true,
  },
  rules_too_costly: {
    status: 503,
    title: 'The tool rules take too long',
    help:
      'The rules of the adapter take too long to judge this call. Use fewer and simpler ' +
      'patterns.',
    retry: false,
    exposeDetail: true,
  },
  draining: {
    status: 503,
    title: 'The gateway is shutting down',
    help: 'This gateway process takes no new requests. Send the request again.',
    retry: true,
    exposeDetail: true,
  },
  checks_busy: {
    status: 503,
    title: 'Too many requests wait to be checked',
    help: 'The gateway has no thread left to check the request. Try again later.',
    retry: true,
    exposeDetail: true,
  },
  store_unavailable: {
    status: 503,
    title: 'The store is not available',
    help: 'The store does not answer, so the gateway cannot read or change it. Try again later.',
    retry: true,
    exposeDetail: true,
  },
  cluster_unavailable: {
    status: 503,
    title: 'The cluster does not answer',
    help: 'The API of the cluster does not answer. Try again later.',
    retry: true,
    exposeDetail: true,
  },
  issuer_unavailable: {
    status: 503,
    title: 'The identity provider cannot be reached',
    help: 'The gateway cannot fetch the keys of the identity provider. Try again later.',
    retry: true,
    exposeDetail: true,
  },
  upstream_timeout: {
    status: 504,
    title: 'The server did not answer in time',
    help: 'The server took longer than the gateway waits. The request may have run.',
    retry: false,
    exposeDetail: true,
  },
  storage_full: {
    status: 507,
    title: 'The store is full',
    help: 'The store has no space left, so nothing was changed. Remove resources, or add space.',
    retry: true,
    exposeDetail: true,
  },
  loop_detected: {
    status: 508,
    title: 'The endpoint leads back to the gateway',
    help: 'The endpoint of the resource is the gateway itself. Register the address of the server.',
    retry: false,
    exposeDetail: true,
  },
} as const satisfies Readonly<Record<string, ErrorRow>>

export type ErrorCode = keyof typeof errorTable
