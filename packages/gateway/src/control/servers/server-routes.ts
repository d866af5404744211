import { calls, type ServerResource, type ServerStatus } from '@mcp-gateway/contract'
import type { FastifyInstance } from 'fastify'
import { authorize } from '../../core/permission.ts'
import type { Principal } from '../../core/principal.ts'
import type { VirtualServer } from '../../core/virtual-servers/virtual-server.ts'
import { defined } from '../../lib/defined.ts'
import { addOwned, answer, requestOf } from '../owned/owned-routes.ts'
import { ServerRegistry, type ServerRegistryOptions } from './server-registry.ts'
import { serve } from '../serve.ts'
import type { Warning } from '../validation.ts'

export interface ServerRouteOptions extends ServerRegistryOptions {
  /** How the members of a virtual server stand, as far as a caller may know. */
  readonly standingOf: (server: VirtualServer, principal: Principal) => Omit<ServerStatus, 'phase'>
}

/** Adds the routes of virtual servers. */
export function addServers(app: FastifyInstance, options: ServerRouteOptions): void {
  const registry = new ServerRegistry(options, (server) => serverView(server, []))
  addOwned(app, calls.server, registry, { view: serverView })

  // Unlike PUT of other kinds, this one also creates, so that one command sets a server up.
  serve(
    app,
    calls.server.replace,
    async (call) => {
      const { request, reply } = call
      const asked = await requestOf(call, registry)
      const { resource, warnings } = await registry.replace(asked, request.body)
      if (resource.version === 1) reply.code(201).header('location', `/servers/${resource.name}`)
      return answer(reply, resource, serverView(resource, warnings))
    },
    {
      async check(principal, name) {
        const stored = await registry.records.find(name)
        if (stored === undefined) registry.checkCreate(principal)
        else authorize(principal, 'write', stored)
      },
    },
  )

  serve(app, calls.server.status, async ({ principal, name, request, reply }) => {
    const server = await registry.records.get(principal, name)
    request.subject = server
    return reply.send(statusOf(options.standingOf(server, principal)))
  })
}

function statusOf(standing: Omit<ServerStatus, 'phase'>): ServerStatus {
  return { phase: phaseOf(standing.members), ...standing }
}

function phaseOf(members: ServerStatus['members']): ServerStatus['phase'] {
  const serves = ({ state }: ServerStatus['members'][number]): boolean =>
    state === 'Ready' || state === 'Degraded'
  if (members.some((member) => member.required && !serves(member))) return 'Unavailable'
  return members.every(({ state }) => state === 'Ready') ? 'Healthy' : 'Degraded'
}

function serverView(
  { name, owner, creator = owner, createdAt, lastUpdatedAt, spec }: VirtualServer,
  warnings: readonly Warning[],
): ServerResource {
  return {
    name,
    ...defined({ title: spec.title, instructions: spec.instructions }),
    description: spec.description,
    memberInstructions: spec.memberInstructions ?? 'attributed',
    members: spec.members as ServerResource['members'],
    pinned: [...(spec.pinned ?? [])],
    requiredRoles: [...spec.requiredRoles],
    ownerRoles: [...(spec.ownerRoles ?? [])],
    anonymous: spec.anonymous === true,
    owner: { id: owner.id, issuer: owner.issuer },
    createdBy: creator.id,
    createdAt,
    lastUpdatedAt,
    ...(warnings.length === 0 ? {} : { warnings: [...warnings] }),
  }
}
