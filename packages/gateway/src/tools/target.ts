import type { Dispatcher } from 'undici'
import type { Upstream } from '../upstream/upstream.ts'
import type { CalledTool } from './registered-tools.ts'

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
