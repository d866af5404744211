import { randomUUID } from 'node:crypto'
import type { BoundSessions } from '../../src/core/virtual-servers/bound-sessions.ts'
import type { ApiKey } from '../../src/core/api-key.ts'
import type { Resource } from '../../src/core/resource.ts'
import type { Secret } from '../../src/core/secret.ts'
import type { KeptLists, VirtualServer } from '../../src/core/virtual-servers/virtual-server.ts'

/** A resource with the fields that the store reads. */
export function sampleResource(name: string, changes: Partial<Resource> = {}): Resource {
  return {
    kind: 'adapter',
    name,
    uid: randomUUID(),
    version: 1,
    generation: 1,
    owner: { id: 'alice', issuer: 'development' },
    createdAt: '2026-01-01T00:00:00.000Z',
    lastUpdatedAt: '2026-01-01T00:00:00.000Z',
    spec: {
      imageName: 'mcp-example',
      imageVersion: '1.0.0',
      environmentVariables: {},
      replicaCount: 1,
      description: '',
      useWorkloadIdentity: false,
      requiredRoles: [],
    },
    ...changes,
  }
}

/** An API key with the fields that the store reads. */
export function sampleApiKey(name: string, changes: Partial<ApiKey> = {}): ApiKey {
  return {
    kind: 'api-key',
    name,
    uid: randomUUID(),
    version: 1,
    owner: { id: 'alice', issuer: 'development' },
    createdAt: '2026-01-01T00:00:00.000Z',
    lastUpdatedAt: '2026-01-01T00:00:00.000Z',
    spec: { name: '', roles: [], digest: '' },
    ...changes,
  }
}

/** A secret with the fields that the store reads. */
export function sampleSecret(name: string, changes: Partial<Secret> = {}): Secret {
  return {
    ...sampleApiKey(name),
    kind: 'secret',
    spec: { description: '', requiredRoles: [], values: {} },
    ...changes,
  }
}

/** A virtual server with what the store cares about. */
export function sampleServer(name: string, changes: Partial<VirtualServer> = {}): VirtualServer {
  return {
    ...sampleApiKey(name),
    kind: 'server',
    spec: { description: '', requiredRoles: [], members: [] },
    ...changes,
  }
}

/** Notes of a caller's sessions, with what the store cares about. */
export function sampleSessions(name: string, changes: Partial<BoundSessions> = {}): BoundSessions {
  return {
    ...sampleApiKey(name),
    kind: 'sessions',
    spec: { sessions: [], until: 0 },
    ...changes,
  }
}

/** The lists of an adapter, with what the store cares about. */
export function sampleLists(name: string, changes: Partial<KeptLists> = {}): KeptLists {
  return { ...sampleApiKey(name), kind: 'lists', spec: { snapshot: '{}' }, ...changes }
}
