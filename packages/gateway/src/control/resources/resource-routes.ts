import type { ResourceStatus } from '@mcp-gateway/contract'
import type { FastifyInstance } from 'fastify'
import { mayReadLogs } from '../../core/permission.ts'
import { adminRole, hasRole, type Principal } from '../../core/principal.ts'
import type { Resource } from '../../core/resource.ts'
import type { Silences } from '../../core/silences.ts'
import type { Runtime } from '../../runtime/runtime.ts'
import type { Kind } from '../kinds/kind.ts'
import { addLogs, type LogRouteOptions } from './log-route.ts'
import { addOwned, addReplace, answer, requestOf } from '../owned/owned-routes.ts'
import { Registry, type RegistryOptions } from './registry.ts'
import { serve } from '../serve.ts'
import { statusOf } from './status.ts'

export interface ResourceRouteOptions extends RegistryOptions, LogRouteOptions {
  readonly runtime: Pick<Runtime, 'status'>
  /** The last failure to reconcile a name, if any. */
  readonly problem: (name: string) => string | undefined
  readonly silences: Pick<Silences, 'of'>
}

/** Largest body in bytes. An environment may have 768 KiB, and JSON makes it longer. */
const longestBody = 2 * 1024 * 1024

/** Largest body in bytes that names an owner. */
const longestOwner = 16 * 1024

/** Adds the routes of one kind of resources. */
export function addResources<R extends Resource, Input extends { readonly name: string }>(
  app: FastifyInstance,
  kind: Kind<R, Input>,
  options: ResourceRouteOptions,
): void {
  const { calls } = kind
  const registry = new Registry(kind, options)
  const shown = {
    bodyLimit: longestBody,
    view: (resource: R, warnings: Parameters<typeof kind.view>[1]) => kind.view(resource, warnings),
  }
  addOwned(app, calls, registry, shown)
  addReplace(app, calls.replace, registry, shown)
  addOwnership(app, kind, registry)
  addLogs(app, calls.logs, registry, options)

  const status = async (principal: Principal, resource: R): Promise<ResourceStatus> =>
    statusOf(
      resource,
      {
        found: await options.runtime.status(resource.name),
        problem: options.problem(resource.name),
        silence: options.silences.of(resource.uid),
      },
      {
        logs: mayReadLogs(principal, resource, options.access),
        isAdministrator: hasRole(principal, adminRole),
      },
    )

  serve(app, calls.restart, async (call) => {
    const resource = await registry.restart(await requestOf(call, registry))
    return answer(call.reply, resource, await status(call.principal, resource))
  })

  serve(app, calls.status, async ({ principal, name, request }) => {
    const resource = await registry.records.get(principal, name)
    request.subject = resource
    return status(principal, resource)
  })
}

/** Adds the routes that change the owner. */
function addOwnership<R extends Resource, Input extends { readonly name: string }>(
  app: FastifyInstance,
  { calls }: Kind<R, Input>,
  registry: Registry<R, Input>,
): void {
  const names = {
    bodyLimit: longestOwner,
    async check(principal: Principal, name: string): Promise<void> {
      await registry.records.permit(principal, 'read', name)
    },
  }
  serve(
    app,
    calls.transfer,
    async (call) => {
      const request = await requestOf(call, registry)
      const resource = await registry.ownership.transfer(request, call.request.body)
      return answer(call.reply, resource, resource.owner)
    },
    names,
  )

  serve(
    app,
    calls.offer,
    async (call) => {
      const request = await requestOf(call, registry)
      const resource = await registry.ownership.offer(request, call.request.body)
      return answer(call.reply, resource, resource.offeredTo)
    },
    names,
  )

  serve(app, calls.decline, async (call) => {
    call.request.subject = await registry.ownership.decline(await requestOf(call, registry))
    return call.reply.send()
  })
}
