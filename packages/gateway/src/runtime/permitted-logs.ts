import type { Permit } from '../core/permission.ts'
import type { Resource } from '../core/resource.ts'
import type { LogQuery, Runtime } from './runtime.ts'

/** Reads the output of a workload, for a caller who may. Lines as those of `Runtime.logs`. */
export type ReadLogs = (
  permit: Permit<'logs', Resource>,
  query: LogQuery,
  signal: AbortSignal,
) => ReturnType<Runtime['logs']>

/** The output of workloads as the control plane gets it. */
export function permittedLogs(runtime: Pick<Runtime, 'logs'>): ReadLogs {
  return ({ resource: { name, uid } }, query, signal) => runtime.logs({ name, uid }, query, signal)
}
