import { homedir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { headerMistake, type Border } from '../core/header-table.ts'
import { parsePostgresUrl } from '../lib/postgres-url.ts'
import { KubernetesConfig, labelText } from './kubernetes.ts'

const seconds = (fallback: number) => z.number().positive().max(86_400).default(fallback)
const roles = z.array(z.string().trim().min(1))
const count = (fallback: number, min = 1) => z.int().min(min).default(fallback)

/** Variables that callers may set: a name pattern, or one with the patterns of its values. */
const variables = z.array(
  z.union([
    z.string().min(1),
    z.strictObject({ name: z.string().min(1), values: z.array(z.string()).optional() }),
  ]),
)

/** A program that stands for an image name in the process runtime. */
export const ProgramConfig = z.strictObject({
  /** Program and arguments. The program gets PORT and HOST and must serve HTTP there. */
  command: z.array(z.string().min(1)).min(1),
  environment: z.record(z.string(), z.string()).default({}),
  workingDirectory: z.string().optional(),
  /**
   * Variables that callers whom `access.images` restricts may set. A rule's own list outranks it.
   */
  variables: variables.optional(),
  /** Where it serves MCP. */
  path: z.string().startsWith('/').default('/mcp'),
})
export type ProgramConfig = z.output<typeof ProgramConfig>

/** How a process is called among several. */
const clusterName = z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/)

