import { z } from 'zod'
import {
  aggregate,
  anonymous,
  CredentialView,
  EnvironmentVariables,
  eras,
  legacyLeg,
  replicaLimit,
  ResourceName,
  toolRules,
  workloadFields,
} from './adapters.ts'
import { ToolDefinitionPatch } from './tools.ts'

const patchFields = {
  name: ResourceName,
  imageName: workloadFields.imageName.nullable(),
  imageVersion: workloadFields.imageVersion.nullable(),
  endpoint: workloadFields.endpoint.nullable(),
  environmentVariables: z
    .record(z.string(), z.union([EnvironmentVariables.valueType, z.null()]))
    .nullable(),
  replicaCount: z.int().min(0).max(replicaLimit).nullable(),
  description: z.string().max(4096).nullable(),
  useWorkloadIdentity: z.boolean().nullable(),
  requiredRoles: z.array(z.string()).nullable(),
  ownerRoles: z.array(z.string()).nullable(),
  callerIdentity: workloadFields.callerIdentity.nullable(),
  /** A list replaces all stored headers; an object merges into the one header. */
  credential: z.union([CredentialView.partial(), z.array(CredentialView)]).nullable(),
  labels: z.record(z.string(), z.string().nullable()).nullable(),
}

/**
 * Body of PATCH, a JSON merge patch (RFC 7396): null restores a default, or removes a variable. To
 * move from an image to an endpoint, or back, one patch sets the one and nulls the other.
 */
export const AdapterPatch = z
  .object({
    ...patchFields,
    anonymous: anonymous.nullable(),
    aggregate: aggregate.nullable(),
    toolRules: toolRules.nullable(),
    eras: eras.nullable(),
    legacyLeg: legacyLeg.nullable(),
  })
  .partial()
  .meta({ id: 'AdapterPatch' })

/** Body of PATCH for tools, as `AdapterPatch` is for adapters. */
export const ToolPatch = z
  .object({
    ...patchFields,
    toolDefinition: ToolDefinitionPatch,
  })
  .partial()
  .meta({ id: 'ToolPatch' })
