import type { Condition, Replica } from '../core/workload.ts'
import { defined } from '../lib/defined.ts'

export interface Judged {
  readonly desired: number
  readonly generation: number
  readonly replicas: readonly Replica[]
  /** The reason why the workload cannot run here at all. */
  readonly refused?: { readonly reason: string; readonly message: string }
}

/** Derives a workload's conditions from its replicas. The runtime adds `lastTransitionAt`. */
export function judge({
  desired,
  generation,
  replicas,
  refused,
}: Judged): Omit<Condition, 'lastTransitionAt'>[] {
  if (refused !== undefined)
    return (['Accepted', 'Ready', 'Progressing'] as const).map((type) => ({
      type,
      status: 'False',
      ...refused,
    }))

  const ready = replicas.filter(({ phase }) => phase === 'ready').length
  const current = replicas.filter(
    (replica) => replica.phase === 'ready' && replica.generation === generation,
  ).length
  const isReady =
    desired > 0 && ready === desired && current === desired && replicas.length === desired

  const trouble = replicas.find(
    ({ phase, reason, restarts }) =>
      phase === 'backoff' ||
      phase === 'lost' ||
      (reason !== undefined && (phase === 'pending' || (phase === 'starting' && restarts > 0))),
  )

  const count = `${ready} of ${desired} replicas are ready.`
  const updated = replicas.filter((replica) => replica.generation === generation).length
  const moving = current < desired || replicas.length > desired

  const why = (): Pick<Condition, 'reason' | 'message' | 'output' | 'internals'> => {
    if (desired === 0) return { reason: 'Stopped', message: 'replicaCount is 0.' }
    if (isReady) return { reason: 'Ready', message: count }

    const { reason = 'NotReady', message = count, output, internals } = trouble ?? {}
    return defined({ reason, message, output, internals })
  }

  return [
    { type: 'Accepted', status: 'True', reason: 'Accepted', message: 'The workload can run here.' },
    {
      type: 'Ready',
      status: isReady ? 'True' : 'False',
      ...why(),
    },
    {
      type: 'Progressing',
      status: moving ? 'True' : 'False',
      reason: moving ? 'Rolling' : 'Complete',
      message:
        `${updated} of ${desired} replicas have the present generation, ` +
        `and ${current} of these are ready.`,
    },
  ]
}
