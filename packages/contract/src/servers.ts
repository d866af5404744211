import { z } from 'zod'
import { anonymous, Labels, Owner, ResourceName, Warning, workloadFields } from './adapters.ts'

const globs = z.array(z.string().min(1).max(256)).min(1).max(100)
const hints = z
  .strictObject({
    readOnlyHint: z.boolean(),
    destructiveHint: z.boolean(),
    idempotentHint: z.boolean(),
    openWorldHint: z.boolean(),
  })
  .partial()

const ItemFilter = z
  .strictObject({
    tools: globs,
    prompts: globs,
    resources: globs.meta({ description: 'Addresses and templates of resources.' }),
    annotations: hints.meta({ description: 'Hints that a tool must give.' }),
  })
  .partial()
  .meta({
    id: 'ItemFilter',
    description:
      'Names as the member knows them, where `*` stands for any characters and `?` for one. ' +
      'Kinds that the filter does not name are not limited.',
  })

const maxResultBytes = z
  .int()
  .min(1024)
  .max(16 * 1024 * 1024)
  .meta({
    description:
      'Bytes of a result that clients get whole. Of a longer one they get the beginning, and an ' +
      'address at which they can read it in ranges for 15 minutes.',
  })

const ToolOverride = z
  .strictObject({
    name: z.string().regex(/^[A-Za-z0-9_-]{1,64}$/, "must be 1 to 64 letters, digits, '_' and '-'"),
    title: z.string().min(1).max(1024),
    description: z.string().min(1).max(16_384),
    annotations: z
      .strictObject({
        readOnlyHint: z.literal(false),
        destructiveHint: z.literal(true),
        idempotentHint: z.literal(false),
        openWorldHint: z.literal(true),
      })
      .partial()
      .meta({ description: 'Only hints that promise less than the tool itself.' }),
    maxResultBytes,
  })
  .partial()
  .meta({ id: 'ToolOverride' })

const Questions = z
  .strictObject({
    elicitation: z.boolean().meta({ description: 'Forms for the user. Default: true.' }),
    urlHosts: z
      .array(z.string().regex(/^(\*|[a-z0-9.-]{1,253})$/, 'must be a host name, or *'))
      .max(100)
      .meta({ description: 'Hosts whose pages the user may be asked to open. Default: none.' }),
    sampling: z
      .boolean()
      .meta({ description: "Completions by the client's model. Default: false." }),
    roots: z.boolean().meta({ description: "The client's folders. Default: false." }),
  })
  .partial()
  .meta({ id: 'MemberQuestions', description: "Which of the member's questions reach clients." })

const memberFields = {
  alias: z
    .string()
    .regex(/^[a-z][a-z0-9]{0,15}$/, 'must be 1 to 16 lower case letters and digits, a letter first')
    .optional()
    .meta({
      description: 'Begins the names of its tools and prompts. Default: made from its name.',
    }),
  include: ItemFilter.optional(),
  exclude: ItemFilter.optional().meta({ description: 'Wins over `include`.' }),
  overrides: z
    .record(z.string().min(1).max(256), ToolOverride)
    .refine((overrides) => Object.keys(overrides).length <= 200, 'must be at most 200 tools')
    .optional()
    .meta({ description: 'Changes to its tools, by the names that the member knows.' }),
  maxResultBytes: maxResultBytes.optional(),
  required: z.boolean().optional().meta({
    description: 'True: while this member cannot serve, the virtual server refuses requests.',
  }),
  questions: Questions.optional(),
}
const { alias: _alias, ...selectedFields } = memberFields

/** A member: an adapter or a tool by its name, or all that have certain labels. */
export const Member = z
  .union([
    z.strictObject({ adapter: ResourceName, ...memberFields }),
    z.strictObject({ tool: ResourceName, ...memberFields }),
    z.strictObject({
      selector: Labels.refine(
        (labels) => Object.keys(labels).length > 0,
        'must name at least one label',
      ),
      ...selectedFields,
    }),
  ])
  .meta({ id: 'Member' })

