import { canonicalName } from '../lib/http/header-names.ts'
import { adminRole, hasRole } from './principal.ts'
import type { ToolRule } from './fields/tool-rules.ts'

/** Kinds of registered resources. The type of `spec` differs by kind. */
export type ResourceKind = 'adapter' | 'tool'

/** A text that may be secret: write-only in the API, sealed in the store. */
export interface SecretText {
  readonly value: string
  /**
   * The encrypted value, beside an empty `value`. Outside the store it appears only if it cannot be
   * decrypted.
   */
  readonly sealed?: string
}

/** The address of a secret that is stored separately. */
export interface SecretReference {
  readonly source: 'store' | 'file' | 'kubernetes'
  readonly name: string
  /** The key of one value; absent if the secret has a single value. */
  readonly key?: string
  /**
   * Owner of the intended secret, for sources with owners. A later secret of that name with another
   * owner does not match.
   */
  readonly owner?: Owner
}

/** An environment value that the resource itself holds. */
export interface EnvironmentText extends SecretText {
  readonly secret: boolean
}

export type EnvironmentValue = EnvironmentText | { readonly secretRef: SecretReference }

/** A secret header that identifies the gateway to a server. */
export type Credential = { readonly header: string } & (
  | SecretText
  | { readonly secretRef: SecretReference }
)

/** The secret headers that requests to a server carry. */
export function credentialsOf({
  credential,
}: Pick<WorkloadSpec, 'credential'>): readonly Credential[] {
  if (credential === undefined) return none
  return isList(credential) ? credential : [credential]
}

const none: readonly Credential[] = []

function isList(value: Credential | readonly Credential[]): value is readonly Credential[] {
  return Array.isArray(value)
}

/**
 * Maps each credential header of a workload. `pointer` is its JSON pointer, and `place` tells it
 * apart from the others.
 */
export function mapCredentials(
  { credential }: Pick<WorkloadSpec, 'credential'>,
  change: (each: Credential, pointer: string, place: string) => Credential,
): Pick<WorkloadSpec, 'credential'> {
  if (credential === undefined) return {}
  if (!isList(credential)) return { credential: change(credential, '/credential', '') }
  return {
    credential: credential.map((each, index) =>
      change(each, `/credential/${index}`, canonicalName(each.header)),
    ),
  }
}

/** The image or endpoint of a resource, and who may use it. */
export interface WorkloadSpec {
  /** Empty if the resource has an endpoint. */
  readonly imageName: string
  readonly imageVersion: string
  /** Address of a server that runs elsewhere; the resource then has no workload. */
  readonly endpoint?: string
  readonly environmentVariables: Readonly<Record<string, EnvironmentValue>>
  /** 0 means stopped. */
  readonly replicaCount: number
  readonly description: string
  readonly useWorkloadIdentity: boolean
  /** Trimmed, distinct. */
  readonly requiredRoles: readonly string[]
  /** Roles that may write, as the owner may. Trimmed, distinct; absent for none. */
  readonly ownerRoles?: readonly string[]
  /** The way in which servers learn who calls. Absent: by plain headers. */
  readonly callerIdentity?: 'signed' | 'none'
  /** By which virtual servers select members. Absent for none. */
  readonly labels?: Readonly<Record<string, string>>
  /** One header stands alone; several form a list. */
  readonly credential?: Credential | readonly Credential[]
  /** Roles of the caller who last chose what runs. Absent in records older than this field. */
  readonly chosenWith?: readonly string[]
}

/** An absent field has its default value. The store omits defaults. */
export interface AdapterSpec extends WorkloadSpec {
  /** True if anonymous callers may use the adapter. */
  readonly anonymous?: true
  readonly eras?: 'passthrough'
  /** True if the adapter joins the built-in virtual server at `/mcp`. */
  readonly aggregate?: true
  readonly toolRules?: readonly ToolRule[]
  /** Absent: `auto`. */
  readonly legacyLeg?: 'passthrough' | 'translate'
}

/** A tool as MCP clients see it in `tools/list`. The gateway checks schemas at registration. */
export interface McpTool {
  readonly name: string
  readonly title?: string
  readonly description?: string
  readonly inputSchema: Readonly<Record<string, unknown>>
  readonly outputSchema?: Readonly<Record<string, unknown>>
  readonly annotations?: Readonly<Record<string, unknown>>
  readonly icons?: readonly Readonly<Record<string, unknown>>[]
  readonly _meta?: Readonly<Record<string, unknown>>
}

