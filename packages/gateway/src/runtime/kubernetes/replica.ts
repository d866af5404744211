import { lastWords } from '@mcp-gateway/warden'
import type { ContainerStatus, Pod } from 'kubernetes-types/core/v1.js'
import type { Replica } from '../../core/workload.ts'
import { defined } from '../../lib/defined.ts'
import { annotation } from './labels.ts'
import { containerName, serviceName, type TemplateHistory } from './render.ts'

export interface ReplicaContext {
  readonly name: string
  readonly path: string
  readonly history: TemplateHistory
  /** Replicas are called by address, or by name in the namespace and domain. */
  readonly address: 'ip' | 'dns'
  readonly namespace: string
  readonly clusterDomain: string
}

/** Converts a pod to a `Replica`. Pure. */
export function replicaOf(pod: Pod, context: ReplicaContext): Replica {
  const { name, path, history } = context
  const podName = pod.metadata?.name ?? ''
  const container = pod.status?.containerStatuses?.find((each) => each.name === containerName(name))
  const startedAt = container?.state?.running?.startedAt
  const origin = originOf(pod, context)
  const lastExit = lastExitOf(container)
  return defined({
    name: podName,
    index: indexOf(podName),
    ...stateOf(pod, container),
    origin,
    path,
    startedAt: startedAt === undefined ? undefined : Date.parse(startedAt),
    ...keepingOf(pod),
    generation: history[pod.metadata?.annotations?.[annotation.template] ?? ''] ?? 0,
    restarts: container?.restartCount ?? 0,
    lastExit,
  })
}

/** A wanted replica that has no pod. */
export function missingReplica(index: number, { name, path }: ReplicaContext): Replica {
  return {
    name: `${name}-${index}`,
    index,
    phase: 'pending',
    path,
    keepsSince: Number.POSITIVE_INFINITY,
    generation: 0,
    restarts: 0,
  }
}

/** A pod never comes back: its successor has the same name, but empty memory and folders. */
function keepingOf({ metadata }: Pod): Pick<Replica, 'keepsSince'> {
  if (metadata?.deletionTimestamp !== undefined) return { keepsSince: Number.POSITIVE_INFINITY }
  const { creationTimestamp } = metadata ?? {}
  return creationTimestamp === undefined ? {} : { keepsSince: Date.parse(creationTimestamp) }
}

function indexOf(podName: string): number {
  return Number(podName.slice(podName.lastIndexOf('-') + 1))
}

function originOf(
  pod: Pod,
  { name, address, namespace, clusterDomain }: ReplicaContext,
): string | undefined {
  const ip = pod.status?.podIP
  const port = pod.spec?.containers[0]?.ports?.[0]?.containerPort
  if (ip === undefined || ip === '' || port === undefined) return undefined
  // With several addresses (dual stack) use the first, which the probe has reached.
  if (address === 'dns') {
    const service = `${serviceName(name)}.${namespace}.svc.${clusterDomain}`
    return `http://${pod.metadata?.name}.${service}:${port}`
  }
  return `http://${ip.includes(':') ? `[${ip}]` : ip}:${port}`
}

/** Reasons of a container that waits although nothing is wrong. */
const starting = new Set(['ContainerCreating', 'PodInitializing'])

