/** What both planes know of a registered thing. `spec` differs by kind; adapters are the first kind, tools the next. */
export type ResourceKind = 'adapter' | 'tool'

/** An environment value; secret ones are write-only in the API. */
export interface EnvironmentValue {
  readonly value: string
  readonly secret: boolean
}

export interface AdapterSpec {
  readonly imageName: string
  readonly imageVersion: string
  readonly environmentVariables: Readonly<Record<string, EnvironmentValue>>
  /** 0 means stopped. */
  readonly replicaCount: number
  readonly description: string
  readonly useWorkloadIdentity: boolean
  /** Trimmed, distinct. */
  readonly requiredRoles: readonly string[]
}

interface Owner {
  readonly id: string
  readonly issuer: string
}

export interface Resource<Spec = AdapterSpec> {
  readonly kind: ResourceKind
  /** Unique over all kinds. */
  readonly name: string
  /** The incarnation: a name that is deleted and created again gets a new one, so that nothing of the old one (sessions, workloads) is mistaken for it. */
  readonly uid: string
  /** Counts every stored change from 1; the ETag of the API. */
  readonly version: number
  /** Counts the changes that a workload must follow (image, environment, replicas, identity); `status` reports which one it has reached. */
  readonly generation: number
  readonly owner: Owner
  /** ISO 8601, UTC. */
  readonly createdAt: string
  readonly lastUpdatedAt: string
  readonly spec: Spec
}

export type Adapter = Resource<AdapterSpec>
