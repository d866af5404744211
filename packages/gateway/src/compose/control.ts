import type { FastifyInstance } from 'fastify'
import { auditApiRequests } from '../audit/api-requests.ts'
import { controlPlane } from '../control/plugin.ts'
import { permittedLogs } from '../runtime/permitted-logs.ts'
import { permittedCollection } from '../store/permitted.ts'
import type { Composition } from './composition.ts'
import { openDeclared } from './declared.ts'
import type { Door } from './door.ts'
import type { Planes } from './planes.ts'
import { publish, type PublishedParts } from './published.ts'
import type { State } from './state.ts'
import type { Workloads } from './workloads.ts'
import { openImports } from './imports.ts'
import { openWriting } from './writing.ts'

export interface ControlParts extends PublishedParts {
  readonly state: State
  readonly workloads: Workloads
  readonly door: Door
  readonly planes: Planes
}

/** Opens the writers of the store: the REST API, whose routes this returns, and declared files. */
export function openControl(
  composition: Composition,
  { state, workloads, door, planes, ...published }: ControlParts,
): (api: FastifyInstance) => void {
  const { config, version } = composition
  const { store } = state
  const { runtime, reconciler } = workloads
  const { audited, addressOf } = door
  const { authenticate, challenge } = published.callers.identity

  const writing = openWriting(composition, state, workloads)
  const declared = openDeclared(composition, workloads, writing, audited)

  return (api) => {
    controlPlane(api, {
      ...writing,
      ...openImports(composition),
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
      servers: permittedCollection(store.servers),
      serverLimits: config.servers,
      standingOf: (server, principal) => planes.virtualServers.statusOf(server, principal),
      originOf: (request) => published.callers.client.originOf(request),
      recheckMs: door.recheckMs,
      version,
      audit: auditApiRequests(audited, addressOf),
    })

    publish(api, published)
  }
}