function stateOf(
  pod: Pod,
  container: ContainerStatus | undefined,
): Pick<Replica, 'phase' | 'reason' | 'message' | 'output' | 'internals'> {
  const { metadata, status } = pod
  if (metadata?.deletionTimestamp !== undefined) return { phase: 'terminating', reason: 'Stopping' }

  const conditions = status?.conditions ?? []
  const ready = conditions.find(({ type }) => type === 'Ready')
  if (ready?.status === 'True') return { phase: 'ready' }
  // The node controller set this condition for a silent kubelet: a kubelet would give a reason.
  if (
    ready !== undefined &&
    ready.reason === undefined &&
    conditions.some(({ type, status: is }) => type === 'ContainersReady' && is === 'True')
  )
    return {
      ...said(
        'lost',
        'NodeLost',
        'Its node has not been heard from, so nobody knows whether it runs.',
      ),
      internals: `The node is ${pod.spec?.nodeName ?? 'not known'}.`,
    }

  // An evicted pod, or one that its node refused, states the reason itself.
  if (status?.phase === 'Failed')
    return { ...said('backoff', status.reason ?? 'Failed'), ...outputOf(status.message) }

  const unscheduled = conditions.find(
    ({ type, status: is }) => type === 'PodScheduled' && is === 'False',
  )
  if (unscheduled !== undefined)
    return {
      ...said('pending', unscheduled.reason ?? 'Unschedulable'),
      ...outputOf(unscheduled.message),
    }

  return stateOfContainer(container)
}

/** The state of the server's container in a pod that has its node. */
function stateOfContainer(
  container: ContainerStatus | undefined,
): Pick<Replica, 'phase' | 'reason' | 'message' | 'output'> {
  const { waiting, terminated, running } = container?.state ?? {}
  if (waiting !== undefined) {
    const { reason = 'Waiting', message } = waiting
    if (starting.has(reason)) return { phase: 'pending' }

    const before = container?.lastState?.terminated
    // The waiting message may name a registry with its credentials.
    return {
      ...said('backoff', reason, before && howEnded(before)),
      ...outputOf(message, before && lastWordsOf(before)),
    }
  }

  if (terminated !== undefined)
    return {
      ...said('backoff', terminated.reason ?? 'Exited', howEnded(terminated)),
      ...outputOf(lastWordsOf(terminated)),
    }

  const before = container?.lastState?.terminated
  if (running === undefined) return { phase: 'pending' }

  return before === undefined
    ? { phase: 'starting' }
    : {
        ...said('starting', before.reason ?? 'Exited', `${howEnded(before)} It runs again.`),
        ...outputOf(lastWordsOf(before)),
      }
}

function said(
  phase: Replica['phase'],
  reason: string,
  ...messages: (string | undefined)[]
): Pick<Replica, 'phase' | 'reason' | 'message'> {
  const message = messages.filter((each) => each !== undefined && each !== '').join('. ')
  return defined({ phase, reason, message: message === '' ? undefined : message })
}

type Terminated = NonNullable<NonNullable<ContainerStatus['state']>['terminated']>

function howEnded({ exitCode, signal, reason }: Terminated): string {
  const how =
    signal === undefined || signal === 0
      ? `exited with code ${exitCode}`
      : `was ended by signal ${signal}`
  const why =
    reason === undefined || reason === 'Error' || reason === 'Completed' ? '' : ` (${reason})`
  return `It ${how}${why}.`
}

/** Bytes to which the kubelet cuts a container's last output, in the middle of a line. */
const longestTerminationMessage = 2048

function lastWordsOf({ message = '' }: Terminated): string | undefined {
  const lines = message.split('\n')
  if (lines.length > 1 && Buffer.byteLength(message) >= longestTerminationMessage) lines.shift()
  const words = lastWords(lines)
  return words === '' ? undefined : `It said last: ${words}`
}

function outputOf(...texts: (string | undefined)[]): Pick<Replica, 'output'> {
  const output = texts.filter((text) => text !== undefined && text !== '').join('. ')
  return output === '' ? {} : { output }
}

function lastExitOf(container: ContainerStatus | undefined): Replica['lastExit'] {
  const terminated = container?.state?.terminated ?? container?.lastState?.terminated
  if (terminated === undefined) return undefined
  const { finishedAt, exitCode, signal } = terminated
  return defined({
    at: new Date(finishedAt ?? 0).toISOString(),
    code: exitCode,
    signal: signal === undefined || signal === 0 ? undefined : String(signal),
    message: howEnded(terminated),
    ...outputOf(lastWordsOf(terminated)),
  })
}
