import { z } from 'zod'

/**
 * A DNS-1035 label of at most 52 characters, so that every runtime can add its suffixes (a pod
 * label holds 63).
 */
export const ResourceName = z
  .string()
  .min(1)
  .max(52, 'must be at most 52 characters')
  .regex(
    /^[a-z]([-a-z0-9]*[a-z0-9])?$/,
    "must be lower case letters, digits and '-', begin with a letter and end with a " +
      'letter or digit (DNS-1035)',
  )
  .meta({ id: 'ResourceName', example: 'mcp-example' })

const ImageName = z
  .string()
  .min(1)
  .max(255)
  .regex(
    /^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$/,
    "must be an image name without registry and tag, for example 'mcp-proxy' or 'team/server'",
  )

const ImageVersion = z
  .string()
  .min(1)
  .regex(
    /^(sha256:[0-9a-f]{64}|[a-zA-Z0-9][a-zA-Z0-9._-]{0,127}(@sha256:[0-9a-f]{64})?)$/,
    "must be an image tag, a digest ('sha256:…'), or both ('1.0.0@sha256:…')",
  )

/** Answers show this text for every secret value. In PUT or PATCH, it keeps the stored value. */
export const maskedValue = '********'

/** Keys of the values of a secret, and names of files in a folder of secrets. */
export const SecretKey = z
  .string()
  .min(1)
  .max(253)
  .regex(
    /^[A-Za-z0-9_-][A-Za-z0-9._-]*$/,
    "must be letters, digits, '.', '_' and '-', and not begin with '.'",
  )

export const SecretReference = z
  .strictObject({
    name: ResourceName,
    key: SecretKey.optional().meta({
      description: 'Which of its values; needed when it has several.',
    }),
    source: z
      .enum(['store', 'file', 'kubernetes'])
      .optional()
      .meta({
        description:
          '`store` (the default): a secret of `/secrets`; `file`: one of `secrets.files` ' +
          'of the configuration; `kubernetes`: where workloads run there.',
      }),
  })
  .meta({ id: 'SecretReference' })

const EnvironmentInput = z.union([
  z.string(),
  z.strictObject({ value: z.string(), secret: z.boolean().optional() }),
  z.strictObject({ secretRef: SecretReference }),
])

export const EnvironmentVariables = z
  .record(
    z
      .string()
      .min(1)
      .max(256)
      .regex(/^[-._a-zA-Z][-._a-zA-Z0-9]*$/, 'must be a name of an environment variable'),
    EnvironmentInput,
  )
  .refine((variables) => Object.keys(variables).length <= 1000, 'must be at most 1000 variables')
  .meta({
    description:
      'Values are text, or {"value", "secret"} to mark one as secret (or not), or ' +
      '{"secretRef": {"name", "key"}} to refer to a secret. Secret values are write-only: ' +
      `they read as "${maskedValue}", and sending that back keeps what is stored, unless ` +
      'another image, address or command would get it.',
  })

/** The environment in answers, which mask secret values but not references. */
export const EnvironmentView = z.record(
  z.string(),
  z.union([z.string(), z.object({ secretRef: SecretReference })]),
)

export const replicaLimit = 100

const roles = z.array(z.string().trim().min(1).max(256)).max(100)
/** Headers of HTTP, MCP or the gateway, which cannot carry a credential. */
const reservedHeader = new RegExp(
  `^(${[
    'connection|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade',
    'host|origin|expect|range|if-.*|accept|accept-.*|content-.*',
    'mcp-.*|x-mcp-.*|x-mcpgw-.*|x-request-id|last-event-id|idempotency-key',
    'forwarded|x-forwarded-.*|x-real-ip|traceparent|tracestate|baggage',
  ].join('|')})$`,
  'i',
)

/** The form of a header's value (RFC 9110 section 5.5). */
export const credentialValue = /^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/