/** The name of a claim, members with dots between them, or their exact names one after the other. */
const claimPath = z.union([z.string().min(1), z.array(z.string().min(1)).min(1)])
/** A text that is checked here and read where it is used. */
const postgresUrl = z.string().superRefine((text, context) => {
  try {
    parsePostgresUrl(text)
  } catch (error) {
    context.addIssue({ code: 'custom', message: (error as Error).message })
  }
})
/** Names of headers, or the beginnings of names with `*`, that may cross the gateway. */
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
/** As browsers send it. With a path or a slash at its end it would fit no page. */
const pageOrigin = z
  .string()
  .regex(
    /^(null|[a-z][a-z0-9+.-]*:\/\/[^\s/?#*@]+)$/i,
    'must be scheme, host and port alone, for example https://portal.example.com',
  )
const webAddress = z.url({ protocol: /^https?$/ })

/** What all presets of issuers have in common. */
const issuerFields = {
  /** What `aud` may name. */
  audiences: z.array(z.string().min(1)).default([]),
  /** Where the keys are, when the issuer's own description is not to be asked. */
  jwksUri: webAddress.optional(),
  /** Scopes that each token must have. Clients are told to ask for them. */
  requiredScopes: z.array(z.string().regex(/^[\x21\x23-\x5b\x5d-\x7e]+$/)).default([]),
  rolesClaims: z.array(claimPath).optional(),
  nameClaim: claimPath.optional(),
  idClaim: claimPath.optional(),
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
    .optional(),
  /** How far the issuer's clock may be from ours. */
  clockSkewSeconds: z.number().min(0).max(300).default(30),
}

/** As tokens have it, whatever the portal's copy looks like. */
const tenantId = z.guid().toLowerCase()

/** An issuer of access tokens. The preset knows how the product's tokens look. */
export const IssuerConfig = z.discriminatedUnion('preset', [
  z.strictObject({
    preset: z.literal('entra'),
    /** The cloud: sovereign ones have others. */
    instance: webAddress.default('https://login.microsoftonline.com'),
    /** One tenant (directory) id, or several. */
    tenantId: z.union([tenantId, z.array(tenantId).min(1)]),
    ...issuerFields,
    /** The API's application (client) id first; `api://` and the id is accepted beside it. */
    audiences: z.array(z.string().min(1)).min(1),
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
    /** Ids of the app clients, because access tokens of Cognito name these and no audience. */
    audiences: z.array(z.string().min(1)).min(1),
  }),
])
export type IssuerConfig = z.output<typeof IssuerConfig>
/** Where audit records go. */
export const AuditSinkConfig = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('file'),
    /** `audit.log` in the data folder when absent. One gateway writes to a file. */
    path: z.string().min(1).optional(),
    maxBytes: count(64 * 1024 * 1024, 64 * 1024),
    /** Full files that are kept; 0 keeps all. */
    keep: count(16, 0),
    fsync: z.enum(['always', 'second']).default('second'),
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

/** The whole configuration. Everything has a default: nothing set means a gateway on this machine for its user alone. */
export const ConfigSchema = z.strictObject({
  role: z.enum(['gateway', 'tool-gateway']).default('gateway').meta({
    description:
      'tool-gateway: a process that serves /mcp alone, behind gateways that hand it over.',
  }),
  host: z.string().min(1).default('127.0.0.1').meta({ description: 'Address to listen on.' }),
  port: z.int().min(0).max(65_535).default(8000),
  dataDir: z
    .string()
    .min(1)
    .default(() => join(homedir(), '.mcp-gateway'))
    .meta({ description: 'Folder of the embedded store, keys and logs.' }),
  publicOrigin: webAddress
    .optional()
    .meta({ description: 'How clients reach the gateway, when not by host and port.' }),
  endpointNetworks: z.array(z.string()).optional().meta({
    description:
      'Networks (CIDR) of addresses that are not public, which adapters and tools by `endpoint` may have all the same. Unset: loopback with development identity, else none.',
  }),
  edge: z
    .strictObject({
      /** Host names (without port) that requests may name, besides loopback names and `publicOrigin`; `*` turns the check off. */
      allowedHosts: z.array(z.string()).default([]),
      /** Origins of browser pages that may call, besides the gateway's own and loopback ones on the same host. They also get CORS answers. */
      allowedOrigins: z.array(pageOrigin).default([]),
      /** Networks (CIDR) of the proxies before the gateway, whose word on the client's address and on the public origin counts. */
      trustedProxies: z.array(z.string()).default([]),
      /** In which headers they say it: `X-Forwarded-*`, or `Forwarded` (RFC 7239). */
      forwardedBy: z.enum(['x-forwarded', 'forwarded']).default('x-forwarded'),
      bodyLimitBytes: count(4 * 1024 * 1024),
      headerLimitBytes: count(32 * 1024),
      headersTimeoutSeconds: seconds(15),
      requestTimeoutSeconds: seconds(60),
      keepAliveTimeoutSeconds: seconds(75),
      /** After SIGTERM, how long everything is served as ever, but for readiness: until nobody sends anything here any more. */
      drainDelaySeconds: z.number().min(0).max(3600).default(0),
      /** After that, how long open calls may take. */
      drainSeconds: seconds(20),
      accessLog: z.boolean().default(true),
    })
    .prefault({}),
  /**
   * What this process shares among callers. One caller alone gets half of each, and what is left
   * is shared in the same way (docs/operations.md, "Bounds").
   */
  limits: z
    .strictObject({
      /** Requests that have no answer yet, open streams among them. */
      openRequests: count(40_000, 2),
      /** Bytes of the bodies of open requests. */
      bodyBytes: count(256 * 1024 * 1024),
      /** Bytes of answers that are held until they are whole, or until their reader takes them. */
      heldBytes: count(512 * 1024 * 1024),
      /** Bytes of events that sessions keep for clients that come back. */
      eventBytes: count(256 * 1024 * 1024),
      /** Requests that are open at one server elsewhere. */
      connectionsPerServer: count(2048, 2),
      /** Calls of tools that are open at one server elsewhere. */
      callsPerServer: count(512, 2),
      /** Legacy sessions in front of modern servers; of `/mcp`, as many again. One caller: a tenth. */
      sessions: count(10_000, 10),
      /** Connections from clients, those of one address half at most; those of proxies all. */
      connections: count(40_000, 2),
      /** Open requests for logs. */
      logReaders: count(500, 2),
    })
    .prefault({}),
  identity: z
    .strictObject({
      /** development: callers say who they are, on this machine alone. oidc: they show access tokens. */
      mode: z.enum(['development', 'oidc']).default('development'),
      issuers: z.array(IssuerConfig).default([]),
      /** Whether requests without any credential are let in, to what is open to anybody. */
      allowAnonymous: z.boolean().default(false),
    })
    .prefault({}),
  access: z
    .strictObject({
      /** Who may create, and change what runs, besides `mcp.admin`; `*` is everyone who is somebody. Unset: everyone with development identity, else `mcp.engineer`. */
      create: z
        .strictObject({
          adapter: roles.optional(),
          tool: roles.optional(),
          /** Unset: whoever may create an adapter or a tool. */
          secret: roles.optional(),
          /** Unset: everyone who is somebody. */
          apiKey: roles.optional(),
        })
        .prefault({}),
      /** The same for images: the first rule whose pattern fits decides instead of `create`. */
      images: z
        .array(
          z.strictObject({
            pattern: z
              .string()
              .regex(
                /^[A-Za-z0-9._/*?-]+(:[A-Za-z0-9._*?-]+|@sha256:[0-9a-f*?]+)$/,
                "must be name:tag or name@sha256:digest, where '*' stands for any characters and '?' for one",
              ),
            roles,
            /**
             * Variables that callers whom the rules restrict may set. Unset: those of
             * `runtime.images`, else none.
             */
            variables: variables.optional(),
          }),
        )
        .default([]),
      /**
       * Who may turn `useWorkloadIdentity` on, besides `mcp.admin`. Unset: no role; on one machine
       * with development identity, where the flag lends nothing, `mcp.dev`; with it on a cluster,
       * nobody.
       */
      workloadIdentityRoles: roles.optional(),
      /** The right that reading logs needs; they may hold secrets. */
      logs: z.enum(['read', 'write']).default('write'),
      /** How much each owner may have. */
      quotas: z
        .strictObject({
          adapters: count(1000, 0),
          tools: count(10_000, 0),
          /** That its adapters and tools ask for together. */
          replicas: count(1000, 0),
          /** Bytes of its adapters and tools as they are stored. */
          bytes: count(64 * 1024 * 1024, 0),
          /** Bytes of the adapters and tools of all owners: every gateway keeps them in memory. */
          totalBytes: count(256 * 1024 * 1024, 0),
          /** Who may go beyond, for themselves and for others. */
          exemptRoles: roles.default(['mcp.admin']),
        })
        .prefault({}),
    })
    .prefault({}),
  store: z
    .strictObject({
      /** A database of PostgreSQL, as a connection URI, which several gateways may share. Unset: SQLite in the data folder. */
      url: postgresUrl.optional(),
      /** A file with the password, read for each new connection. */
      passwordFile: z.string().min(1).optional(),
      /** The schema of the database that holds the tables. */
      schema: z
        .string()
        .regex(/^[a-z_][a-z0-9_]{0,62}$/)
        .default('mcp_gateway'),
      /** Connections for reading, besides one for writing and one for hearing of changes. */
      poolSize: count(5),
      /** Until a connection is there, and until a statement is done; 503 then. */
      timeoutSeconds: seconds(5),
      /** How long a database that does not answer is waited for at the start. */
      startTimeoutSeconds: z.number().min(0).max(86_400).default(30),
    })
    .prefault({}),
  apiKeys: z
    .strictObject({
      /** Keys that one principal may have. */
      maxPerPrincipal: count(100),
      /** Bytes of the keys of one principal, and of all, as they are stored. */
      maxBytesPerPrincipal: count(1024 * 1024),
      maxTotalBytes: count(64 * 1024 * 1024),
      /** Every key ends this long after it was made, or sooner; unset: keys may last. */
      maxLifetimeDays: z.number().positive().max(36_500).optional(),
    })
    .prefault({}),
  secrets: z
    .strictObject({
      /** Base64 keys of 32 bytes that seal secrets in the store; the first seals, all open. None: one is made and kept in the data folder. */
      keys: z.array(z.string()).default([]),
      /** Secrets that workloads may refer to as `file`: each a file, or a folder with a file for each key. */
      files: z
        .record(
          z.string().regex(/^[a-z]([-a-z0-9]{0,50}[a-z0-9])?$/),
          z.strictObject({ path: z.string().min(1), requiredRoles: roles.default([]) }),
        )
        .default({}),
      /** Secrets of the cluster that workloads may refer to as `kubernetes`, and as what. No other can be reached. */
      kubernetes: z
        .record(
          z.string().regex(/^[a-z]([-a-z0-9]{0,50}[a-z0-9])?$/),
          z.strictObject({
            /** Its name in the cluster, when it is another. */
            secret: z
              .string()
              .regex(/^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$/)
              .optional(),
            /** Unset: that of the workloads. */
            namespace: labelText.optional(),
            requiredRoles: roles.default([]),
          }),
        )
        .default({}),
      /** Secrets that one principal may have. */
      maxPerPrincipal: count(1000),
      /** Bytes of the secrets of one principal, and of all, as they are stored. */
      maxBytesPerPrincipal: count(8 * 1024 * 1024),
      maxTotalBytes: count(128 * 1024 * 1024),
    })
    .prefault({}),
  declared: z
    .record(
      clusterName,
      z.strictObject({
        /** Folder of YAML or JSON files, such as a mounted ConfigMap. */
        folder: z.string().min(1),
        /** Who owns what the files declare. Unset: the source itself. */
        owner: z
          .strictObject({ id: z.string().trim().min(1), issuer: z.string().trim().min(1) })
          .optional(),
        /** With which roles the gateway applies the files. */
        roles: roles.default(['mcp.admin']),
        /** Whether what no file declares any more is removed. */
        prune: z.boolean().default(true),
        /** Whether a folder without any document removes everything that it has declared. */
        emptyPrunes: z.boolean().default(false),
        /** How often the folder is read. */
        pollSeconds: seconds(5),
      }),
    )
    .default({})
    .meta({ description: 'Folders of files that declare adapters and tools, by their names.' }),
  proxy: z
    .strictObject({
      /** How long a request waits for a replica of a cold or restarting adapter. */
      coldStartSeconds: seconds(60),
      connectTimeoutSeconds: seconds(5),
      /** Until the server's response headers: tool calls may be long, so this is too. */
      answerTimeoutSeconds: seconds(3600),
      /**
       * Until a server has answered the request that opens a conversation (`initialize`,
       * `server/discover`). Clients of the SDKs give up after 60 seconds.
       */
      handshakeTimeoutSeconds: seconds(58),
      /** How often the callers of open streams are asked again whether they may: so long a stream outlives its token or role. */
      streamRecheckSeconds: seconds(5),
      /** How long a session may exist, whatever its use. */
      sessionMaxAgeSeconds: z
        .number()
        .positive()
        .default(30 * 24 * 3600),
      /** Idle connections to a replica are kept this long. */
      upstreamKeepAliveSeconds: seconds(4),
      /**
       * Headers of clients that servers get besides those that they always get: `x-acme-team`,
       * `x-acme-*`.
       */
      requestHeaders: headerNames('server'),
      /** Headers of servers that clients get besides those that they always get. */
      responseHeaders: headerNames('client'),
    })
    .prefault({}),
  cluster: z
    .strictObject({
      /** How this process is called among several gateways with the same session keys; none: a name of the moment. */
      name: clusterName.optional(),
      /** Where the others listen, by their names: what one of them keeps for a client is handed to it. */
      peers: z.record(z.string(), z.url({ protocol: /^https?$/ })).default({}),
      /** Or the Service of a cluster whose pods they are, in the gateway's own namespace; each is called as its pod. */
      peersService: labelText.optional(),
      /** Where this process listens for the others besides, and for probes: what clients send is not served there. Unset: they use `host` and `port`. */
      port: z.int().min(0).max(65_535).optional(),
      host: z.string().min(1).default('0.0.0.0'),
    })
    .prefault({}),
  sessions: z
    .strictObject({
      /** Base64 keys of 32 bytes; the first seals, all unseal. None: one is made and kept in the data folder. */
      keys: z.array(z.string()).default([]),
    })
    .prefault({}),
  tools: z
    .strictObject({
      /** Tool gateways that serve `/mcp` for this gateway: where they listen, by their names (`cluster.name`). None: this process serves it. */
      gateways: z.record(clusterName, z.url({ protocol: /^https?$/ })).default({}),
      /** Or the Service of a cluster whose pods they are, in the gateway's own namespace; each is called as its pod. */
      gatewaysService: labelText.optional(),
      /** For the role tool-gateway: gateways, any of which tells which tools there are. */
      followed: z.array(z.url({ protocol: /^https?$/ })).default([]),
      /** The same as the `endpointNetworks` of all, in their place for tools. */
      endpointNetworks: z.array(z.string()).optional(),
      /** How long a call may take, waiting for a replica included. */
      callTimeoutSeconds: seconds(300),
      connectTimeoutSeconds: seconds(5),
      /** Longest answer of a tool. */
      answerLimitBytes: count(8 * 1024 * 1024),
      /** Tools of one page of `tools/list`. Not all clients ask for a second one. */
      pageSize: count(500),
      /** Streams that one caller may have open to hear of changes. */
      maxListenersPerCaller: count(100),
    })
    .prefault({}),
  runtime: z
    .strictObject({
      kind: z
        .enum(['process', 'kubernetes'])
        .default('process')
        .meta({ description: 'Where adapters and tools run.' }),
      kubernetes: KubernetesConfig.prefault({}),
      images: z.record(z.string(), ProgramConfig).default({}).meta({
        description: 'Image names and the programs that stand for them, besides the built-in ones.',
      }),
      host: z
        .string()
        .default('127.0.0.1')
        .meta({ description: 'Address that replicas listen on.' }),
      sandbox: z.enum(['auto', 'none', 'uid', 'bwrap']).default('auto').meta({
        description:
          'What keeps local servers apart. bwrap: a view of the machine of their own; uid: a user of their own for each owner, which needs root; auto: the strongest that this machine offers.',
      }),
      sandboxUsers: z
        .strictObject({
          first: z.int().min(1000).max(2_000_000_000).default(700_000),
          count: z.int().min(1).max(1_000_000).default(65_536),
        })
        .prefault({})
        .meta({ description: 'User ids that owners get where the gateway is root.' }),
      ownerProcesses: count(16_384).meta({
        description:
          'Processes and threads that the local servers of one owner may have, in a sandbox.',
      }),
      homes: z.string().min(1).optional().meta({
        description: 'Folder of the homes of local servers in a sandbox.',
      }),
      mounts: z
        .array(
          z.strictObject({
            path: z.string().startsWith('/'),
            readOnly: z.boolean().default(true),
          }),
        )
        .default([])
        .meta({ description: 'Folders that local servers see with the sandbox bwrap.' }),
      startTimeoutSeconds: seconds(120),
      stopGraceSeconds: seconds(5),
      backoff: z
        .strictObject({
          firstSeconds: z.number().positive().default(0.5),
          maxSeconds: z.number().positive().default(30),
          resetAfterSeconds: z.number().positive().default(30),
        })
        .prefault({}),
      /**
       * Whether a running replica still answers; any HTTP answer will do. A long call may block a
       * server, so a restart comes late.
       */
      health: z
        .strictObject({
          periodSeconds: seconds(10),
          timeoutSeconds: seconds(5),
          /** Failures in a row until no new session is sent to it. */
          unreadyAfter: count(3),
          /** Failures in a row until it is restarted; 0: never. */
          restartAfter: count(30, 0),
        })
        .prefault({}),
      logLines: count(5000),
      maxReplicas: count(20),
    })
    .prefault({}),
  audit: z
    .strictObject({
      /** Unset: a file in the data folder; for the role tool-gateway, which has no data folder, none. */
      sinks: z.array(AuditSinkConfig).optional(),
      /** Which MCP requests have records: all, those that are refused or are an administrator's on what is another's, or none. */
      dataPlane: z.enum(['all', 'denied', 'off']).default('denied'),
      /** Records that wait while a sink is slow or down; beyond, they are lost and counted. */
      queueRecords: count(10_000),
    })
    .prefault({}),
  log: z
    .strictObject({
      level: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']).default('info'),
      format: z
        .enum(['auto', 'json', 'pretty'])
        .default('auto')
        .meta({ description: 'auto: short lines on a terminal, JSON elsewhere.' }),
    })
    .prefault({}),
})
export type Config = z.output<typeof ConfigSchema>
