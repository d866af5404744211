import { hostname } from 'node:os'
import type { Event, ObjectReference } from 'kubernetes-types/core/v1.js'
import { defined } from '../../lib/defined.ts'
import type { Announcement } from '../runtime.ts'
import { collection } from './api/kinds.ts'

/** Most characters of a message that the API server accepts. */
const longest = 1024

/**
 * Returns path and body of an Event (core/v1) about a workload's StatefulSet, or about this
 * gateway's pod. `uid` ties the Event to an existing StatefulSet.
 */
export function eventOf(
  { workload, type, reason, message }: Announcement,
  namespace: string,
  uid: string | undefined,
): { readonly path: string; readonly body: Event } {
  const involvedObject: ObjectReference =
    workload === undefined
      ? { apiVersion: 'v1', kind: 'Pod', name: hostname(), namespace }
      : defined({
          apiVersion: 'apps/v1',
          kind: 'StatefulSet',
          name: workload,
          namespace,
          uid,
        })

  const at = new Date().toISOString()
  return {
    path: collection('Event', namespace),
    body: {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { generateName: `${workload ?? 'mcp-gateway'}.`, namespace },
      involvedObject,
      type,
      reason,
      message: message.slice(0, longest),
      source: { component: 'mcp-gateway', host: hostname() },
      firstTimestamp: at,
      lastTimestamp: at,
      count: 1,
    },
  }
}