/** A header with a secret value, added to every request to the server. */
export const Credential = z
  .strictObject({
    header: z
      .string()
      .max(128)
      .regex(/^[A-Za-z0-9][A-Za-z0-9_-]*$/, "must be a header name of letters, digits, '-' and '_'")
      // Some servers cannot tell '_' from '-' (RFC 3875 section 4.1.18).
      .refine(
        (name) => !reservedHeader.test(name.replaceAll('_', '-')),
        'must not be a header that HTTP, MCP or the gateway uses',
      ),
    value: z
      .string()
      .max(8192)
      .regex(credentialValue, 'must be visible ASCII characters, with spaces only between them')
      .optional(),
    secretRef: SecretReference.optional(),
  })
  .refine(
    ({ value, secretRef }) => (value === undefined) !== (secretRef === undefined),
    'must have either a value or a secretRef',
  )
  .meta({
    id: 'Credential',
    description:
      'Added to every request to the server: a value, or a secret by reference. The value ' +
      `is write-only: it reads as "${maskedValue}", and sending that back keeps what is ` +
      'stored, unless another image, address or command would get it.',
  })

/** Tells whether servers of the CGI kind take two names for the same (RFC 3875 section 4.1.18). */
function sameHeader(a: string, b: string): boolean {
  return a.toLowerCase().replaceAll('_', '-') === b.toLowerCase().replaceAll('_', '-')
}

/** One header, or several, such as an API key and the id of a tenant. */
export const Credentials = z
  .union([
    Credential,
    z
      .array(Credential)
      .min(1)
      .max(16)
      .superRefine((all, context) => {
        for (const [index, { header }] of all.entries())
          if (all.slice(0, index).some((other) => sameHeader(other.header, header)))
            context.addIssue({
              code: 'custom',
              path: [index, 'header'],
              message: 'must not be the name of a header before it',
            })
      }),
  ])
  .meta({ description: 'One header, or a list of headers.' })

/** The credential in answers. */
export const CredentialView = z.object({
  header: z.string(),
  value: z.string().optional(),
  secretRef: SecretReference.optional(),
})

/** One header, or several, in answers. */
export const CredentialsView = z.union([CredentialView, z.array(CredentialView)])

/** Labels of adapters and tools, by which virtual servers select members. */
export const Labels = z
  .record(
    z
      .string()
      .regex(
        /^[A-Za-z0-9]([A-Za-z0-9._/-]{0,126}[A-Za-z0-9])?$/,
        "must be 1 to 128 letters, digits, '.', '_', '-' and '/', and begin and end with a " +
          'letter or digit',
      ),
    z.string().max(256),
  )
  .refine((labels) => Object.keys(labels).length <= 64, 'must be at most 64 labels')
  .meta({ description: 'Labels, by which virtual servers select members.' })

/** The fields of a workload, for adapters and tools alike. */
export const workloadFields = {
  imageName: ImageName,
  imageVersion: ImageVersion,
  endpoint: z
    .url({ protocol: /^https?$/, message: 'must be an http:// or https:// address' })
    .max(2048)
    .meta({
      description:
        'Address of a service that already runs elsewhere, in place of an image; ' +
        'requests go to this very address.',
    }),
  environmentVariables: EnvironmentVariables,
  replicaCount: z.int().min(0).max(replicaLimit).meta({ description: '0 means stopped.' }),
  description: z.string().max(4096),
  useWorkloadIdentity: z.boolean(),
  requiredRoles: roles,
  ownerRoles: roles.meta({
    description: 'Roles whose holders may write as the owner may, but not give it away.',
  }),
  callerIdentity: z.enum(['headers', 'signed', 'none']).meta({
    description:
      'How the server is told who calls. `headers`: X-Mcp-UserId, X-Mcp-UserName and ' +
      'X-Mcp-Roles. `signed`: these, and a signed token in X-Mcp-Identity that proves ' +
      'them. `none`: not at all.',
  }),
  credential: Credentials,
  labels: Labels,
}

/** The owner of a resource, as an identity provider names it. */
export const Owner = z.object({ id: z.string(), issuer: z.string() }).meta({ id: 'Owner' })

const identifier = z
  .string()
  .min(1)
  .max(512)
  .regex(/^\P{Cc}+$/u, 'must not hold control characters')

