import { Readable } from 'node:stream'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { LogsQuery, ResourceCalls } from '@mcp-gateway/contract'
import type { FastifyInstance } from 'fastify'
import type { z } from 'zod'
import type { ApiRequest } from '../../audit/api-requests.ts'
import { GatewayError } from '../../core/errors.ts'
import type { Permit } from '../../core/permission.ts'
import { partyOf, type Principal } from '../../core/principal.ts'
import type { Resource } from '../../core/resource.ts'
import { shortOf, type CallerShares } from '../../core/shares.ts'
import { defined } from '../../lib/defined.ts'
import type { ReadLogs } from '../../runtime/permitted-logs.ts'
import { serve } from '../serve.ts'

export interface LogRouteOptions {
  readonly logs: ReadLogs
  readonly authenticate: (request: IncomingMessage) => Principal | Promise<Principal>
  readonly audit: (request: ApiRequest) => void
  readonly shares: Pick<CallerShares, 'logReaders'>
  /** Milliseconds between checks that the callers of open streams are still allowed. */
  readonly recheckMs: number
  readonly now: () => Date
}

interface LogReaders {
  permitLogs(principal: Principal, name: string): Promise<Permit<'logs', Resource>>
}

/** Adds the route that reads the logs of a resource. */
export function addLogs(
  app: FastifyInstance,
  endpoint: ResourceCalls['logs'],
  registry: LogReaders,
  options: LogRouteOptions,
): void {
  serve(app, endpoint, async (call) => {
    const { principal, name, request, reply } = call
    const permit = await registry.permitLogs(principal, name)
    const { resource } = permit
    request.subject = resource
    const query = call.query()
    const since = query.since === undefined ? undefined : parseSince(query.since, options.now())

    const gone = shareOf(principal, reply.raw, options)
    // Like every stream, this one must not outlive its credential or its right.
    if (query.follow)
      recheck(gone, options.recheckMs, reply.raw, async () =>
        registry.permitLogs(await options.authenticate(request.raw), name),
      )

    const { instance: replica, tail, follow, previous, container } = query
    const asked = { replica, tail, follow, previous, ...defined({ since, container }) }
    const lines = await options.logs(permit, asked, gone)
    if (lines === undefined) throw nothingOf(resource, query)

    // The record of this request comes at its end, which may be days away or never come.
    if (follow)
      options.audit({
        action: `${resource.kind}.logs.open`,
        matters: true,
        principal,
        subject: resource,
        error: undefined,
        request: request.raw,
        digest: undefined,
      })

    return reply
      .type('text/plain; charset=utf-8')
      .send(Readable.from(terminated(lines), { objectMode: false }))
  })
}

/**
 * Takes a place among the readers of logs until the response closes, which the signal tells.
 * @throws GatewayError if there is no place
 */
function shareOf(
  principal: Principal,
  response: ServerResponse,
  { shares }: LogRouteOptions,
): AbortSignal {
  // A closed response emits no further event, so nothing would release the share.
  if (response.destroyed) throw new GatewayError('client_closed_request')

  const gone = new AbortController()
  const share = shares.logReaders.open(partyOf(principal))
  share.spare(() => gone.abort())
  const shortage = share.hold(1)
  if (shortage !== undefined) throw shortOf(shortage, 'open requests for logs')

  response.once('close', () => {
    share.release()
    gone.abort()
  })
  return gone.signal
}

/** Ends a response as soon as a check fails. */
function recheck(
  gone: AbortSignal,
  ms: number,
  response: ServerResponse,
  check: () => Promise<unknown>,
): void {
  const timer = setInterval(() => void check().catch(() => response.destroy()), ms)
  gone.addEventListener('abort', () => clearInterval(timer))
}

function nothingOf(
  { name }: Resource,
  { previous, container, instance }: z.output<typeof LogsQuery>,
): GatewayError {
  const missing = previous
    ? 'no instance before the present one'
    : `no such replica${container === undefined ? '' : ' or container'} now`
  return new GatewayError('not_found', {
    detail: `'${name}' has ${missing} (instance ${instance}). Its status lists the replicas.`,
  })
}

const unitMs: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

function parseSince(text: string, now: Date): Date {
  const [, amount, unit = ''] = /^(\d+)([smhd]?)$/.exec(text) ?? []
  if (amount !== undefined) return new Date(now.getTime() - Number(amount) * (unitMs[unit] ?? 1000))

  const at = new Date(text)
  if (Number.isNaN(at.getTime()))
    throw new GatewayError('validation_failed', {
      mistakes: [{ pointer: 'query:since', code: 'invalid_format', detail: 'is not a time' }],
    })
  return at
}

async function* terminated(lines: AsyncIterable<string>): AsyncIterable<string> {
  for await (const line of lines) yield `${line}\n`
}