const fields = {
  title: z.string().min(1).max(256),
  description: workloadFields.description,
  instructions: z.string().max(16_384).meta({ description: 'What models read when they connect.' }),
  memberInstructions: z.enum(['attributed', 'none']).meta({
    description: "Whether models also read the members' own instructions, under their names.",
  }),
  members: z.array(Member).max(200),
  pinned: z.array(z.string().min(1).max(64)).max(50).meta({
    description: 'Tools that stand in the list of the search mode, by their shown names.',
  }),
  requiredRoles: workloadFields.requiredRoles,
  ownerRoles: workloadFields.ownerRoles,
  anonymous: anonymous,
}

/** Body of POST and PUT. PUT takes the name from the address if the body has none. */
export const ServerInput = z
  .object({
    name: ResourceName,
    title: fields.title.optional(),
    description: fields.description.default(''),
    instructions: fields.instructions.optional(),
    memberInstructions: fields.memberInstructions.default('attributed'),
    members: fields.members.default([]),
    pinned: fields.pinned.default([]),
    requiredRoles: fields.requiredRoles.default([]),
    ownerRoles: fields.ownerRoles.default([]),
    anonymous: fields.anonymous.default(false),
  })
  .meta({ id: 'ServerInput' })
export type ServerInput = z.output<typeof ServerInput>

/** Body of PATCH, a JSON merge patch (RFC 7396). A list is replaced as a whole. */
export const ServerPatch = z
  .object({
    name: ResourceName,
    title: fields.title.nullable(),
    description: fields.description.nullable(),
    instructions: fields.instructions.nullable(),
    memberInstructions: fields.memberInstructions.nullable(),
    members: fields.members.nullable(),
    pinned: fields.pinned.nullable(),
    requiredRoles: fields.requiredRoles.nullable(),
    ownerRoles: fields.ownerRoles.nullable(),
    anonymous: fields.anonymous.nullable(),
  })
  .partial()
  .meta({ id: 'ServerPatch' })

export const ServerResource = z
  .object({
    name: ResourceName,
    title: z.string().optional(),
    description: z.string(),
    instructions: z.string().optional(),
    memberInstructions: fields.memberInstructions,
    members: z.array(Member),
    pinned: z.array(z.string()),
    requiredRoles: z.array(z.string()),
    ownerRoles: z.array(z.string()),
    anonymous: z.boolean(),
    owner: Owner,
    createdBy: z.string(),
    createdAt: z.iso.datetime(),
    lastUpdatedAt: z.iso.datetime(),
    warnings: z.array(Warning).optional().meta({
      description: 'What the request said that had no effect. Only in answers to writes.',
    }),
  })
  .meta({ id: 'Server' })
export type ServerResource = z.output<typeof ServerResource>

export const MemberStatus = z
  .object({
    alias: z.string(),
    kind: z.enum(['adapter', 'tool']),
    name: z.string(),
    required: z.boolean(),
    state: z
      .enum(['Ready', 'Starting', 'Stopped', 'Degraded', 'Down', 'Missing', 'Conflict'])
      .meta({
        description:
          '`Starting`: no replica is ready, or its lists have not been read yet. `Stopped`: its ' +
          'replicaCount is 0. `Degraded`: something of its lists is left out, see `mistakes`. ' +
          '`Down`: see `reason`; its tools stay listed. `Missing`: nothing that the caller may ' +
          'use has this name. `Conflict`: another member has its alias.',
      }),
    reason: z.string().optional(),
    since: z.iso.datetime().optional().meta({
      description: 'When it came into this state. Absent for a member that is missing.',
    }),
    tools: z.int(),
    prompts: z.int(),
    resources: z.int().meta({ description: 'Resources and templates.' }),
    mistakes: z.array(z.string()).optional(),
  })
  .meta({ id: 'MemberStatus' })

const LeftOut = z
  .object({ kind: z.enum(['adapter', 'tool']), name: z.string(), reason: z.string() })
  .meta({ id: 'LeftOut' })

export const ServerStatus = z
  .object({
    phase: z.enum(['Healthy', 'Degraded', 'Unavailable']).meta({
      description:
        '`Degraded`: a member is not ready. `Unavailable`: a required member cannot serve.',
    }),
    members: z.array(MemberStatus).meta({
      description:
        'Those that the definition names, and those of selectors that the caller may use.',
    }),
    leftOut: z.array(LeftOut).optional().meta({
      description: 'What selectors find and do not take, as far as the caller may see it.',
    }),
  })
  .meta({ id: 'ServerStatus' })
export type ServerStatus = z.output<typeof ServerStatus>
