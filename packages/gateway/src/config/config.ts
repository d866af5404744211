import { homedir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { headerMistake, type Border } from '../core/header-table.ts'
import { parsePostgresUrl } from '../lib/postgres-url.ts'
import { KubernetesConfig, labelText } from './kubernetes.ts'

const seconds = (fallback: number) => z.number().positive().max(86_400).default(fallback)
const roles = z.array(z.string().trim().min(1))
const count = (fallback: number, min = 1) => z.int().min(min).default(fallback)

/** Variables that callers may set: a name pattern, alone or with patterns of allowed values. */
const variables = z.array(
  z.union([
    z.string().min(1),
    z.strictObject({ name: z.string().min(1), values: z.array(z.string()).optional() }),
  ]),
)

/** A program that the process runtime runs in place of an image. */
export const ProgramConfig = z.strictObject({
  command: z
    .array(z.string().min(1))
    .min(1)
    .describe(
      'Program and arguments. The program gets PORT and HOST, and must serve HTTP ' + 'there.',
    ),
  environment: z
    .record(z.string(), z.string())
    .default({})
    .describe('Variables that the program gets.'),
  workingDirectory: z.string().optional().describe('Folder in which the program starts.'),
  variables: variables
    .optional()
    .describe(
      "Variables that callers may set if `access.images` restricts them. A rule's own " +
        'list outranks this one.',
    ),
  path: z.string().startsWith('/').default('/mcp').describe('Path of MCP.'),
})
export type ProgramConfig = z.output<typeof ProgramConfig>

/** Name of one process among several. */
const clusterName = z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/)

/** Path of a claim: its name, members separated by dots, or a list of their exact names. */
const claimPath = z.union([z.string().min(1), z.array(z.string().min(1)).min(1)])
/** A connection URI, validated here and parsed again where it is used. */
const postgresUrl = z.string().superRefine((text, context) => {
  try {
    parsePostgresUrl(text)
  } catch (error) {
    context.addIssue({ code: 'custom', message: (error as Error).message })
  }
})
/** Names of headers, or prefixes with `*`, that may also cross the gateway. */
const headerNames = (border: Border) =>
  z
    .array(
      z.string().superRefine((pattern, context) => {
        const message = headerMistake(pattern, border)
        if (message !== undefined) context.addIssue({ code: 'custom', message })
      }),
    )
    .max(64)
    .default([])
