/** The state of a replica that a rolling step needs. */
export interface RollingReplica {
  readonly index: number
  /** The replica runs the template that is wanted now. */
  readonly current: boolean
  readonly ready: boolean
}

export type RollingStep =
  | { readonly do: 'stop'; readonly index: number }
  | { readonly do: 'start'; readonly index: number }
  | { readonly do: 'replace'; readonly index: number }
  | { readonly do: 'wait' }
  | { readonly do: 'nothing' }

/**
 * Replaces outdated replicas one by one, down ones first, and only while all current ones are
 * ready. A broken update thus stops at the first replica, and the others go on.
 */
export function nextStep(replicas: readonly RollingReplica[], desired: number): RollingStep {
  const surplus = replicas.find(({ index }) => index >= desired)
  if (surplus !== undefined) return { do: 'stop', index: surplus.index }
  for (let index = 0; index < desired; index += 1) {
    if (!replicas.some((replica) => replica.index === index)) return { do: 'start', index }
  }
  const outdated = replicas.filter(({ current }) => !current)
  if (outdated.length === 0) return { do: 'nothing' }
  if (replicas.some(({ current, ready }) => current && !ready)) return { do: 'wait' }
  const down = outdated.find(({ ready }) => !ready)
  return { do: 'replace', index: down?.index ?? Math.max(...outdated.map(({ index }) => index)) }
}
