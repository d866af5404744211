import { canonicalName } from '../lib/http/header-names.ts'
import type { ToolRule } from './tool-rules.ts'

/** What both planes know of a registered thing. `spec` differs by kind. */
export type ResourceKind = 'adapter' | 'tool'

/** A text that may be a secret: write-only in the API, sealed in the store. */
export interface SecretText {
  readonly value: string
  /** What the store has in place of the value, which is empty then. Outside the store it is there only when it cannot be opened. */
  readonly sealed?: string
}

/** Where a secret is found that is kept by itself. */
export interface SecretReference {
  readonly source: 'store' | 'file' | 'kubernetes'
  readonly name: string
  /** Which of its values; absent for the only one. */
  readonly key?: string
  /** Whose secret was meant when the reference was given, where secrets have owners: one that somebody else has made by its name since is not. */
  readonly owner?: Owner
}

/** An environment value that is given with the workload. */
export interface EnvironmentText extends SecretText {
  readonly secret: boolean
}

export type EnvironmentValue = EnvironmentText | { readonly secretRef: SecretReference }

/** A header with a secret by which a server knows the gateway. */
export type Credential = { readonly header: string } & (
  | SecretText
  | { readonly secretRef: SecretReference }
)

/** The headers with secrets that requests to a server carry. */
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
 * The member of a workload with each of its headers changed. `pointer` is where the header stands,
 * and `place` names it among the others.
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

/** What runs, and for whom. */
export interface WorkloadSpec {
  /** Empty beside an endpoint. */
  readonly imageName: string
  readonly imageVersion: string
  /** Address of what is served elsewhere; then there is no workload. */
  readonly endpoint?: string
  readonly environmentVariables: Readonly<Record<string, EnvironmentValue>>
  /** 0 means stopped. */
  readonly replicaCount: number
  readonly description: string
  readonly useWorkloadIdentity: boolean
  /** Trimmed, distinct. */
  readonly requiredRoles: readonly string[]
  /** Trimmed, distinct: who may write beside the owner. Absent for none. */
  readonly ownerRoles?: readonly string[]
  /** How the server is told who calls; absent means by plain headers. */
  readonly callerIdentity?: 'signed' | 'none'
  /** A list of several headers; one alone stands by itself. */
  readonly credential?: Credential | readonly Credential[]
  /** The roles of the caller who last chose what runs. Absent before they were kept. */
  readonly chosenWith?: readonly string[]
}

/** What is absent is at its default, and so it is stored. */
export interface AdapterSpec extends WorkloadSpec {
  /** Whether callers whom nobody vouches for may use it. */
  readonly anonymous?: true
  readonly eras?: 'passthrough'
  readonly toolRules?: readonly ToolRule[]
  /** Absent: `auto`. */
  readonly legacyLeg?: 'passthrough' | 'translate'
}

/** A tool as MCP clients see it in `tools/list`. Schemas are checked when they are registered. */
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
  /** Where the image listens, on runtimes where programs choose their port. */
  readonly port: number
  /** Where a replica takes calls. */
  readonly path: string
}

export interface ToolSpec extends WorkloadSpec {
  readonly toolDefinition: ToolDefinition
}

export interface Owner {
  readonly id: string
  readonly issuer: string
}

/** What the store must know of a thing. */
export interface Stored<Kind extends string = string> {
  readonly kind: Kind
  /** Unique over all kinds of its collection: adapters and tools share one. */
  readonly name: string
  /** The incarnation: a name that is deleted and created again gets a new one, so that nothing of the old one (sessions, workloads) is mistaken for it. */
  readonly uid: string
  /** Counts every stored change that a caller has made, from 1; the ETag of the API. */
  readonly version: number
}

/** What somebody has made and owns. */
export interface Owned<Spec, Kind extends string = string> extends Stored<Kind> {
  readonly owner: Owner
  /** Absent as long as it is the owner. */
  readonly creator?: Owner
  /** Who may take it over, if it was offered to somebody. */
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
  /** Relative to the folder of the source. */
  readonly file: string
}

export interface Resource<
  Spec = WorkloadSpec,
  Kind extends ResourceKind = ResourceKind,
> extends Owned<Spec, Kind> {
  /** Counts the changes that a workload must follow (image, environment, replicas, identity, restarts); `status` reports which one it has reached. */
  readonly generation: number
  /** When somebody last asked that all replicas be replaced, ISO 8601. Part of what a workload is made of, so that it happens once, and is not undone. */
  readonly restartedAt?: string
  /** The file that declares it; absent for what the REST API has made. */
  readonly declared?: DeclaredIn
}

export type Adapter = Resource<AdapterSpec, 'adapter'>
export type Tool = Resource<ToolSpec, 'tool'>

/**
 * A resource as requests need it: without its environment, its description and the roles that chose
 * it, which may be large and which nobody reads while requests run.
 */
export function withoutWorkload<R extends Resource>(resource: R): R {
  const { chosenWith: _chosen, ...spec } = resource.spec
  return { ...resource, spec: { ...spec, environmentVariables: {}, description: '' } }
}

export function isAdapter(resource: Resource): resource is Adapter {
  return resource.kind === 'adapter'
}

export function isTool(resource: Resource): resource is Tool {
  return resource.kind === 'tool'
}