/** An origin as browsers send it. A path or trailing slash would never match. */
const pageOrigin = z
  .string()
  .regex(
    /^(null|[a-z][a-z0-9+.-]*:\/\/[^\s/?#*@]+)$/i,
    'must be scheme, host and port alone, for example https://portal.example.com',
  )
const webAddress = z.url({ protocol: /^https?$/ })

/** Settings of every issuer preset. */
const issuerFields = {
  audiences: z.array(z.string().min(1)).default([]).describe('Accepted values of `aud`.'),
  jwksUri: webAddress
    .optional()
    .describe('Address of the keys. Unset: the discovery document of the issuer names it.'),
  requiredScopes: z
    .array(z.string().regex(/^[\x21\x23-\x5b\x5d-\x7e]+$/))
    .default([])
    .describe('Scopes that each token must have. The gateway tells clients to ask for them.'),
  rolesClaims: z
    .array(claimPath)
    .optional()
    .describe('Claims that hold roles. Unset: those of the preset.'),
  nameClaim: claimPath
    .optional()
    .describe('Claim that holds the name of the caller. Unset: that of the preset.'),
  idClaim: claimPath
    .optional()
    .describe('Claim that holds the id of the caller. Unset: that of the preset.'),
  algorithms: z
    .array(
      z.enum([
        'RS256',
        'RS384',
        'RS512',
        'PS256',
        'PS384',
        'PS512',
        'ES256',
        'ES384',
        'ES512',
        'EdDSA',
        'Ed25519',
      ]),
    )
    .min(1)
    .optional()
    .describe('Accepted algorithms of signatures. Unset: those of the preset.'),
  clockSkewSeconds: z
    .number()
    .min(0)
    .max(300)
    .default(30)
    .describe('Tolerated difference between the clocks of issuer and gateway.'),
}

/** In lower case, as in tokens. Portals may show it otherwise. */
const tenantId = z.guid().toLowerCase()

/** An issuer of access tokens. The preset defines the form of the product's tokens. */
export const IssuerConfig = z.discriminatedUnion('preset', [
  z.strictObject({
    preset: z.literal('entra'),
    instance: webAddress
      .default('https://login.microsoftonline.com')
      .describe('Address of the cloud. Sovereign clouds have other addresses.'),
    tenantId: z
      .union([tenantId, z.array(tenantId).min(1)])
      .describe('One or several tenant (directory) ids.'),
    ...issuerFields,
    audiences: z
      .array(z.string().min(1))
      .min(1)
      .describe(
        'The application (client) id of the API comes first. ' +
          'The gateway also accepts `api://` with that id.',
      ),
  }),
  z.strictObject({
    preset: z.enum(['generic', 'keycloak', 'auth0', 'okta']),
    issuer: webAddress,
    ...issuerFields,
  }),
  z.strictObject({
    preset: z.literal('cognito'),
    issuer: webAddress,
    ...issuerFields,
    audiences: z
      .array(z.string().min(1))
      .min(1)
      .describe(
        'Ids of the app clients. Access tokens of Cognito name these instead of an audience.',
      ),
  }),
])
export type IssuerConfig = z.output<typeof IssuerConfig>

/** A destination of audit records. */
export const AuditSinkConfig = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('file'),
    path: z
      .string()
      .min(1)
      .optional()
      .describe('Unset: `audit.log` in the data folder. Only one gateway may write to a file.'),
    maxBytes: count(64 * 1024 * 1024, 64 * 1024).describe(
      'Size at which the gateway begins a new file.',
    ),
    keep: count(16, 0).describe('Number of full files to keep; 0 keeps all.'),
    fsync: z
      .enum(['always', 'second'])
      .default('second')
      .describe('When records reach the disk: always before the answer, or within a second.'),
  }),
  z.strictObject({ type: z.literal('stdout') }),
  z.strictObject({
    type: z.literal('otlp'),
    endpoint: z.url({ protocol: /^https?$/ }),
    headers: z
      .record(z.string().regex(/^[A-Za-z0-9-]+$/), z.string().regex(/^[\x20-\x7e]*$/))
      .default({}),
  }),
])
export type AuditSinkConfig = z.output<typeof AuditSinkConfig>

/**
 * The whole configuration. Every setting has a default; the defaults give a gateway for one user on
 * this machine.
 */
