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

/** An MCP request that is over, or that has opened a stream. */
export interface McpRequest {
  readonly request: IncomingMessage
  readonly requestId: string
  readonly body: Buffer | null
  readonly principal: Principal | undefined
  /** What the caller was allowed to use. */
  readonly subject: Subject | undefined
  /** What it was refused, though the answer says otherwise. */
  readonly denied: Subject | undefined
  readonly error: GatewayError | undefined
  /** Another gateway process has let it in, and records it. */
  readonly handed: boolean
  /** It has opened a stream that stays open, and is not over. */
  readonly opening: boolean
}

/** One message of a request. */
interface Act {
  readonly action: string
  readonly tool?: string | undefined
  readonly digest?: string
  readonly messages?: number
}

/** Messages of one batch that get records of their own, calls first. The entrance refuses more. */
export const mostOfBatch = 100

/** Records of MCP requests: of all, or of those that were refused, or that an administrator has made of what is another's. */
export function auditMcpRequests(
  audited: Audited,
  dataPlane: 'all' | 'denied',
  addressOf: AddressOf,
): (request: McpRequest) => void {
  return (told) => {
    const { request, principal, subject, error, handed } = told
    const { outcome, code, about } = outcomeOf(error, told.denied)
    const admin = adminUse(principal, subject)
    // A refusal here is not seen where it was let in.
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
  // Readers disagree on which tool it calls.
  if (error?.isUnread === true) return [{ action: 'mcp.request', ...whole }]
  const text = body.toString()
  try {
    const message = readMessage(text)
    if (message !== undefined) return [{ ...whole, ...actOf(message) }]
    // The batches of 2025-03-26: what one of them holds would not be seen otherwise.
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
