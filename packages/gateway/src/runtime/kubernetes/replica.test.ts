import type { ContainerStatus, Pod } from 'kubernetes-types/core/v1.js'
import { describe, expect, test } from 'vitest'
import { missingReplica, replicaOf, type ReplicaContext } from './replica.ts'

// Statuses as kubelets and controllers of Kubernetes 1.34 write them.
const context: ReplicaContext = {
  name: 'server',
  path: '/mcp',
  history: { abc: 3 },
  address: 'ip',
  namespace: 'adapter',
  clusterDomain: 'cluster.local',
}
const at = '2026-01-02T03:04:05Z'
const container = (changes: Partial<ContainerStatus>): ContainerStatus => ({
  name: 'server-container',
  image: 'localhost:5000/server:1',
  imageID: '',
  ready: false,
  restartCount: 0,
  ...changes,
})
type Conditions = Readonly<
  Record<
    string,
    string | { readonly status: string; readonly reason: string; readonly message?: string }
  >
>
const pod = (
  conditions: Conditions,
  more: { readonly metadata?: Pod['metadata']; readonly status?: Pod['status'] } = {},
): Pod => ({
  metadata: { name: 'server-12', annotations: { 'adapter/template': 'abc' }, ...more.metadata },
  spec: {
    nodeName: 'node-1',
    containers: [{ name: 'server-container', ports: [{ containerPort: 8000 }] }],
  },
  status: {
    conditions: Object.entries(conditions).map(([type, given]) => ({
      type,
      ...(typeof given === 'string' ? { status: given } : given),
    })),
    podIP: '10.1.2.3',
    podIPs: [{ ip: '10.1.2.3' }],
    ...more.status,
  },
})
const running = container({ ready: true, state: { running: { startedAt: at } } })