/** Body of PUT of an owner, or of an offer. */
export const OwnerInput = z
  .strictObject({
    id: identifier.meta({ description: 'As `owner.id` of what the new owner has made reads.' }),
    issuer: identifier
      .optional()
      .meta({ description: 'Who vouches for the id; when absent, who vouches for the caller.' }),
  })
  .meta({ id: 'OwnerInput' })

export const anonymous = z.boolean().meta({
  description:
    'Whether callers without any credential may use it, and so everyone. May be turned ' +
    'on only where the configuration allows it (`identity.allowAnonymous`).',
})
export const aggregate = z.boolean().meta({
  description: 'Whether the adapter joins the built-in virtual server at /mcp.',
})
export const eras = z.enum(['auto', 'passthrough']).meta({
  description:
    '`auto`: clients of either era of MCP are served, whichever the server speaks. ' +
    '`passthrough`: nothing is translated, and a client has what the server gives.',
})
export const legacyLeg = z.enum(['auto', 'passthrough', 'translate']).meta({
  description:
    'For a server that speaks both eras: whether legacy clients reach its legacy side ' +
    '(`passthrough`), or its modern side by translation (`translate`). `auto` translates ' +
    'when the legacy side has no sessions, as such a side has no questions and no ' +
    'subscriptions.',
})

const toolPattern = z.string().min(1).max(256)

/** A rule for callers who may, or may not, see and call tools of an adapter's server. */
export const ToolRule = z
  .strictObject({
    effect: z.enum(['allow', 'deny']),
    tools: z.union([toolPattern, z.array(toolPattern).min(1).max(100)]).meta({
      description:
        'Names of tools, where `*` stands for any characters and `?` for one. What ' +
        '`deny` names is denied in every spelling (case, spaces, compatibility forms), ' +
        'what `allow` names is allowed in that one.',
    }),
    annotations: z
      .strictObject({
        readOnlyHint: z.boolean(),
        destructiveHint: z.boolean(),
        idempotentHint: z.boolean(),
        openWorldHint: z.boolean(),
      })
      .partial()
      .optional()
      .meta({
        description:
          'Only tools of these hints. What a tool does not say counts as the specification has it.',
      }),
    roles: roles.min(1).optional().meta({
      description: 'Only callers who hold one of these; `*` is everyone who is somebody.',
    }),
  })
  .meta({ id: 'ToolRule' })

/** Most patterns in all rules of an adapter, and most characters of them together. */
export const patternLimit = { count: 1000, characters: 32_768 }

const patternsOf = (rules: readonly { readonly tools: string | readonly string[] }[]) =>
  rules.flatMap(({ tools }) => tools)

export const toolRules = z
  .array(ToolRule)
  .max(100)
  .refine(
    (rules) => patternsOf(rules).length <= patternLimit.count,
    `must have at most ${patternLimit.count} patterns in all rules together`,
  )
  .refine(
    (rules) => patternsOf(rules).join('').length <= patternLimit.characters,
    `must have at most ${patternLimit.characters} characters in all patterns together`,
  )
  .meta({
    description:
      'The first rule that fits a tool and a caller decides, for lists and calls alike; ' +
      'a tool that none fits is denied. No rules: every tool is allowed. All rules ' +
      'together have at most 1000 patterns of 32,768 characters.',
  })

/**
 * Body of POST and PUT: an image or an endpoint. PUT replaces everything, so absent fields get
 * their defaults. PATCH changes only the fields that it names.
 */
export const AdapterInput = z
  .object({
    name: ResourceName,
    imageName: workloadFields.imageName.optional(),
    imageVersion: workloadFields.imageVersion.optional(),
    endpoint: workloadFields.endpoint.optional(),
    environmentVariables: workloadFields.environmentVariables.default({}),
    replicaCount: workloadFields.replicaCount.default(1),
    description: workloadFields.description.default(''),
    useWorkloadIdentity: workloadFields.useWorkloadIdentity.default(false),
    requiredRoles: workloadFields.requiredRoles.default([]),
    ownerRoles: workloadFields.ownerRoles.default([]),
    callerIdentity: workloadFields.callerIdentity.default('headers'),
    credential: workloadFields.credential.optional(),
    labels: workloadFields.labels.default({}),
    anonymous: anonymous.default(false),
    aggregate: aggregate.default(false),
    toolRules: toolRules.default([]),
    eras: eras.default('auto'),
    legacyLeg: legacyLeg.default('auto'),
  })
  .meta({ id: 'AdapterInput' })
