import type { Share, Shares } from '@mcp-gateway/mcp-http'
import type { ReplicaDirectory } from '../core/directories/directory.ts'
import type { Permit } from '../core/permission.ts'
import { answerDropped } from '../core/shares.ts'
import { partyOf, type Principal } from '../core/principal.ts'
import type { AddressPolicy } from '../lib/net/address-policy.ts'
import type { DecideOutgoing } from '../upstream/outgoing.ts'
import { Upstreams } from '../upstream/upstreams.ts'
import { readAnswer } from './answer.ts'
import { failedBy, isUnsent, refusedBy } from './call-failure.ts'
import { Ending } from './ending.ts'
import type { CalledTool, OutputCheck } from './registered-tools.ts'
import type { CallResult, Invocation } from './source.ts'
import { requestOf, sentTo, targetOf, type HttpRequest, type Target } from './target.ts'
import { ToolExchange, type ToolResponse } from './tool-exchange.ts'

export interface ToolCallerOptions {
  readonly directory: ReplicaDirectory
  readonly endpointPolicy: AddressPolicy
  readonly outgoing: DecideOutgoing
  readonly callTimeoutMs: number
  readonly connectTimeoutMs: number
  readonly keepAliveMs: number
  readonly answerLimitBytes: number
  /** Most calls that may be open at one server outside the runtime. */
  readonly connectionsPerServer: number
  /** Counts the bytes of answers that are held until they are whole. */
  readonly heldBytes: Shares
  /** Keys of 32 bytes that all processes of the gateway share. */
  readonly keys: readonly Buffer[]
  readonly now: () => number
}

/** A call with all that its attempts share. */
interface Call {
  readonly tool: CalledTool
  /** The party that counts for the shares. */
  readonly caller: string
  readonly headers: readonly string[]
  readonly request: HttpRequest
  readonly invocation: Invocation
  readonly output: OutputCheck
  readonly ending: Ending
}

/**
 * Calls tools at a replica or an endpoint: by a POST whose body is the arguments, or as their
 * definition says.
 */
export class ToolCaller implements AsyncDisposable {
  readonly #options: ToolCallerOptions
  readonly #upstreams: Upstreams

  constructor(options: ToolCallerOptions) {
    this.#options = options
    this.#upstreams = new Upstreams(options.directory, {
      connectTimeoutMs: options.connectTimeoutMs,
      keepAliveMs: options.keepAliveMs,
      coldStartMs: options.callTimeoutMs,
      endpointPolicy: options.endpointPolicy,
      endpointConnections: { most: options.connectionsPerServer, beyond: 'wait' },
      keys: options.keys,
    })
  }

  /** Never rejects, unless the client has given up. */
  async call(
    { principal, resource: tool }: Permit<'use', CalledTool>,
    invocation: Invocation,
    output: OutputCheck,
  ): Promise<CallResult> {
    const { callTimeoutMs, answerLimitBytes } = this.#options
    const ending = new Ending(invocation.cancellation, callTimeoutMs)
    try {
      const request = requestOf(tool, invocation.arguments)
      const headers = this.#headers(tool, principal, invocation, request)
      const caller = partyOf(principal)
      return await this.#attempts({ tool, caller, headers, request, invocation, output, ending })
    } catch (error) {
      invocation.cancellation.throwIfAborted()
      return failedBy(error, { tool, late: ending.late, callTimeoutMs, answerLimitBytes })
    } finally {
      ending.clear()
    }
  }

  /** @throws GatewayError if the credential for the tool cannot be read */
  #headers(
    tool: CalledTool,
    principal: Principal,
    invocation: Invocation,
    request: HttpRequest,
  ): readonly string[] {
    const { callTimeoutMs, now, outgoing } = this.#options
    return [
      ...request.headers,
      'x-request-id',
      invocation.requestId,
      'x-mcp-tool',
      tool.spec.toolDefinition.tool.name,
      'x-mcp-deadline',
      new Date(now() + callTimeoutMs).toISOString(),
      'idempotency-key',
      `"${invocation.idempotencyKey}"`,
      ...Object.entries(invocation.trace).flat(),
      ...outgoing(tool, principal).headers,
    ]
  }

  /** Tries the call. An unsent request may go to another replica. */
  async #attempts(call: Call): Promise<CallResult> {
    const { tool, caller, headers, request, ending } = call
    const tried = new Set<string>()

    for (;;) {
      const target =
        targetOf(tool, caller, this.#upstreams.pick(tool, undefined, tried)) ??
        (await this.#coming(call))
      const { upstream } = target
      upstream.inFlight += 1

      const exchange = new ToolExchange()
      const share = this.#options.heldBytes.open(caller)
      share.spare(() => exchange.cancel(answerDropped('caller')))
      ending.onEnd(() => exchange.cancel())

      try {
        const response = await exchange.send(target.dispatcher, sentTo(target, request, headers))
        return await this.#read(call, response, exchange, share)
      } catch (error) {
        if (!isUnsent(error) || ending.over) throw error
        tried.add(upstream.replica.name)
        if (this.#upstreams.pick(tool, undefined, tried) === undefined) throw error
      } finally {
        // Unread bytes would hold the connection.
        exchange.cancel()
        share.spare(undefined)
        share.release()
        upstream.inFlight -= 1
      }
    }
  }

  /** Waits for a replica that is cold or restarting. */
  async #coming({ tool, caller, ending }: Call): Promise<Target> {
    const waiting = new AbortController()
    ending.onEnd(() => waiting.abort())
    return targetOf(tool, caller, await this.#upstreams.waitFor(tool, undefined, waiting.signal))
  }

  async #read(
    { tool, invocation, output }: Call,
    response: ToolResponse,
    body: AsyncIterable<Buffer>,
    share: Share,
  ): Promise<CallResult> {
    const { status, contentType } = response
    if (status < 200 || status >= 300) return refusedBy(response, body, tool, this.#options.now)

    return readAnswer(
      { status, contentType, body },
      {
        limitBytes: this.#options.answerLimitBytes,
        hold: (bytes) => {
          const shortage = share.hold(bytes)
          if (shortage !== undefined) throw answerDropped(shortage)
        },
        output,
        resourceUri: `tool://${tool.name}/${encodeURIComponent(invocation.requestId)}`,
        progress: invocation.progress,
      },
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#upstreams[Symbol.asyncDispose]()
  }
}
