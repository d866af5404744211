/** What a rolling step needs to know of a replica. */
export interface RollingReplica {
  readonly index: number
  /** It runs what is wanted now. */
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
 * The next step from what is towards `desired` replicas that are all current. Surplus ones stop, missing ones start, outdated
 * ones are replaced one by one, each only when all current ones are ready: a broken update stops at the first replica,
 * and the rest go on as they were, even when one of them restarts meanwhile. Replicas that are down anyway are replaced first.
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