export type AdapterInput = z.output<typeof AdapterInput>
export type AdapterBody = z.input<typeof AdapterInput>

export const Warning = z
  .object({ pointer: z.string(), code: z.string(), detail: z.string() })
  .meta({ id: 'Warning' })

export const DeclaredIn = z
  .object({
    source: z.string().meta({ description: 'Its name in `declared` of the configuration.' }),
    file: z.string().meta({ description: 'Relative to the folder of the source.' }),
  })
  .meta({
    id: 'DeclaredIn',
    description: 'The file that declares the resource. Only the file changes or removes it.',
  })

export const AdapterResource = z
  .object({
    id: z.string().meta({ description: 'Equals the name.' }),
    name: ResourceName,
    imageName: z.string().optional(),
    imageVersion: z.string().optional(),
    endpoint: z.string().optional(),
    environmentVariables: EnvironmentView,
    replicaCount: z.int(),
    description: z.string(),
    useWorkloadIdentity: z.boolean(),
    requiredRoles: z.array(z.string()),
    ownerRoles: z.array(z.string()),
    owner: Owner,
    offeredTo: Owner.optional().meta({ description: 'Who may take it over.' }),
    callerIdentity: workloadFields.callerIdentity.optional(),
    credential: CredentialsView.optional(),
    labels: workloadFields.labels.optional(),
    declared: DeclaredIn.optional(),
    createdBy: z.string(),
    createdAt: z.iso.datetime(),
    lastUpdatedAt: z.iso.datetime(),
    anonymous: anonymous.optional(),
    aggregate: aggregate.optional(),
    toolRules: toolRules.optional(),
    eras: eras.optional(),
    legacyLeg: legacyLeg.optional(),
    warnings: z.array(Warning).optional().meta({
      description: 'What the request said that had no effect. Only in answers to writes.',
    }),
  })
  .meta({ id: 'Adapter' })
export type AdapterResource = z.output<typeof AdapterResource>

export const ReplicaStatus = z
  .object({
    name: z.string(),
    phase: z.enum(['pending', 'starting', 'ready', 'backoff', 'lost', 'terminating']),
    restarts: z.int(),
    generation: z.int(),
    startedAt: z.iso.datetime().optional(),
    reason: z.string().optional(),
    message: z.string().optional(),
    lastExit: z
      .object({
        at: z.iso.datetime(),
        code: z.int().optional(),
        signal: z.string().optional(),
        message: z.string().optional(),
      })
      .optional(),
  })
  .meta({ id: 'ReplicaStatus' })

export const ResourceStatus = z
  .object({
    readyReplicas: z.int().nullable(),
    updatedReplicas: z.int().nullable(),
    availableReplicas: z.int().nullable(),
    image: z.string(),
    sandbox: z
      .string()
      .optional()
      .meta({
        description:
          'What keeps the processes of a local server apart from others: `bwrap`, a view ' +
          'of the machine of their own, `uid`, a user of their own for each owner, or ' +
          '`none`.',
      }),
    replicaStatus: z.string().meta({
      description:
        '`Healthy`, `Stopped`, `Progressing: …`, `Degraded: r/n ready`, or `External` ' +
        'for what is served by its endpoint.',
    }),
    generation: z.int(),
    observedGeneration: z.int(),
    restartedAt: z.iso
      .datetime()
      .optional()
      .meta({ description: 'When it was last asked to restart.' }),
    conditions: z.array(
      z.object({
        type: z.string(),
        status: z.enum(['True', 'False', 'Unknown']),
        reason: z.string(),
        message: z.string(),
        lastTransitionAt: z.iso.datetime(),
      }),
    ),
    replicas: z.array(ReplicaStatus),
  })
  .meta({ id: 'AdapterStatus' })
export type ResourceStatus = z.output<typeof ResourceStatus>
export type AdapterStatus = ResourceStatus
