import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { readArray, readMessage, readObject, readString } from '@mcp-gateway/protocol'
import type { GatewayError } from '../core/errors.ts'
import type { Principal } from '../core/principal.ts'
import type { Audited } from './audit.ts'
import {
  adminUse,
  outcomeOf,
  principalOf,
  resourceOf,
  type AddressOf,
  type Subject,
} from './decision.ts'

/** An MCP request that has ended or has opened a stream. */
export interface McpRequest {
  readonly request: IncomingMessage
  readonly requestId: string
  readonly body: Buffer | null
  readonly principal: Principal | undefined
  /** The resource that the caller was allowed to use. */
  readonly subject: Subject | undefined
  /** The resource that the caller was refused, although the answer does not say so. */
  readonly denied: Subject | undefined
  readonly error: GatewayError | undefined
  /** True if another gateway process admitted the request, and records it. */
  readonly handed: boolean
  /** True if the request has opened a stream that is still open. */
  readonly opening: boolean
}

/** One message of a request. */
interface Act {
  readonly action: string
  readonly tool?: string | undefined
  readonly digest?: string
  readonly messages?: number
}

/**
 * Messages of one batch that get their own records, calls first. The entrance refuses larger
 * batches.
 */
export const mostOfBatch = 100

/**
 * Records MCP requests: all of them, or only refusals and administrators' use of others' resources.
 */
export function auditMcpRequests(
  audited: Audited,
  dataPlane: 'all' | 'denied',
  addressOf: AddressOf,
): (request: McpRequest) => void {
  return (told) => {
    const { request, principal, subject, error, handed } = told
    const { outcome, code, about } = outcomeOf(error, told.denied)
    const admin = adminUse(principal, subject)
    // The process that admitted the request does not see a refusal here.
    if (outcome !== 'denied' && (handed || (dataPlane === 'denied' && !admin))) return

    const common = {
      outcome,
      code,
      principal: principalOf(principal),
      ...(admin ? { admin: true as const } : {}),
      resource: resourceOf(about ?? subject),
      requestId: told.requestId,
      client: addressOf(request),
    }

    const acts = told.opening ? [{ action: 'mcp.stream.open' }] : actsOf(request, told.body, error)
    for (const { action, ...act } of acts) audited({ action, ...common, ...act })
  }
}

function actsOf(
  { method }: IncomingMessage,
  body: Buffer | null,
  error: GatewayError | undefined,
): Act[] {
  if (method !== 'POST')
    return [
      {
        action:
          method === 'GET' ? 'mcp.stream' : method === 'DELETE' ? 'mcp.session.end' : 'mcp.request',
      },
    ]

  if (body === null) return [{ action: 'mcp.request' }]
  const whole = { digest: digestOf(body) }
  // Readers disagree about the tool that this message calls.
  if (error?.isUnread === true) return [{ action: 'mcp.request', ...whole }]

  const text = body.toString()
  try {
    const message = readMessage(text)
    if (message !== undefined) return [{ ...whole, ...actOf(message) }]

    // Batches of 2025-03-26. Without this, the calls inside a batch would not be visible.
    const batch = readArray(text)
    if (batch === undefined) return [{ action: 'mcp.request', ...whole }]

    const messages = batch.flatMap((each) => readObject(each) ?? [])
    const told = [...messages.filter(isCall), ...messages.filter((each) => !isCall(each))].slice(
      0,
      mostOfBatch,
    )

    return [{ action: 'mcp.batch', messages: batch.length, ...whole }, ...told.map(actOf)]
  } catch {
    return [{ action: 'mcp.request', ...whole }]
  }
}

function isCall(message: ReadonlyMap<string, string>): boolean {
  return readString(message.get('method')) === 'tools/call'
}

function actOf(message: ReadonlyMap<string, string>): Act {
  const method = readString(message.get('method'))
  if (method === undefined) return { action: 'mcp.response' }
  if (method === 'initialize') return { action: 'mcp.session.open' }
  if (!isCall(message)) return { action: `mcp.${method}` }
  const params = message.get('params')
  const members = params?.startsWith('{') === true ? readObject(params) : undefined
  return {
    action: 'mcp.tools/call',
    tool: readString(members?.get('name')),
    digest: digestOf(members?.get('arguments') ?? '{}'),
  }
}

function digestOf(bytes: Buffer | string): string {
  return createHash('sha256').update(bytes).digest('hex')
}
