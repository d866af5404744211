import { describe, expect, test } from 'vitest'
import { ConfigSchema } from '../../config/config.ts'
import type { Workload } from '../../core/workload.ts'
import { KubernetesError, type ApiRequest, type KubernetesObject } from './api/api.ts'
import { objectLabels } from './labels.ts'
import type { Kind } from './api/kinds.ts'
import { Writer, type WriterOptions } from './writer.ts'

const { kubernetes: settings } = ConfigSchema.parse({
  runtime: { kubernetes: { registry: 'localhost:5000' } },
}).runtime
const workload: Workload = {
  kind: 'adapter',
  name: 'mcp-example',
  uid: '6f1c0d3e-0000-4000-8000-000000000001',
  generation: 1,
  image: { name: 'mcp-example', version: '1.0.0' },
  environment: {},
  replicas: 1,
  owner: '["development","alice"]',
  useWorkloadIdentity: false,
}
const labels = objectLabels(workload, settings.installation)
const { signal } = new AbortController()

interface Write {
  readonly method: string
  readonly path: string
  readonly request: ApiRequest
}

/** A writer on a cluster that has these objects, and refuses writes to the named kind. */
function writerOn(there: Readonly<Record<string, KubernetesObject>>, refuses?: string) {
  const writes: Write[] = []
  const known = (kind: Kind): KubernetesObject | undefined => there[kind]
  const api = {
    find: async (path: string) => {
      const kind = /statefulsets/.test(path) ? 'StatefulSet' : /services/.test(path) && 'Service'
      return kind === false ? undefined : there[kind]
    },
    json: async (method: string, path: string, _signal: AbortSignal, request: ApiRequest) => {
      writes.push({ method, path, request })
      if (refuses !== undefined && path.includes(refuses))
        throw new KubernetesError(409, { message: 'conflict' })
      return { metadata: { uid: 'made', labels } }
    },
  }
  const view = { get: known, until: async () => undefined, workloads: () => [] }
  const changed = async (): Promise<void> => undefined
  const options = { api, settings, view, changed } as unknown as WriterOptions
  return { writer: new Writer(options), writes }
}

const forced = (writes: readonly Write[]): unknown =>
  Object.fromEntries(
    writes.map(({ path, request }) => [path.split('/').at(-2), request.query?.['force']]),
  )

describe('writing a workload to a cluster', () => {
  test('a new object is written without force, so that a foreign one is a conflict', async () => {
    const { writer, writes } = writerOn({})
    await writer.apply(workload, signal)
    expect(forced(writes)).toEqual({ services: false, statefulsets: false })
  })

  test('an own object is written with force, and with its uid', async () => {
    const metadata = (uid: string) => ({ metadata: { uid, labels } })
    const there = { Service: metadata('the-service'), StatefulSet: metadata('the-set') }
    const { writer, writes } = writerOn(there)
    await writer.apply(workload, signal)
    expect(forced(writes)).toEqual({ services: true, statefulsets: true })
    expect(writes.map(({ request }) => (request.body as KubernetesObject).metadata?.uid)).toEqual([
      'the-service',
      'the-set',
    ])
  })

  test('an object that somebody else made meanwhile is left alone and reported', async () => {
    const { writer } = writerOn({}, 'statefulsets')
    await expect(writer.apply(workload, signal)).rejects.toThrow(
      /StatefulSet 'mcp-example' .* was not made by this gateway/,
    )
  })
})