export const ConfigSchema = z.strictObject({
  role: z
    .enum(['gateway', 'tool-gateway'])
    .default('gateway')
    .describe(
      'gateway: both planes. tool-gateway: a process that serves `/mcp` alone, for ' +
        'gateways (docs/tools.md#tool-gateways).',
    ),
  host: z
    .string()
    .min(1)
    .default('127.0.0.1')
    .describe('Address to listen on. Development identity allows loopback addresses only.'),
  port: z
    .int()
    .min(0)
    .max(65_535)
    .default(8000)
    .describe('Port to listen on; 0 takes any free port.'),
  dataDir: z
    .string()
    .min(1)
    .default(() => join(homedir(), '.mcp-gateway'))
    .describe('Folder of the embedded store, keys and logs.'),
  publicOrigin: webAddress
    .optional()
    .describe(
      'The origin by which clients reach the gateway, if it is not host and port. ' +
        'Development identity allows loopback addresses only.',
    ),
  endpointNetworks: z
    .array(z.string())
    .optional()
    .describe(
      'Networks (CIDR) that are not public, and that adapters and tools by `endpoint` ' +
        'may nevertheless use. Unset: loopback with development identity, else none.',
    ),
  edge: z
    .strictObject({
      allowedHosts: z
        .array(z.string())
        .default([])
        .describe(
          'Host names (without port) that requests may name, besides loopback names and ' +
            'the host of `publicOrigin`. `*` turns the check off.',
        ),
      allowedOrigins: z
        .array(pageOrigin)
        .default([])
        .describe(
          'Sites whose pages may call, each as `https://host` or `https://host:port`. ' +
            'Their pages and those of `publicOrigin` get CORS headers. Pages of this machine ' +
            'may always call, without CORS.',
        ),
      trustedProxies: z
        .array(z.string())
        .default([])
        .describe(
          'Networks (CIDR) of the proxies in front of the gateway. The gateway believes ' +
            "only these about the client's address and the public origin.",
        ),
      forwardedBy: z
        .enum(['x-forwarded', 'forwarded'])
        .default('x-forwarded')
        .describe(
          'Headers in which these proxies name the client: `X-Forwarded-*`, or `Forwarded` ' +
            '(RFC 7239). A header that a proxy does not write itself may come from a client.',
        ),
      bodyLimitBytes: count(4 * 1024 * 1024).describe('Largest body of a request; 413 beyond.'),
      headerLimitBytes: count(32 * 1024).describe('Largest headers of a request; 431 beyond.'),
      headersTimeoutSeconds: seconds(15).describe(
        'Time in which the headers of a request must arrive; 408 beyond.',
      ),
      requestTimeoutSeconds: seconds(60).describe(
        'Time in which the whole request must arrive; 408 beyond.',
      ),
      keepAliveTimeoutSeconds: seconds(75).describe(
        'Time for which an idle connection from a client stays open.',
      ),
      unreadTimeoutSeconds: seconds(120).describe(
        'Time for which a client may take no byte of a waiting answer; its connection is cut then.',
      ),
      drainDelaySeconds: z
        .number()
        .min(0)
        .max(3600)
        .default(0)
        .describe(
          'Time after SIGTERM in which the gateway serves everything except `/readyz`, so ' +
            'that balancers move clients away.',
        ),
      drainSeconds: seconds(20).describe('Time after that delay in which open calls may end.'),
      accessLog: z
        .boolean()
        .default(true)
        .describe('Whether each request gets a line in the log. Failures always get one.'),
    })
    .prefault({})
    .describe('The HTTP server.'),
  limits: z
    .strictObject({
      openRequests: count(40_000, 2).describe(
        'Requests without an answer so far, including open streams. One caller gets at ' +
          'most half (docs/operations.md#bounds).',
      ),
      bodyBytes: count(256 * 1024 * 1024).describe(
        'Bytes of the bodies of open requests; at least four times ' + '`edge.bodyLimitBytes`.',
      ),
      heldBytes: count(512 * 1024 * 1024).describe(
        'Bytes of answers that the gateway holds until they are complete or their reader ' +
          'takes them.',
      ),
      eventBytes: count(256 * 1024 * 1024).describe(
        'Bytes of events that translated sessions keep for clients that reconnect.',
      ),
      listBytes: count(256 * 1024 * 1024).describe(
        'Bytes of the lists that the members of virtual servers have given, counted for the ' +
          'owners of the adapters, and as many again for the lists that clients see.',
      ),
      connectionsPerServer: count(2048, 2).describe(
        'Open requests and streams to one server elsewhere.',
      ),
      callsPerServer: count(512, 2).describe('Open tool calls to one server elsewhere.'),
      sessions: count(10_000, 10).describe(
        'Legacy sessions in front of modern servers, and as many again at `/mcp`. One ' +
          'caller gets a tenth.',
      ),
      connections: count(40_000, 2).describe(
        'Connections from clients, and as many again from probes and peers. One address ' +
          'gets at most half; proxies (`edge.trustedProxies`) have no such limit.',
      ),
      logReaders: count(500, 2).describe('Open requests for logs.'),
    })
    .prefault({})
    .describe(
      'Pools of this process that callers share. One caller alone gets half of each, ' +
        'and the next caller half of the rest (docs/operations.md#bounds).',
    ),
  identity: z
    .strictObject({
      mode: z
        .enum(['development', 'oidc'])
        .default('development')
        .describe(
          'development: callers state their own identity (`X-Dev-UserId`, `X-Dev-Name`, ' +
            '`X-Dev-Roles`; defaults `dev`, `dev`, `mcp.dev`), on this machine only. oidc: ' +
            'callers show access tokens.',
        ),
      issuers: z
        .array(IssuerConfig)
        .default([])
        .describe('Issuers whose tokens the gateway accepts (docs/identity.md#issuers).'),
      allowAnonymous: z
        .boolean()
        .default(false)
        .describe(
          'Whether the gateway accepts requests without a credential, for adapters that ' +
            'are open to everyone.',
        ),
    })
    .prefault({})
    .describe('Who calls.'),
  access: z
    .strictObject({
      create: z
        .strictObject({
          adapter: roles
            .optional()
            .describe(
              'Roles that may create adapters, and change what runs, besides `mcp.admin`; `*` ' +
                'is every known caller. Unset: `*` with development identity, else ' +
                '`mcp.engineer` (docs/access.md).',
            ),
          tool: roles.optional().describe('The same for tools.'),
          secret: roles
            .optional()
            .describe(
              'Roles that may create secrets. Unset: everyone who may create an adapter or a ' +
                'tool.',
            ),
          apiKey: roles
            .optional()
            .describe('Roles that may create API keys. Unset: every known caller.'),
          server: roles
            .optional()
            .describe('Roles that may create virtual servers. Unset: every known caller.'),
        })
        .prefault({})
        .describe(
          'Roles that may create, and change what runs, besides `mcp.admin`; `*` is every ' +
            'known caller.',
        ),
      images: z
        .array(
          z.strictObject({
            pattern: z
              .string()
              .regex(
                /^[A-Za-z0-9._/*?-]+(:[A-Za-z0-9._*?-]+|@sha256:[0-9a-f*?]+)$/,
                "must be name:tag or name@sha256:digest, where '*' stands for any " +
                  "characters and '?' for one",
              ),
            roles,
            variables: variables
              .optional()
              .describe(
                'Variables that callers restricted by the rules may set. Unset: those of ' +
                  '`runtime.images`, else none.',
              ),
          }),
        )
        .default([])
        .describe(
          'Roles by image: `{pattern, roles, variables}`. The first rule whose pattern ' +
            'fits decides instead of `access.create` (docs/access.md#variables).',
        ),
      workloadIdentityRoles: roles
        .optional()
        .describe(
          'Roles that may turn `useWorkloadIdentity` on, besides `mcp.admin`. Unset: none; ' +
            'with development identity, `mcp.dev` on one machine, where the flag lends ' +
            'nothing, and nobody on a cluster.',
        ),
      logs: z
        .enum(['read', 'write'])
        .default('write')
        .describe('The right that a caller needs to read logs, which may hold secrets.'),
      quotas: z
        .strictObject({
          adapters: count(1000, 0).describe('Adapters of one owner (docs/access.md#quotas).'),
          tools: count(10_000, 0).describe('Tools of one owner.'),
          servers: count(100, 0).describe('Virtual servers of one owner (docs/servers.md).'),
          replicas: count(1000, 0).describe(
            'Replicas that the adapters and tools of one owner request together.',
          ),
          bytes: count(64 * 1024 * 1024, 0).describe(
            'Bytes of the adapters and tools of one owner, as stored.',
          ),
          totalBytes: count(256 * 1024 * 1024, 0).describe(
            'Bytes of the adapters and tools of all owners, as stored. Every gateway keeps ' +
              'them in memory.',
          ),
          exemptRoles: roles
            .default(['mcp.admin'])
            .describe('Roles that may exceed the quotas, for themselves and for others.'),
        })
        .prefault({})
        .describe('Limits of each owner (docs/access.md#quotas).'),
    })
    .prefault({})
    .describe('Who may do what (docs/access.md).'),
  store: z
    .strictObject({
      url: postgresUrl
        .optional()
        .describe(
          'Connection URI of a PostgreSQL database, which several gateways may share ' +
            '(docs/store.md#postgresql). Unset: SQLite in the data folder.',
        ),
      passwordFile: z
        .string()
        .min(1)
        .optional()
        .describe(
          'File with the password of the database. The gateway reads it for each new ' +
            'connection.',
        ),
      schema: z
        .string()
        .regex(/^[a-z_][a-z0-9_]{0,62}$/)
        .default('mcp_gateway')
        .describe('Schema of the database that holds the tables.'),
      poolSize: count(5).describe(
        'Connections for reading. Each gateway has two more: one for writing, one for ' +
          'notifications of changes.',
      ),
      timeoutSeconds: seconds(5).describe(
        'Time limit for connecting and for a statement. Beyond it, requests get 503.',
      ),
      startTimeoutSeconds: z
        .number()
        .min(0)
        .max(86_400)
        .default(30)
        .describe('Time that the start waits for a database that does not answer.'),
    })
    .prefault({})
    .describe('Where the wanted state is.'),
  apiKeys: z
    .strictObject({
      maxPerPrincipal: count(100).describe(
        'API keys that one principal may have (docs/api-keys.md).',
      ),
      maxBytesPerPrincipal: count(1024 * 1024).describe(
        'Bytes of the API keys of one principal, as stored.',
      ),
      maxTotalBytes: count(64 * 1024 * 1024).describe('Bytes of all API keys, as stored.'),
      maxLifetimeDays: z
        .number()
        .positive()
        .max(36_500)
        .optional()
        .describe('Longest lifetime of a key. Unset: keys need not expire.'),
    })
    .prefault({})
    .describe('Limits of API keys (docs/api-keys.md).'),
  servers: z
    .strictObject({
      maxBytesPerPrincipal: count(4 * 1024 * 1024).describe(
        'Bytes of the virtual servers of one principal, as stored.',
      ),
      maxTotalBytes: count(64 * 1024 * 1024).describe('Bytes of all virtual servers, as stored.'),
    })
    .prefault({})
    .describe('Limits of virtual servers (docs/servers.md).'),
  secrets: z
    .strictObject({
      keys: z
        .array(z.string())
        .default([])
        .describe(
          'Keys of 32 bytes in base64 that seal secrets in the store (docs/secrets.md). ' +
            'The first seals; all open. None: the gateway makes a key in the data folder.',
        ),
      files: z
        .record(
          z.string().regex(/^[a-z]([-a-z0-9]{0,50}[a-z0-9])?$/),
          z.strictObject({ path: z.string().min(1), requiredRoles: roles.default([]) }),
        )
        .default({})
        .describe(
          'Secrets that workloads may refer to as `file`: `{name: {path, requiredRoles}}`. ' +
            'Each is a file, or a folder with one file for each key.',
        ),
      kubernetes: z
        .record(
          z.string().regex(/^[a-z]([-a-z0-9]{0,50}[a-z0-9])?$/),
          z.strictObject({
            secret: z
              .string()
              .regex(/^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$/)
              .optional()
              .describe('Name in the cluster, if it differs.'),
            namespace: labelText.optional().describe('Unset: the namespace of the workloads.'),
            requiredRoles: roles.default([]),
          }),
        )
        .default({})
        .describe(
          'Secrets of the cluster that workloads may refer to as `kubernetes`: `{name: ' +
            '{secret, namespace, requiredRoles}}`. No other secret is reachable.',
        ),
      maxPerPrincipal: count(1000).describe('Secrets that one principal may have.'),
      maxBytesPerPrincipal: count(8 * 1024 * 1024).describe(
        'Bytes of the secrets of one principal, as stored.',
      ),
      maxTotalBytes: count(128 * 1024 * 1024).describe('Bytes of all secrets, as stored.'),
    })
    .prefault({})
    .describe('Secrets that workloads refer to (docs/secrets.md).'),
  declared: z
    .record(
      clusterName,
      z.strictObject({
        folder: z
          .string()
          .min(1)
          .describe('Folder of YAML or JSON files, such as a mounted ConfigMap.'),
        owner: z
          .strictObject({ id: z.string().trim().min(1), issuer: z.string().trim().min(1) })
          .optional()
          .describe(
            'Owner of the declared resources. Unset: the source itself, or `dev` with ' +
              'development identity.',
          ),
        roles: roles
          .default(['mcp.admin'])
          .describe('Roles with which the gateway applies the files.'),
        prune: z
          .boolean()
          .default(true)
          .describe('Whether the gateway removes resources that no file declares any more.'),
        emptyPrunes: z
          .boolean()
          .default(false)
          .describe('Whether a folder without documents removes everything that it declared.'),
        pollSeconds: seconds(5).describe('Interval between reads of the folder.'),
      }),
    )
    .default({})
    .describe(
      'Folders of files that declare adapters and tools, by name: `{name: {folder, ' +
        '…}}` (docs/declared.md#settings).',
    ),
  proxy: z
    .strictObject({
      coldStartSeconds: seconds(60).describe(
        'Time that a request waits for a replica of a cold or restarting adapter.',
      ),
      connectTimeoutSeconds: seconds(5).describe('Time limit for connecting to a server.'),
      answerTimeoutSeconds: seconds(3600).describe(
        'Time until the response headers of a server; 504 beyond. Tool calls may take ' +
          'long, so the limit is high.',
      ),
      handshakeTimeoutSeconds: seconds(58).describe(
        'Time until a server answers `initialize` or `server/discover`; 504 beyond. ' +
          'Clients of the SDKs give up after 60 seconds.',
      ),
      streamRecheckSeconds: seconds(5).describe(
        'Interval at which the gateway checks the callers of open streams again. A ' +
          'stream outlives its token or role by at most this time.',
      ),
      sessionMaxAgeSeconds: z
        .number()
        .positive()
        .default(30 * 24 * 3600)
        .describe('Longest lifetime of a session, even if it is in use.'),
      upstreamKeepAliveSeconds: seconds(4).describe(
        'Time for which an idle connection to a replica stays open.',
      ),
      requestHeaders: headerNames('server').describe(
        'Headers of clients that also go to servers, besides the usual ones ' +
          '(docs/adapters.md#headers): names, or prefixes such as `x-acme-*`.',
      ),
      responseHeaders: headerNames('client').describe(
        'Headers of servers that also go to clients, besides the usual ones.',
      ),
    })
    .prefault({})
    .describe('The data plane of one adapter.'),
  cluster: z
    .strictObject({
      name: clusterName
        .optional()
        .describe(
          'Name of this process among gateways with the same `sessions.keys`. Unset: a new ' +
            'name at each start.',
        ),
      peers: z
        .record(z.string(), z.url({ protocol: /^https?$/ }))
        .default({})
        .describe(
          'Addresses of the other gateways, by name. A gateway hands each of them, signed, ' +
            'the requests for what it holds: translated sessions and waiting calls.',
        ),
      peersService: labelText
        .optional()
        .describe(
          "Instead of `cluster.peers`, on a cluster: a Service in the gateway's own " +
            'namespace whose pods are the gateways. Each is named like its pod ' +
            '(docs/kubernetes.md#several-gateways).',
        ),
      port: z
        .int()
        .min(0)
        .max(65_535)
        .optional()
        .describe(
          'Additional port for probes and other gateways, which serves no clients. Unset: ' +
            '`host` and `port` serve these too.',
        ),
      host: z.string().min(1).default('0.0.0.0').describe('Address of that port.'),
    })
    .prefault({})
    .describe('Several gateways together (docs/kubernetes.md#several-gateways).'),
  sessions: z
    .strictObject({
      keys: z
        .array(z.string())
        .default([])
        .describe(
          'Keys of 32 bytes in base64. The first seals sessions; all open. None: the ' +
            'gateway makes a key in the data folder.',
        ),
    })
    .prefault({})
    .describe('Sealed session ids.'),
  tools: z
    .strictObject({
      gateways: z
        .record(clusterName, z.url({ protocol: /^https?$/ }))
        .default({})
        .describe(
          'Addresses of tool gateways that serve `/mcp` for this gateway, by name ' +
            '(`cluster.name`). None: this process serves `/mcp`.',
        ),
      gatewaysService: labelText
        .optional()
        .describe(
          "Instead of `tools.gateways`, on a cluster: a Service in the gateway's own " +
            'namespace whose pods are the tool gateways ' +
            '(docs/kubernetes.md#several-gateways).',
        ),
      followed: z
        .array(z.url({ protocol: /^https?$/ }))
        .default([])
        .describe(
          'For the role tool-gateway: addresses of gateways. Any of them reports the ' + 'tools.',
        ),
      endpointNetworks: z
        .array(z.string())
        .optional()
        .describe('Replaces `endpointNetworks` for tools.'),
      callTimeoutSeconds: seconds(300).describe(
        'Time limit of a call, including the wait for a replica.',
      ),
      connectTimeoutSeconds: seconds(5).describe('Time limit for connecting to a tool.'),
      answerLimitBytes: count(8 * 1024 * 1024).describe('Longest answer of a tool.'),
      pageSize: count(500).describe(
        'Tools on one page of `tools/list`. Not all clients ask for a second page.',
      ),
      maxListenersPerCaller: count(100).describe(
        'Streams that one caller may keep open to hear of changes.',
      ),
    })
    .prefault({})
    .describe('The tool router at `/mcp` (docs/tools.md).'),
  runtime: z
    .strictObject({
      kind: z
        .enum(['process', 'kubernetes'])
        .default('process')
        .describe('Where adapters and tools run.'),
      kubernetes: KubernetesConfig.prefault({}).describe(
        'Settings for workloads on a cluster (docs/kubernetes.md#settings).',
      ),
      images: z
        .record(z.string(), ProgramConfig)
        .default({})
        .describe(
          'Image names and the programs that stand for them, besides the built-in ones ' +
            '(docs/adapters.md#images).',
        ),
      host: z.string().default('127.0.0.1').describe('Address that replicas listen on.'),
      sandbox: z
        .enum(['auto', 'none', 'uid', 'bwrap'])
        .default('auto')
        .describe(
          'Sandbox of local servers (docs/isolation.md). bwrap: each server has its own ' +
            'view of the machine. uid: each owner has a user, which needs root. auto: the ' +
            'strongest that this machine offers.',
        ),
      sandboxUsers: z
        .strictObject({
          first: z
            .int()
            .min(1000)
            .max(2_000_000_000)
            .default(700_000)
            .describe('First of the user ids that owners get where the gateway is root.'),
          count: z
            .int()
            .min(1)
            .max(1_000_000)
            .default(65_536)
            .describe('Number of these user ids.'),
        })
        .prefault({})
        .describe('User ids that owners get where the gateway is root.'),
      ownerProcesses: count(16_384).describe(
        'Processes and threads that the local servers of one owner may have, in a ' +
          'sandbox (docs/isolation.md#limits).',
      ),
      homes: z
        .string()
        .min(1)
        .optional()
        .describe('Folder of the homes of local servers in a sandbox.'),
      mounts: z
        .array(
          z.strictObject({
            path: z.string().startsWith('/'),
            readOnly: z.boolean().default(true),
          }),
        )
        .default([])
        .describe(
          'Folders that local servers see with the sandbox bwrap: each has `path` and ' +
            '`readOnly` (true if absent).',
        ),
      startTimeoutSeconds: seconds(120).describe('Time until a replica listens.'),
      stopGraceSeconds: seconds(5).describe('Time between SIGTERM and SIGKILL.'),
      backoff: z
        .strictObject({
          firstSeconds: z
            .number()
            .positive()
            .default(0.5)
            .describe('First pause before a replica that ended restarts.'),
          maxSeconds: z.number().positive().default(30).describe('Longest of these pauses.'),
          resetAfterSeconds: z
            .number()
            .positive()
            .default(30)
            .describe('Running time after which the pauses begin with the first again.'),
        })
        .prefault({})
        .describe('Pauses between restarts of a replica that ends.'),
      health: z
        .strictObject({
          periodSeconds: seconds(10).describe(
            'Interval between checks that a running replica answers `GET /healthz`; any HTTP ' +
              'answer counts.',
          ),
          timeoutSeconds: seconds(5).describe('Time limit of one check.'),
          unreadyAfter: count(3).describe(
            'Failures in a row after which the replica gets no new sessions.',
          ),
          restartAfter: count(30, 0).describe(
            'Failures in a row after which the replica restarts; 0: never. A call that ' +
              'blocks a server for some minutes does not end the server.',
          ),
        })
        .prefault({})
        .describe(
          'Checks that a running replica still answers. A long call may block a server, so ' +
            'the restart comes late.',
        ),
      logLines: count(5000).describe(
        'Log lines kept for each replica, and for its previous instance.',
      ),
      maxReplicas: count(20).describe('Replicas of one adapter or tool.'),
    })
    .prefault({})
    .describe('What runs adapters and tools.'),
  audit: z
    .strictObject({
      sinks: z
        .array(AuditSinkConfig)
        .optional()
        .describe(
          'Destinations of audit records: `{type: file, path, maxBytes, keep, fsync}`, ' +
            '`{type: stdout}`, `{type: otlp, endpoint, headers}` (docs/audit.md). Unset: ' +
            '`audit.log` in the data folder, and none for the role tool-gateway.',
        ),
      dataPlane: z
        .enum(['all', 'denied', 'off'])
        .default('denied')
        .describe(
          "MCP requests that get records: all; denied: refusals, and administrators' use " +
            'of resources of others; off: none.',
        ),
      queueRecords: count(10_000).describe(
        'Records that wait while a sink is slow or down. The gateway drops further ' +
          'records and counts them.',
      ),
    })
    .prefault({})
    .describe('Audit records (docs/audit.md).'),
  log: z
    .strictObject({
      level: z
        .enum(['trace', 'debug', 'info', 'warn', 'error', 'silent'])
        .default('info')
        .describe('Lowest level that the log shows.'),
      format: z
        .enum(['auto', 'json', 'pretty'])
        .default('auto')
        .describe('auto: short lines on a terminal, JSON elsewhere.'),
    })
    .prefault({})
    .describe('The log.'),
})
export type Config = z.output<typeof ConfigSchema>
