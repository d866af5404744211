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
  /** Program and arguments. The program gets PORT and HOST, and must serve HTTP there. */
  command: z.array(z.string().min(1)).min(1),
  environment: z.record(z.string(), z.string()).default({}),
  workingDirectory: z.string().optional(),
  /**
   * Variables that callers may set if `access.images` restricts them. A rule's own list outranks
   * this one.
   */
  variables: variables.optional(),
  /** The path of MCP. */
  path: z.string().startsWith('/').default('/mcp'),
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
  /** Accepted values of `aud`. */
  audiences: z.array(z.string().min(1)).default([]),
  /** Address of the keys. Unset: the issuer's discovery document names it. */
  jwksUri: webAddress.optional(),
  /** Scopes that each token must have. The gateway tells clients to ask for them. */
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
  /** Tolerated difference between the clocks of issuer and gateway. */
  clockSkewSeconds: z.number().min(0).max(300).default(30),
}

/** In lower case, as in tokens. Portals may show it otherwise. */
const tenantId = z.guid().toLowerCase()

/** An issuer of access tokens. The preset defines the form of the product's tokens. */
export const IssuerConfig = z.discriminatedUnion('preset', [
  z.strictObject({
    preset: z.literal('entra'),
    /** Address of the cloud. Sovereign clouds have other addresses. */
    instance: webAddress.default('https://login.microsoftonline.com'),
    /** One or several tenant (directory) ids. */
    tenantId: z.union([tenantId, z.array(tenantId).min(1)]),
    ...issuerFields,
    /**
     * The API's application (client) id comes first. The gateway also accepts `api://` with that
     * id.
     */
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
    /** Ids of the app clients. Access tokens of Cognito name these instead of an audience. */
    audiences: z.array(z.string().min(1)).min(1),
  }),
])
export type IssuerConfig = z.output<typeof IssuerConfig>
/** A destination of audit records. */
export const AuditSinkConfig = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('file'),
    /** Unset: `audit.log` in the data folder. Only one gateway may write to a file. */
    path: z.string().min(1).optional(),
    maxBytes: count(64 * 1024 * 1024, 64 * 1024),
    /** Number of full files to keep; 0 keeps all. */
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

