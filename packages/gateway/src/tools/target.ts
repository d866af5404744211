import type { Dispatcher } from 'undici'
import type { Upstream } from '../upstream/upstream.ts'
import type { CalledTool } from './registered-tools.ts'
import { httpRequestOf, placeAt, type HttpRequest } from './request/http-request.ts'
import type { ToolRequest } from './tool-exchange.ts'

export type { HttpRequest }

/** The destination of one attempt. */
export interface Target {
  readonly dispatcher: Pick<Dispatcher, 'dispatch'>
  readonly origin: string
  readonly path: string
  readonly upstream: Upstream
}

export function targetOf(tool: CalledTool, caller: string, upstream: Upstream): Target
export function targetOf(
  tool: CalledTool,
  caller: string,
  upstream: Upstream | undefined,
): Target | undefined
export function targetOf(
  { spec }: CalledTool,
  caller: string,
  upstream: Upstream | undefined,
): Target | undefined {
  if (upstream === undefined) return undefined
  const { via, origin, external, replica } = upstream
  const dispatcher = via(caller)
  return { dispatcher, origin, path: external ? replica.path : spec.toolDefinition.path, upstream }
}

/**
 * The request of a call, as the definition of the tool says: without such a rule, a POST of the
 * arguments as JSON.
 * @throws Unsendable
 */
export function requestOf({ spec }: CalledTool, argumentsText: string): HttpRequest {
  const { request } = spec.toolDefinition
  if (request !== undefined) return httpRequestOf(request, argumentsText, spec.endpoint)
  return { method: 'POST', path: '', query: '', headers: plainHeaders, body: argumentsText }
}

const plainHeaders = [
  'content-type',
  'application/json',
  'accept',
  'application/json, text/event-stream, application/x-ndjson, */*;q=0.8',
] as const

/** The request as it goes to its target. `headers` has those of the request, too. */
export function sentTo(
  { origin, path }: Target,
  request: HttpRequest,
  headers: readonly string[],
): ToolRequest {
  const { method, body } = request
  return { origin, path: placeAt(path, request), headers, body, method }
}