export interface ToolDefinition {
  readonly tool: McpTool
  /** Port of the image, for runtimes in which programs choose their port. */
  readonly port: number
  /** Path at which a replica takes calls. */
  readonly path: string
  /** Absent: a call is a POST of the arguments as JSON. */
  readonly request?: ToolRequest
}

/** The way in which OpenAPI writes arrays and objects as text. `json` writes JSON. */
export interface ParameterStyle {
  readonly style?:
    | 'simple'
    | 'form'
    | 'spaceDelimited'
    | 'pipeDelimited'
    | 'deepObject'
    | 'json'
    | undefined
  readonly explode?: boolean | undefined
}

/** An argument that goes into the path, the query or a header. */
export interface ToolParameter extends ParameterStyle {
  readonly argument: string
  readonly in: 'path' | 'query' | 'header'
  /** Absent: that of the argument. */
  readonly name?: string | undefined
}

/** How a call of a tool becomes an HTTP request. */
export interface ToolRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** Follows the path of the endpoint; holds `{name}` for each path parameter. */
  readonly path?: string | undefined
  readonly parameters: readonly ToolParameter[]
  readonly body?:
    | {
        /** Absent: all arguments that no parameter takes. */
        readonly argument?: string | undefined
        readonly contentType: string
        readonly encoding?: Readonly<Record<string, ParameterStyle>> | undefined
      }
    | undefined
  readonly accept?: string | undefined
}

export interface ToolSpec extends WorkloadSpec {
  readonly toolDefinition: ToolDefinition
}

export interface Owner {
  readonly id: string
  readonly issuer: string
}

/** The fields that the store needs. */
export interface Stored<Kind extends string = string> {
  readonly kind: Kind
  /** Unique across the kinds of one collection; adapters and tools share a collection. */
  readonly name: string
  /**
   * Identifies the incarnation. A deleted name gets a new uid when it is created again, so nothing
   * (sessions, workloads) carries over.
   */
  readonly uid: string
  /** Counts the stored changes made by callers, from 1. The API uses it as ETag. */
  readonly version: number
}

/** A thing that a caller has made and owns. */
export interface Owned<Spec, Kind extends string = string> extends Stored<Kind> {
  readonly owner: Owner
  /** Absent while the creator is also the owner. */
  readonly creator?: Owner
  /** The principal who may take the resource over, if it is offered. */
  readonly offeredTo?: Owner
  /** ISO 8601, UTC. */
  readonly createdAt: string
  readonly lastUpdatedAt: string
  readonly spec: Spec
}

/** The file that declares a resource. */
export interface DeclaredIn {
  /** The source's name in `declared` of the configuration. */
  readonly source: string
  /** Relative to the source's folder. */
  readonly file: string
}

export interface Resource<
  Spec = WorkloadSpec,
  Kind extends ResourceKind = ResourceKind,
> extends Owned<Spec, Kind> {
  /**
   * Counts the changes that a workload must follow (image, environment, replicas, identity,
   * restarts). `status` reports the generation that it has reached.
   */
  readonly generation: number
  /**
   * Time of the last requested restart, ISO 8601. It is part of the desired state, so each restart
   * happens exactly once.
   */
  readonly restartedAt?: string
  /** The file that declares the resource; absent if the REST API made it. */
  readonly declared?: DeclaredIn
  /** Since when it claims its present names at `/mcp`, ISO 8601. Absent: since its creation. */
  readonly namedSince?: string
}

export type Adapter = Resource<AdapterSpec, 'adapter'>
export type Tool = Resource<ToolSpec, 'tool'>

/**
 * The part of a resource that requests need. Environment and description may be large, and no
 * request reads them. Of the choosing roles, only the administrator's counts for requests.
 */
export function withoutWorkload<R extends Resource>(resource: R): R {
  const { chosenWith, ...rest } = resource.spec
  const spec = { ...rest, environmentVariables: {}, description: '' }
  if (chosenWith === undefined || !hasRole({ roles: chosenWith }, adminRole))
    return { ...resource, spec }
  return { ...resource, spec: { ...spec, chosenWith: administrators } }
}

const administrators = [adminRole]

/** True if the operator stands for a resource: an administrator, or a declared file, chose it. */
export function isOfOperator({ declared, spec }: Pick<Resource, 'declared' | 'spec'>): boolean {
  return declared !== undefined || hasRole({ roles: spec.chosenWith ?? [] }, adminRole)
}

export function isAdapter(resource: Resource): resource is Adapter {
  return resource.kind === 'adapter'
}

export function isTool(resource: Resource): resource is Tool {
  return resource.kind === 'tool'
}
