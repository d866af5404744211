import {
  modernHeaders,
  readMessages,
  sendHttp,
  type HttpUpstream,
  type Share,
} from '@mcp-gateway/mcp-http'
import {
  encodeHeaderValue,
  metaKey,
  modernVersion,
  paramHeaders,
  readObject,
  readString,
  requestMessage,
  writeObject,
  type DeclaredHeader,
  type RawObject,
} from '@mcp-gateway/protocol'
import { partyOf } from '../../core/principal.ts'
import type { CallerShares } from '../../core/shares.ts'
import type { Hop } from '../../ingress/peer-hop.ts'
import { runsTwice } from '../call-failure.ts'
import { failure } from '../failure.ts'
import type { SendCall } from '../registered-tools.ts'
import type { CallResult, Invocation, Progress } from '../source.ts'
import type { GatewayTurns } from './gateway-turns.ts'

/** The tool of a call, by the name that clients use, and the arguments that headers repeat. */
interface RemoteTool {
  readonly name: string
  readonly declaredHeaders: readonly DeclaredHeader[]
}

/** The result of a call at a tool gateway, or the reason why there is none. */
type RemoteOutcome =
  | { readonly result: CallResult }
  /** `unsent` means that the call cannot have run. */
  | { readonly failed: string; readonly unsent: boolean }

const progressToken = '"progress"'

/** A tool gateway bounds each call itself, and its answer has a way to go. In milliseconds. */
const wayMs = 5000

export interface RemoteCallOptions {
  readonly turns: GatewayTurns
  readonly hop: Pick<Hop, 'to'>
  readonly shares: Pick<CallerShares, 'heldBytes'>
  /** Time for a whole call at a tool gateway, in milliseconds. */
  readonly callTimeoutMs: number
}

/**
 * Calls registered tools at tool gateways, so that no tool is called from a process with the
 * runtime. An unsent call goes to another tool gateway, and so does one that broke off if the tool
 * may run twice.
 */
export function remoteCalls({ turns, hop, shares, callTimeoutMs }: RemoteCallOptions): SendCall {
  return async ({ principal, resource }, invocation, _output, declaredHeaders) => {
    const { name: tool } = resource.spec.toolDefinition.tool
    const held = (): Share => shares.heldBytes.open(partyOf(principal))
    let broken: CallResult | undefined
    for (const name of turns.order()) {
      const pool = hop.to(name, principal, invocation.requestId)
      if (pool === undefined) continue

      const settle = turns.begin(name)
      const outcome = await callRemotely(
        { pool, held },
        { name: tool, declaredHeaders },
        invocation,
        callTimeoutMs + wayMs,
      ).finally(settle)
      if ('result' in outcome) return outcome.result
      if (outcome.unsent) {
        turns.rest(name)
        continue
      }
      const isLast = broken !== undefined || !runsTwice(resource)
      broken = failure({
        code: 'upstream_failed',
        text: `The tool gateway could not call the tool. ${outcome.failed.slice(0, 300)}`,
        retry: runsTwice(resource) ? 'yes' : 'unsure',
      })
      if (isLast) return broken
    }
    if (broken !== undefined) return broken
    const text = 'No tool gateway can be reached, so the tool was not called.'
    return failure({ code: 'no_ready_replica', text, retry: 'yes' })
  }
}

/**
 * Calls a tool at a tool gateway, as a client of 2026-07-28. Resolves with the outcome, and rejects
 * only if the client gives up.
 */
function callRemotely(
  way: Pick<HttpUpstream, 'pool' | 'held'>,
  tool: RemoteTool,
  invocation: Invocation,
  answerTimeoutMs: number,
): Promise<RemoteOutcome> {
  const { cancellation, trace, idempotencyKey } = invocation
  return new Promise((resolve, reject) => {
    let outcome: RemoteOutcome | undefined
    const sent = sendHttp(
      { ...way, path: '/mcp', headers: () => [] },
      {
        method: 'POST',
        headers: [
          ...modernHeaders('tools/call'),
          'mcp-name',
          encodeHeaderValue(tool.name),
          ...Object.entries(paramHeaders(tool.declaredHeaders, invocation.arguments)).flat(),
          'idempotency-key',
          `"${idempotencyKey}"`,
          ...Object.entries(trace).flat(),
        ],
        body: requestMessage('1', 'tools/call', paramsOf(tool, invocation)),
        answerTimeoutMs,
      },
      readMessages(
        {
          message: (text) => {
            const message = readObject(text) ?? new Map<string, string>()
            if (message.has('method')) return tellProgress(message, invocation)
            const result = readObject(message.get('result'))
            outcome = result === undefined ? refusalOf(message) : { result }
          },
          end: ({ status, failure }) => {
            cancellation.listen(undefined)
            // A process that leaves, or that does not trust this one, has not run the call.
            const isTurnedAway = status === 401 || status === 503
            if (isTurnedAway) return resolve({ failed: 'It takes no calls now.', unsent: true })
            if (outcome !== undefined) return resolve(outcome)
            const { message = `It gave no answer (HTTP ${status}).`, unsent = false } =
              failure ?? {}
            resolve({ failed: message, unsent })
          },
        },
        () => sent.abort(),
      ),
    )
    cancellation.listen(() => {
      sent.abort()
      reject(new DOMException('The client has given up.', 'AbortError'))
    })
  })
}

function paramsOf({ name }: RemoteTool, { arguments: given, progress }: Invocation): string {
  const meta: RawObject = new Map([
    [metaKey.protocolVersion, JSON.stringify(modernVersion)],
    [metaKey.clientCapabilities, '{}'],
  ])
  if (progress !== undefined) meta.set('progressToken', progressToken)
  return writeObject([
    ['name', JSON.stringify(name)],
    ['arguments', given],
    ['_meta', writeObject(meta)],
  ])
}

function tellProgress(message: RawObject, { progress }: Invocation): void {
  const params = readObject(message.get('params'))
  if (params?.get('progressToken') !== progressToken) return
  const total = params.get('total')
  const text = readString(params.get('message'))
  const told: Progress = {
    progress: Number(params.get('progress')),
    ...(total === undefined ? {} : { total: Number(total) }),
    ...(text === undefined ? {} : { message: text }),
  }
  progress?.(told)
}

function refusalOf(message: RawObject): RemoteOutcome {
  const error = readObject(message.get('error'))
  return { failed: readString(error?.get('message')) ?? 'It gave no reason.', unsent: false }
}