/**
 * The whole configuration. Every setting has a default; the defaults give a gateway for one user on
 * this machine.
 */
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
      /**
       * Host names (without port) accepted in requests, besides loopback names and `publicOrigin`.
       * `*` turns the check off.
       */
      allowedHosts: z.array(z.string()).default([]),
      /**
       * Origins of browser pages that may call, besides the gateway's own and loopback on the same
       * host. They also receive CORS headers.
       */
      allowedOrigins: z.array(pageOrigin).default([]),
      /**
       * Networks (CIDR) of the proxies in front of the gateway. The gateway trusts their statements
       * on the client's address and the public origin.
       */
      trustedProxies: z.array(z.string()).default([]),
      /** The headers of those proxies: `X-Forwarded-*`, or `Forwarded` (RFC 7239). */
      forwardedBy: z.enum(['x-forwarded', 'forwarded']).default('x-forwarded'),
      bodyLimitBytes: count(4 * 1024 * 1024),
      headerLimitBytes: count(32 * 1024),
      headersTimeoutSeconds: seconds(15),
      requestTimeoutSeconds: seconds(60),
      keepAliveTimeoutSeconds: seconds(75),
      /**
       * After SIGTERM, how long the gateway serves as usual but reports that it is not ready, so
       * that clients move away.
       */
      drainDelaySeconds: z.number().min(0).max(3600).default(0),
      /** After that delay, how long open calls may take. */
      drainSeconds: seconds(20),
      accessLog: z.boolean().default(true),
    })
    .prefault({}),
  /**
   * Pools of this process that callers share. One caller alone gets half of each, and the next
   * caller half of the rest (docs/operations.md, "Bounds").
   */
  limits: z
    .strictObject({
      /** Requests without an answer so far, including open streams. */
      openRequests: count(40_000, 2),
      /** Bytes of the bodies of open requests. */
      bodyBytes: count(256 * 1024 * 1024),
      /**
       * Bytes of answers that the gateway holds until they are complete or their reader takes them.
       */
      heldBytes: count(512 * 1024 * 1024),
      /** Bytes of events that sessions keep for clients that reconnect. */
      eventBytes: count(256 * 1024 * 1024),
      /** Open requests to one server elsewhere. */
      connectionsPerServer: count(2048, 2),
      /** Open tool calls to one server elsewhere. */
      callsPerServer: count(512, 2),
      /**
       * Legacy sessions in front of modern servers, and as many again at `/mcp`. One caller: a
       * tenth.
       */
      sessions: count(10_000, 10),
      /** Connections from clients. One address gets at most half; proxies have no such limit. */
      connections: count(40_000, 2),
      /** Open requests for logs. */
      logReaders: count(500, 2),
    })
    .prefault({}),
  identity: z
    .strictObject({
      /**
       * development: callers state their own identity, on this machine only. oidc: callers show
       * access tokens.
       */
      mode: z.enum(['development', 'oidc']).default('development'),
      issuers: z.array(IssuerConfig).default([]),
      /** Accepts requests without a credential, for resources that are open to everyone. */
      allowAnonymous: z.boolean().default(false),
    })
    .prefault({}),
  access: z
    .strictObject({
      /**
       * Roles that may create, and change what runs, besides `mcp.admin`; `*` is every known
       * caller. Unset: `*` with development identity, else `mcp.engineer`.
       */
      create: z
        .strictObject({
          adapter: roles.optional(),
          tool: roles.optional(),
          /** Unset: everyone who may create an adapter or a tool. */
          secret: roles.optional(),
          /** Unset: every known caller. */
          apiKey: roles.optional(),
        })
        .prefault({}),
      /** Roles by image. The first rule whose pattern fits decides instead of `create`. */
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
             * Variables that callers restricted by the rules may set. Unset: those of
             * `runtime.images`, else none.
             */
            variables: variables.optional(),
          }),
        )
        .default([]),
      /**
       * Roles that may turn `useWorkloadIdentity` on, besides `mcp.admin`. Unset: none. Development
       * identity: `mcp.dev` on one machine (the flag lends nothing), nobody on a cluster.
       */
      workloadIdentityRoles: roles.optional(),
      /** The right that a caller needs to read logs, which may hold secrets. */
      logs: z.enum(['read', 'write']).default('write'),
      /** Limits for each owner. */
      quotas: z
        .strictObject({
          adapters: count(1000, 0),
          tools: count(10_000, 0),
          /** Replicas that the owner's adapters and tools request together. */
          replicas: count(1000, 0),
          /** Bytes of the owner's adapters and tools, as stored. */
          bytes: count(64 * 1024 * 1024, 0),
          /**
           * Bytes of all owners' adapters and tools, as stored. Every gateway keeps them in memory.
           */
          totalBytes: count(256 * 1024 * 1024, 0),
          /** Roles that may exceed the quotas, for themselves and for others. */
          exemptRoles: roles.default(['mcp.admin']),
        })
        .prefault({}),
    })
    .prefault({}),
  store: z
    .strictObject({
      /**
       * Connection URI of a PostgreSQL database, which several gateways may share. Unset: SQLite in
       * the data folder.
       */
      url: postgresUrl.optional(),
      /** A file with the password. Each new connection reads it. */
      passwordFile: z.string().min(1).optional(),
      /** The schema of the database that holds the tables. */
      schema: z
        .string()
        .regex(/^[a-z_][a-z0-9_]{0,62}$/)
        .default('mcp_gateway'),
      /** Connections for reading, besides one for writing and one for change notifications. */
      poolSize: count(5),
      /** Time limit for connecting and for a statement. Beyond it, requests get 503. */
      timeoutSeconds: seconds(5),
      /** Time that the start waits for a database that does not answer. */
      startTimeoutSeconds: z.number().min(0).max(86_400).default(30),
    })
    .prefault({}),
  apiKeys: z
    .strictObject({
      /** Limit on the keys of one principal. */
      maxPerPrincipal: count(100),
      /** Limits on the bytes of the keys of one principal, and of all, as stored. */
      maxBytesPerPrincipal: count(1024 * 1024),
      maxTotalBytes: count(64 * 1024 * 1024),
      /** Longest lifetime of a key. Unset: keys need not expire. */
      maxLifetimeDays: z.number().positive().max(36_500).optional(),
    })
    .prefault({}),
  secrets: z
    .strictObject({
      /**
       * Base64 keys of 32 bytes that seal secrets in the store. The first seals; all open. None:
       * the gateway makes a key in the data folder.
       */
      keys: z.array(z.string()).default([]),
      /**
       * Secrets that workloads may refer to as `file`: each a file, or a folder with one file per
       * key.
       */
      files: z
        .record(
          z.string().regex(/^[a-z]([-a-z0-9]{0,50}[a-z0-9])?$/),
          z.strictObject({ path: z.string().min(1), requiredRoles: roles.default([]) }),
        )
        .default({}),
      /**
       * Secrets of the cluster that workloads may refer to as `kubernetes`, by their names here. No
       * other secret is reachable.
       */
      kubernetes: z
        .record(
          z.string().regex(/^[a-z]([-a-z0-9]{0,50}[a-z0-9])?$/),
          z.strictObject({
            /** Name in the cluster, if it differs. */
            secret: z
              .string()
              .regex(/^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$/)
              .optional(),
            /** Unset: the namespace of the workloads. */
            namespace: labelText.optional(),
            requiredRoles: roles.default([]),
          }),
        )
        .default({}),
      /** Limit on the secrets of one principal. */
      maxPerPrincipal: count(1000),
      /** Limits on the bytes of the secrets of one principal, and of all, as stored. */
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
        /**
         * Owner of the declared resources. Unset: the source itself, or `dev` with development
         * identity.
         */
        owner: z
          .strictObject({ id: z.string().trim().min(1), issuer: z.string().trim().min(1) })
          .optional(),
        /** Roles with which the gateway applies the files. */
        roles: roles.default(['mcp.admin']),
        /** Removes resources that no file declares any more. */
        prune: z.boolean().default(true),
        /** Lets a folder without documents remove everything that it declared. */
        emptyPrunes: z.boolean().default(false),
        /** Interval between reads of the folder. */
        pollSeconds: seconds(5),
      }),
    )
    .default({})
    .meta({ description: 'Folders of files that declare adapters and tools, by their names.' }),
  proxy: z
    .strictObject({
      /** Time that a request waits for a replica of a cold or restarting adapter. */
      coldStartSeconds: seconds(60),
      connectTimeoutSeconds: seconds(5),
      /**
       * Time until the server's response headers. Tool calls may take long, so the limit is high.
       */
      answerTimeoutSeconds: seconds(3600),
      /**
       * Time until a server answers a request that opens a conversation (`initialize`,
       * `server/discover`). Clients of the SDKs give up after 60 seconds.
       */
      handshakeTimeoutSeconds: seconds(58),
      /**
       * Interval at which open streams check their caller again. A stream outlives its token or
       * role by at most this time.
       */
      streamRecheckSeconds: seconds(5),
      /** Longest lifetime of a session, even if it is in use. */
      sessionMaxAgeSeconds: z
        .number()
        .positive()
        .default(30 * 24 * 3600),
      /** Time for which idle connections to a replica stay open. */
      upstreamKeepAliveSeconds: seconds(4),
      /** Headers of clients that also go to servers: `x-acme-team`, `x-acme-*`. */
      requestHeaders: headerNames('server'),
      /** Headers of servers that also go to clients. */
      responseHeaders: headerNames('client'),
    })
    .prefault({}),
  cluster: z
    .strictObject({
      /** Name of this process among gateways with the same session keys. Unset: a random name. */
      name: clusterName.optional(),
      /**
       * Addresses of the other gateways, by name. A gateway hands each of them the requests for its
       * own sessions.
       */
      peers: z.record(z.string(), z.url({ protocol: /^https?$/ })).default({}),
      /**
       * Alternative: a Service in the gateway's own namespace whose pods are the others. Each is
       * named like its pod.
       */
      peersService: labelText.optional(),
      /**
       * An additional port for other gateways and for probes, which serves no clients. Unset: these
       * use `host` and `port`.
       */
      port: z.int().min(0).max(65_535).optional(),
      host: z.string().min(1).default('0.0.0.0'),
    })
    .prefault({}),
  sessions: z
    .strictObject({
      /**
       * Base64 keys of 32 bytes. The first seals; all unseal. None: the gateway makes a key in the
       * data folder.
       */
      keys: z.array(z.string()).default([]),
    })
    .prefault({}),
  tools: z
    .strictObject({
      /**
       * Addresses of tool gateways that serve `/mcp` for this gateway, by name (`cluster.name`).
       * None: this process serves `/mcp`.
       */
      gateways: z.record(clusterName, z.url({ protocol: /^https?$/ })).default({}),
      /**
       * Alternative: a Service in the gateway's own namespace whose pods are the tool gateways.
       * Each is named like its pod.
       */
      gatewaysService: labelText.optional(),
      /** For the role tool-gateway: gateways to follow. Any of them reports the tools. */
      followed: z.array(z.url({ protocol: /^https?$/ })).default([]),
      /** Replaces the general `endpointNetworks` for tools. */
      endpointNetworks: z.array(z.string()).optional(),
      /** Time limit of a call, including the wait for a replica. */
      callTimeoutSeconds: seconds(300),
      connectTimeoutSeconds: seconds(5),
      /** Longest answer of a tool. */
      answerLimitBytes: count(8 * 1024 * 1024),
      /** Tools on one page of `tools/list`. Not all clients ask for a second page. */
      pageSize: count(500),
      /** Streams that one caller may keep open to hear of changes. */
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
       * Checks that a running replica still answers; any HTTP answer counts. A long call may block
       * a server, so the restart comes late.
       */
      health: z
        .strictObject({
          periodSeconds: seconds(10),
          timeoutSeconds: seconds(5),
          /** Failures in a row after which the replica gets no new sessions. */
          unreadyAfter: count(3),
          /** Failures in a row after which the replica restarts; 0: never. */
          restartAfter: count(30, 0),
        })
        .prefault({}),
      logLines: count(5000),
      maxReplicas: count(20),
    })
    .prefault({}),
  audit: z
    .strictObject({
      /**
       * Unset: a file in the data folder. The role tool-gateway has no data folder, so its default
       * is none.
       */
      sinks: z.array(AuditSinkConfig).optional(),
      /**
       * MCP requests that get records: all; refusals and administrators' use of others' resources;
       * or none.
       */
      dataPlane: z.enum(['all', 'denied', 'off']).default('denied'),
      /** Records that wait while a sink is slow or down. Further records are lost and counted. */
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
