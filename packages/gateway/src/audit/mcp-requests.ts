import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { readArray, readMessage, readObject, readString } from '@mcp-gateway/protocol'
import type { GatewayError } from '../core/errors.ts'
import type { Principal } from '../core/principal.ts'
import type { Audited } from './audit.ts'
import type { InnerAct } from './inner-act.ts'
import type { AuditOutcome } from './record.ts'
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
  /** The messages that have reached members of a virtual server, or were kept from them. */
  readonly inner: readonly InnerAct[]
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
  /** The name or address that the message gives. */
  readonly asked?: string | undefined
}

/** The decision about one message. */
interface Decision {
  readonly outcome: AuditOutcome
  readonly code?: string
  readonly subject: Subject | undefined
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
    const { request, principal, handed } = told
    const isRecorded = ({ outcome, subject }: Decision): boolean =>
      // The process that admitted the request does not see a refusal here.
      outcome === 'denied' || (!handed && (dataPlane === 'all' || adminUse(principal, subject)))
    const record = ({ action, tool, digest, messages }: Act, decision: Decision): void => {
      if (!isRecorded(decision)) return
      const { outcome, code, subject } = decision
      audited({
        action,
        outcome,
        code,
        principal: principalOf(principal),
        ...(adminUse(principal, subject) ? { admin: true as const } : {}),
        resource: resourceOf(subject),
        requestId: told.requestId,
        client: addressOf(request),
        ...(tool === undefined ? {} : { tool }),
        ...(digest === undefined ? {} : { digest }),
        ...(messages === undefined ? {} : { messages }),
      })
    }

    const whole = decisionOf(told)
    const inner = told.inner.map((act) => ({ act, decision: innerDecision(told, act) }))
    if (told.opening) return record({ action: 'mcp.stream.open' }, whole)
    // Bodies are read only for records.
    if (!isRecorded(whole) && !inner.some(({ decision }) => isRecorded(decision))) return

    const acts = actsOf(request, told.body, told.error)
    const keys = new Set(acts.map(keyOf))
    const waiting = [...inner]
    for (const outer of acts) {
      const index = waiting.findIndex(({ act }) => keyOf(act) === keyOf(outer))
      const [found] = index === -1 ? [] : waiting.splice(index, 1)
      if (found === undefined) record(outer, whole)
      else record({ ...outer, ...innerAct(found.act) }, found.decision)
    }
    // A listen stream reaches several members. A message that the gateway repeats has no record of
    // its own, unless it is refused.
    for (const { act, decision } of waiting.slice(0, mostOfBatch))
      if (keys.has(keyOf(act)) || decision.outcome === 'denied') record(innerAct(act), decision)
  }
}

function decisionOf({ denied, error, subject }: McpRequest): Decision {
  const { about, ...result } = outcomeOf(error, denied)
  return { ...result, subject: about ?? subject }
}

function innerDecision({ error }: McpRequest, { denied, failure, subject }: InnerAct): Decision {
  const { about = subject, ...result } = outcomeOf(error, denied ? subject : undefined)
  if (result.outcome === 'allowed' && failure !== undefined)
    return { outcome: 'failed', code: failure, subject }
  return { ...result, subject: about }
}

/** Equal for a message of a client and for that message at a member. */
function keyOf({ action, asked = '' }: Pick<Act, 'action' | 'asked'>): string {
  return `${action} ${asked}`
}

function innerAct({ action, tool, arguments: given = '{}' }: InnerAct): Act {
  return tool === undefined ? { action } : { action, tool, digest: digestOf(given) }
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
  const params = message.get('params')
  const members = params?.startsWith('{') === true ? readObject(params) : undefined
  const name = readString(members?.get('name'))
  const asked = name ?? readString(members?.get('uri'))
  if (!isCall(message)) return { action: `mcp.${method}`, asked }
  return {
    action: 'mcp.tools/call',
    tool: name,
    asked,
    digest: digestOf(members?.get('arguments') ?? '{}'),
  }
}

function digestOf(bytes: Buffer | string): string {
  return createHash('sha256').update(bytes).digest('hex')
}