describe('a pod', () => {
  test.each([
    ['IPv4', ['10.1.2.3'], 'http://10.1.2.3:8000'],
    ['IPv6', ['fd00:10:1::2f'], 'http://[fd00:10:1::2f]:8000'],
    ['dual stack with IPv4 first', ['10.1.2.3', 'fd00:10:1::2f'], 'http://10.1.2.3:8000'],
    ['dual stack with IPv6 first', ['fd00:10:1::2f', '10.1.2.3'], 'http://[fd00:10:1::2f]:8000'],
  ])('a pod of %s is called by the address that its probe used', (_what, ips, origin) => {
    const [podIP = ''] = ips
    expect(
      replicaOf(
        pod({ Ready: 'True' }, { status: { podIP, podIPs: ips.map((ip) => ({ ip })) } }),
        context,
      ).origin,
    ).toBe(origin)
  })

  test('a pod is called by its cluster name on request, and not before it has an address', () => {
    const byName = { ...context, address: 'dns', clusterDomain: 'example.org' } as const
    expect(replicaOf(pod({ Ready: 'True' }), byName).origin).toBe(
      'http://server-12.server-service.adapter.svc.example.org:8000',
    )
    for (const each of [context, byName])
      expect(replicaOf(pod({}, { status: { podIP: '', podIPs: [] } }), each)).not.toHaveProperty(
        'origin',
      )
  })

  test('words of a server or registry stand apart from the message', () => {
    const terminated = {
      exitCode: 3,
      reason: 'Error',
      message: 'API_KEY=hunter2',
      startedAt: at,
      finishedAt: at,
    }
    const waiting = { reason: 'CrashLoopBackOff', message: 'pulled with token hunter2' }
    for (const state of [{ terminated }, { waiting }, { running: { startedAt: at } }]) {
      const status = {
        containerStatuses: [container({ state, lastState: { terminated } })],
      }
      const { output, lastExit, ...shown } = replicaOf(pod({}, { status }), context)
      expect(output).toContain('hunter2')
      expect(lastExit).toMatchObject({
        message: 'It exited with code 3.',
        output: 'It said last: API_KEY=hunter2',
      })
      expect(JSON.stringify(shown)).not.toContain('hunter2')
      expect(shown.message).toContain('It exited with code 3.')
    }
  })

  test('a pod shows whole lines of text from its server’s last 2048 bytes', () => {
    const log = (stderr: string): string =>
      JSON.stringify({ level: 'info', time: at, pid: 17, stderr, msg: 'server' })
    const text = [...Array(40).fill(log('loading')), log('Error: no account'), 'gives up'].join(
      '\n',
    )
    const terminated = { exitCode: 1, message: text.slice(-2048), startedAt: at, finishedAt: at }
    const status = { containerStatuses: [container({ state: { terminated } })] }

    expect(replicaOf(pod({}, { status }), context).output).toBe(
      'It said last: loading | Error: no account | gives up',
    )
  })

  test('a pod keeps nothing of the one before it, nor once it is to be deleted', () => {
    const made = { name: 'server-0', creationTimestamp: at }
    const live = replicaOf(pod({ Ready: 'True' }, { metadata: made }), context)
    const leaving = { ...made, deletionTimestamp: at }

    expect(live.keepsSince).toBe(Date.parse(at))
    expect(replicaOf(pod({}, { metadata: leaving }), context).keepsSince).toBe(Infinity)
    expect(missingReplica(0, context).keepsSince).toBe(Infinity)
  })

  test('a pod has index, generation, start and restarts', () => {
    const status = { containerStatuses: [{ ...running, restartCount: 2 }] }
    expect(
      replicaOf(pod({ Ready: 'True', ContainersReady: 'True' }, { status }), context),
    ).toMatchObject({
      name: 'server-12',
      index: 12,
      phase: 'ready',
      generation: 3,
      restarts: 2,
      startedAt: Date.parse(at),
    })
  })

  const notReady = {
    status: 'False',
    reason: 'ContainersNotReady',
    message: 'containers with unready status: [server-container]',
  }
  const ended = { exitCode: 137, reason: 'OOMKilled', startedAt: at, finishedAt: at }
  test.each<[string, Pod, object]>([
    [
      'is terminating though Ready when it is to go',
      pod({ Ready: 'True' }, { metadata: { name: 'server-0', deletionTimestamp: at } }),
      { phase: 'terminating' },
    ],
    [
      'is pending without a node',
      pod({
        PodScheduled: {
          status: 'False',
          reason: 'Unschedulable',
          message: '0/1 nodes are available',
        },
      }),
      { phase: 'pending', reason: 'Unschedulable', output: '0/1 nodes are available' },
    ],
    [
      'is in back-off without an image',
      pod(
        { Ready: notReady },
        {
          status: {
            containerStatuses: [
              container({
                state: { waiting: { reason: 'ImagePullBackOff', message: 'Back-off' } },
              }),
            ],
          },
        },
      ),
      { phase: 'backoff', reason: 'ImagePullBackOff' },
    ],
    [
      'is starting while its probe fails',
      pod(
        { Ready: notReady, ContainersReady: notReady },
        { status: { containerStatuses: [{ ...running, ready: false }] } },
      ),
      { phase: 'starting' },
    ],
    [
      'tells how it ended while it runs again',
      pod(
        { Ready: notReady, ContainersReady: notReady },
        {
          status: {
            containerStatuses: [
              { ...running, ready: false, restartCount: 1, lastState: { terminated: ended } },
            ],
          },
        },
      ),
      { phase: 'starting', reason: 'OOMKilled', lastExit: { code: 137 }, restarts: 1 },
    ],
    [
      'is lost when the controller of nodes speaks for its kubelet',
      pod(
        { Ready: 'False', ContainersReady: 'True' },
        { status: { containerStatuses: [running] } },
      ),
      { phase: 'lost', reason: 'NodeLost', internals: 'The node is node-1.' },
    ],
    [
      'is starting, not lost, while a readiness gate holds it back',
      pod(
        { Ready: { status: 'False', reason: 'ReadinessGatesNotReady' }, ContainersReady: 'True' },
        { status: { containerStatuses: [running] } },
      ),
      { phase: 'starting' },
    ],
    [
      'says itself why it was evicted',
      pod(
        { Ready: notReady },
        {
          status: {
            phase: 'Failed',
            reason: 'Evicted',
            message: 'The node was low on resource: memory.',
          },
        },
      ),
      { phase: 'backoff', reason: 'Evicted', output: 'The node was low on resource: memory.' },
    ],
  ])('a pod with %s has the right state', (_what, given, expected) => {
    expect(replicaOf(given, context)).toMatchObject(expected)
  })
})
