import { randomUUID } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import { auditApiRequests } from '../audit/api-requests.ts'
import { developmentOwner } from '../auth/development.ts'
import { resourceMetadata } from '../auth/resource-metadata.ts'
import { DeclaredTarget, dryRun } from '../control/resources/declared-target.ts'
import { resourceKinds } from '../control/kinds/kinds.ts'
import { controlPlane } from '../control/plugin.ts'
import { followSources, type DeclaredSources, type FollowOptions } from '../declared/follow.ts'
import { publishKeys } from '../http/published-keys.ts'
import { permittedLogs } from '../runtime/permitted-logs.ts'
import { permittedCollection, permittedStore } from '../store/permitted.ts'
import { SchemaChecks } from '../lib/json/schema-checks.ts'
import type { Callers } from './callers.ts'
import type { Composition } from './composition.ts'
import type { Door } from './door.ts'
import { endpointRules } from './endpoint-rules.ts'
import type { OutgoingSide } from './outgoing.ts'
import type { Planes } from './planes.ts'
import type { State } from './state.ts'
import type { Workloads } from './workloads.ts'

export interface ControlParts {
  readonly state: State
  readonly workloads: Workloads
  readonly callers: Callers
  readonly door: Door
  readonly outgoingSide: OutgoingSide
  readonly planes: Planes
}

/** Opens the writers of the store: the REST API, whose routes this returns, and declared files. */
export function openControl(
  { config, log, parts, version, now }: Composition,
  { state, workloads, callers, door, outgoingSide, planes }: ControlParts,
): (api: FastifyInstance) => void {
  const { store, secretSources } = state
  const { runtime, reconciler, access } = workloads
  const checks = parts.use(new SchemaChecks())
  const kinds = resourceKinds({
    maxReplicas: config.runtime.maxReplicas,
    endpoints: endpointRules(config),
    checks,
  })

  const writing = {
    store: permittedStore(store),
    sealedResources: store.sealedResources,
    nudge: (name: string) => reconciler.nudge(name),
    access,
    secretSources,
    sources: new Set(Object.keys(config.declared)),
    kinds,
    now: () => new Date(now()),
    newUid: randomUUID,
  }

  const { audited, addressOf } = door

  const targetsOf: FollowOptions['targets'] = (source, principal) => {
    const options = { ...writing, source, principal, audited }
    return { target: new DeclaredTarget(options), trial: dryRun(options) }
  }

  const declared = openDeclared({ config, log, parts, now }, workloads, targetsOf)

  const { authenticate, challenge, metadata } = callers.identity
  return (api) => {
    controlPlane(api, {
      ...writing,
      runtime,
      logs: permittedLogs(runtime),
      declared: () => declared.status(),
      problem: (name) => reconciler.problem(name),
      silences: planes.silences,
      authenticate,
      challenge,
      shares: door.shares,
      apiKeys: config.apiKeys,
      secrets: config.secrets,
      sealedSecrets: permittedCollection(store.sealedSecrets),
      recheckMs: door.recheckMs,
      version,
      audit: auditApiRequests(audited, addressOf),
    })

    publishKeys(api, outgoingSide.signer.jwks)
    if (metadata !== undefined) resourceMetadata(api, metadata)
  }
}

/** Follows the declared files. */
function openDeclared(
  { config, log, parts, now }: Pick<Composition, 'config' | 'log' | 'parts' | 'now'>,
  { reconciler, runtime }: Workloads,
  targets: FollowOptions['targets'],
): DeclaredSources {
  const development = config.identity.mode === 'development'
  return parts.use(
    followSources({
      sources: config.declared,
      // With development identity, the files belong to the caller without identity headers.
      ownerOf: (source) => (development ? developmentOwner : { id: source, issuer: 'declared' }),
      targets,
      reconciler,
      runtime,
      log,
      now: () => new Date(now()),
    }),
  )
}
