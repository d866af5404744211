import type { Pod } from 'kubernetes-types/core/v1.js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ConfigSchema } from '../../packages/gateway/src/config/config.ts'
import type { Peers } from '../../packages/gateway/src/core/directories/peers.ts'
import { openPeers } from '../../packages/gateway/src/runtime/open-peers.ts'
import { createLog } from '../../packages/gateway/src/telemetry/log.ts'
import { TestNamespace } from './fixtures/cluster.ts'
import { Wire } from './fixtures/wire.ts'

let namespace: TestNamespace
let wire: Wire
beforeAll(async () => {
  namespace = await TestNamespace.open()
  wire = await Wire.to(namespace.api.server)
})
afterAll(async () => {
  await wire[Symbol.asyncDispose]()
  await namespace[Symbol.asyncDispose]()
})

const open = (kubeconfig: string): Promise<Peers> =>
  openPeers({
    fixed: {},
    service: 'crew',
    settings: ConfigSchema.parse({ runtime: { kubernetes: { kubeconfig } } }).runtime.kubernetes,
    log: createLog({ level: 'silent', format: 'json', terminal: false }),
  })
const labels = { app: 'crew' }
const securityContext = {
  runAsNonRoot: true,
  runAsUser: 1000,
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  seccompProfile: { type: 'RuntimeDefault' },
}
const statefulSet = {
  metadata: { name: 'crew' },
  spec: {
    serviceName: 'crew',
    replicas: 2,
    podManagementPolicy: 'Parallel',
    selector: { matchLabels: labels },
    template: {
      metadata: { labels },
      spec: {
        terminationGracePeriodSeconds: 1,
        containers: [
          {
            name: 'server',
            image: `${process.env['REGISTRY']}/contract-server:1.0.0`,
            env: [
              { name: 'PORT', value: '8000' },
              { name: 'HOST', value: '0.0.0.0' },
            ],
            securityContext,
          },
        ],
      },
    },
  },
}
const apps = '/apis/apps/v1'
const pod = (name: string): Promise<Pod | undefined> =>
  namespace.get<Pod>('/api/v1', `pods/${name}`)

describe('the pods of a Service', () => {
  test('pods are peers as they come, go and return, also without the API server', async () => {
    await using peers = await open(namespace.kubeconfigBy(wire.url))
    const { directory } = peers
    const known = (): string[] => [...directory.entries()].map(([name]) => name).toSorted()
    expect(known()).toEqual([])

    await namespace.create('/api/v1', 'services', {
      metadata: { name: 'crew' },
      spec: { clusterIP: 'None', selector: labels, ports: [{ name: 'http', port: 8000 }] },
    })
    await namespace.create(apps, 'statefulsets', statefulSet)
    await expect.poll(known).toEqual(['crew-0', 'crew-1'])

    const first = await pod('crew-1')
    expect(directory.get('crew-1')?.origin).toBe(`http://${first?.status?.podIP}:8000`)
    await expect.poll(() => directory.get('crew-1')?.ready).toBe(true)

    await namespace.delete('/api/v1', 'pods/crew-1')
    const second = await namespace.eventually(async () => {
      const found = await pod('crew-1')
      return found?.metadata?.uid !== first?.metadata?.uid && found?.status?.podIP !== undefined
        ? found
        : undefined
    })
    expect(second.status?.podIP).not.toBe(first?.status?.podIP)
    await expect
      .poll(() => directory.get('crew-1'))
      .toEqual({ origin: `http://${second.status?.podIP}:8000`, ready: true })

    await wire.cut()
    await namespace.patch(apps, 'statefulsets/crew', { spec: { replicas: 3 } })
    await namespace.eventually(async () => (await pod('crew-2'))?.status?.podIP)
    expect(known()).toEqual(['crew-0', 'crew-1'])

    await wire.mend()
    await expect.poll(known).toEqual(['crew-0', 'crew-1', 'crew-2'])

    await namespace.patch(apps, 'statefulsets/crew', { spec: { replicas: 1 } })
    await expect.poll(known).toEqual(['crew-0'])
  })

  test('a missing right to the pods ends the start with its name', async () => {
    await namespace.create('/api/v1', 'serviceaccounts', { metadata: { name: 'blind' } })
    const kubeconfig = await namespace.kubeconfigOf('blind')
    await expect(open(kubeconfig)).rejects.toThrow(
      /cannot list resource "endpointslices".*docs\/kubernetes\.md/,
    )
  })
})
