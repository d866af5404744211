import { randomUUID } from 'node:crypto'
import type { StatefulSet } from 'kubernetes-types/apps/v1.js'
import type { Pod } from 'kubernetes-types/core/v1.js'
import { GatewayProcess } from '@mcp-gateway/testkit'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { AdmissionWebhook } from './fixtures/admission-webhook.ts'
import { TestNamespace } from './fixtures/cluster.ts'
import { figures, timed } from './fixtures/figures.ts'
import { pushAs } from '../../scripts/images.ts'
import { McpSession, ModernClient, Traffic } from './fixtures/traffic.ts'

// The view of clients when something breaks, with figures for docs/reliability.md. The tests judge
// by losses alone, never by time.

let namespace: TestNamespace
let gateway: GatewayProcess
beforeAll(async () => {
  namespace = await TestNamespace.open()
  // On a slow machine the gateway may know of the cluster this much later.
  const { kubernetes } = namespace.options({ pod: { drainSeconds: 3 } }).settings
  // The gateway must not wait for facts that the cluster knows at once.
  const proxy = { coldStartSeconds: 3600 }
  const runtime = { kind: 'kubernetes', kubernetes }
  gateway = await GatewayProcess.start({ config: { proxy, runtime } })
  for (const name of ['steady', 'single'])
    await create({ name, replicaCount: name === 'steady' ? 2 : 1 })
  await create({ name: 'echo', imageName: 'echo' })
  for (const name of ['steady', 'single', 'echo']) await healthy(name)
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await namespace[Symbol.asyncDispose]()
})

const endpoint = (name: string): string => `${gateway.origin}/adapters/${name}/mcp`
const create = async (body: {
  readonly name: string
  readonly [member: string]: unknown
}): Promise<void> => {
  const { status } = await gateway.api('POST', '/adapters', {
    imageName: 'mcp-example',
    imageVersion: '1.0.0',
    ...body,
  })
  expect(status).toBe(201)
}
const healthy = (name: string) =>
  gateway.untilStatus(name, ({ replicaStatus }) => replicaStatus === 'Healthy', 120_000)
const untilSaid = (name: string, said: RegExp) =>
  gateway.untilStatus(
    name,
    ({ conditions }) =>
      conditions.some(({ status, message }) => status === 'False' && said.test(message)),
    120_000,
  )
const pod = (name: string): Promise<Pod | undefined> =>
  namespace.get<Pod>('/api/v1', `pods/${name}`)
const statefulSet = (name: string): Promise<StatefulSet | undefined> =>
  namespace.get<StatefulSet>('/apis/apps/v1', `statefulsets/${name}`)
/** Opens a session on a replica. */
async function sessionOn(adapter: string, replica: string): Promise<McpSession> {
  for (;;) {
    const session = await McpSession.open(endpoint(adapter))
    if ((await session.call('where_am_i')) === replica) return session
  }
}
/** Gives the refusal of a session that has ended. */
async function refusalOf(session: McpSession): Promise<string> {
  for (;;) {
    const outcome = await session.call('where_am_i').catch((error: Error) => error)
    if (outcome instanceof Error) return outcome.message
  }
}
/** Waits until another pod is ready in the place of the one with the uid. */
const replaced = (name: string, before: Pod | undefined): Promise<Pod> =>
  namespace.eventually(async () => {
    const now = await pod(name)
    const ready =
      now?.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ===
      true
    return ready && now?.metadata?.uid !== before?.metadata?.uid ? now : undefined
  })

describe('a pod that is deleted', () => {
  test('a deleted pod ends its sessions, which open elsewhere, and no call is lost', async () => {
    // Modern clients of one caller share a session of the server. It is on the pod that will go.
    const leaving = await new ModernClient(endpoint('steady')).call('where_am_i')
    const staying = leaving === 'steady-0' ? 'steady-1' : 'steady-0'
    const other = await sessionOn('steady', staying)
    const own = await sessionOn('steady', leaving)
    const traffic = new Traffic(endpoint('steady'))
    const modern = Traffic.modern(endpoint('steady'), 4)
    await expect.poll(() => traffic.calls).toBeGreaterThan(50)
    await expect.poll(() => modern.calls).toBeGreaterThan(50)

    const before = await pod(leaving)
    const begun = performance.now()
    await namespace.delete('/api/v1', `pods/${leaving}`)
    const answer = await refusalOf(own)
    const again = await (await McpSession.open(endpoint('steady'))).call('where_am_i')
    const msUntilHealed = Math.round(performance.now() - begun)
    // The pod still drains, so nobody has waited for its successor.
    expect((await pod(leaving))?.metadata?.uid).toBe(before?.metadata?.uid)
    expect([answer, again]).toEqual(['404 session_not_found', staying])

    await replaced(leaving, before)
    await sessionOn('steady', leaving)
    const msUntilReplaced = Math.round(performance.now() - begun)
    const met = await traffic.stop()
    const metModern = await modern.stop()
    figures('pod deleted mid-session', { msUntilHealed, msUntilReplaced, ...met, metModern })
    expect([met.failures, metModern.failures, metModern.ended]).toEqual([{}, {}, 0])
    expect(met.ended).toBeLessThanOrEqual(8)
    expect(await other.call('where_am_i')).toBe(staying)
  })

  test('a deleted pod ends its streams, and its open calls may have run', async () => {
    const [listening, calling] = [
      await McpSession.open(endpoint('single')),
      await McpSession.open(endpoint('echo')),
    ]
    const stream = await listening.listen()
    const ended = timed(() => stream.text().catch((error: unknown) => error))
    const answer = timed(() => calling.call('never').catch((error: Error) => error.message))
    await namespace.delete('/api/v1', 'pods/single-0')
    await namespace.delete('/api/v1', 'pods/echo-0')
    const [[streamMs, end], [callMs, outcome]] = await Promise.all([ended, answer])
    // An orderly end would say that the server has finished.
    expect(end).toBeInstanceOf(Error)
    expect(outcome).toBe('502 upstream_failed')
    const [againMs] = await timed(async () => {
      await expect(listening.call('where_am_i')).rejects.toThrow('404')
      await (await McpSession.open(endpoint('single'))).call('where_am_i')
    })
    figures('pod deleted mid-stream', {
      msUntilStreamEnds: streamMs,
      msUntilCallFails: callMs,
      msUntilNewSession: againMs,
    })
  })
})

describe('what somebody does by hand', () => {
  test('changes by hand to a StatefulSet or Service are put right under calls', async () => {
    const traffic = new Traffic(endpoint('steady'))
    await expect.poll(() => traffic.calls).toBeGreaterThan(50)

    const before = await pod('steady-0')
    const [editedMs] = await timed(async () => {
      await namespace.patch('/apis/apps/v1', 'statefulsets/steady', { spec: { replicas: 4 } })
      await namespace.eventually(async () =>
        (await statefulSet('steady'))?.spec?.replicas === 2 ? true : undefined,
      )
    })
    const uid = (await statefulSet('steady'))?.metadata?.uid
    const [orphanedMs] = await timed(async () => {
      await namespace.delete('/apis/apps/v1', 'statefulsets/steady', {
        propagationPolicy: 'Orphan',
      })
      await namespace.eventually(async () => {
        const now = (await statefulSet('steady'))?.metadata
        return now !== undefined && now.uid !== uid && now.deletionTimestamp === undefined
          ? true
          : undefined
      })
    })
    const [serviceMs] = await timed(async () => {
      const service = await namespace.get<StatefulSet>('/api/v1', 'services/steady-service')
      await namespace.delete('/api/v1', 'services/steady-service')
      await namespace.eventually(async () => {
        const now = await namespace.get<StatefulSet>('/api/v1', 'services/steady-service')
        return now !== undefined && now.metadata?.uid !== service?.metadata?.uid ? true : undefined
      })
    })
    await healthy('steady')
    const met = await traffic.stop()
    figures('StatefulSet edited, deleted with its pods left, Service deleted', {
      editedMs,
      orphanedMs,
      serviceMs,
      ...met,
    })
    expect([met.failures, met.ended]).toEqual([{}, 0])
    expect((await pod('steady-0'))?.metadata?.uid).toBe(before?.metadata?.uid)
  })

  test('a StatefulSet deleted with its pods comes back, and calls wait for it', async () => {
    const before = await pod('single-0')
    const session = await McpSession.open(endpoint('single'))
    const [ms, answer] = await timed(async () => {
      await namespace.delete('/apis/apps/v1', 'statefulsets/single', {
        propagationPolicy: 'Background',
      })
      await replaced('single-0', before)
      await expect(session.call('where_am_i')).rejects.toThrow('404')
      return (await McpSession.open(endpoint('single'))).call('where_am_i')
    })
    expect(answer).toBe('single-0')
    figures('StatefulSet deleted with its pods', { msUntilServed: ms })
  })
})

describe('what the cluster does not take', () => {
  test('a missing image is reported, stops the update at one replica, and heals', async () => {
    const imageVersion = `late-${randomUUID().slice(0, 8)}`
    const session = await sessionOn('steady', 'steady-0')
    await gateway.api('PATCH', '/adapters/steady', { imageVersion })
    const [toldMs] = await timed(() => untilSaid('steady', new RegExp(imageVersion)))
    expect(await session.call('where_am_i')).toBe('steady-0')
    await pushAs('mcp-example:1.0.0', `mcp-example:${imageVersion}`)
    const [healedMs] = await timed(() => healthy('steady'))
    figures('image that does not exist, then does', { toldMs, healedMs })
  })

  test('a client that calls learns of a missing image at once', async () => {
    await create({ name: 'imageless', imageVersion: 'no-such-version' })
    const [toldMs, answer] = await timed(() =>
      McpSession.open(endpoint('imageless')).catch((error: Error) => error.message),
    )
    expect(answer).toBe('503 no_ready_replica')
    figures('client of an image that does not exist', { toldMs })
    await gateway.api('DELETE', '/adapters/imageless')
  })

  test('a crash loop is reported with the last words, and a change heals it', async () => {
    await create({
      name: 'crashing',
      imageName: 'contract-server',
      replicaCount: 2,
      environmentVariables: { NODE_OPTIONS: '--no-such-option' },
    })
    const [toldMs] = await timed(() => untilSaid('crashing', /--no-such-option is not allowed/))
    const { replicas } = await gateway.untilStatus(
      'crashing',
      (status) => status.replicas.some(({ restarts }) => restarts > 0),
      120_000,
    )
    expect(replicas.find(({ restarts }) => restarts > 0)).toMatchObject({ lastExit: { code: 9 } })
    await gateway.api('PATCH', '/adapters/crashing', {
      environmentVariables: { NODE_OPTIONS: null },
    })
    const [healedMs] = await timed(() => healthy('crashing'))
    figures('crash loop', { toldMs, healedMs })
    await gateway.api('DELETE', '/adapters/crashing')
  })

  test('a refusal of an admission webhook is reported in its words, and heals', async ({
    skip,
  }) => {
    await using webhook = await AdmissionWebhook.open(namespace)
    if (webhook === undefined) return skip('The API server cannot reach this process.')
    webhook.refuses = { pods: 'no pods on a Saturday' }
    await create({ name: 'unwelcome' })
    const [podsMs] = await timed(() => untilSaid('unwelcome', /no pods on a Saturday/))
    webhook.refuses = {}
    const [podsHealedMs] = await timed(() => healthy('unwelcome'))
    webhook.refuses = { statefulsets: 'no changes on a Saturday' }
    await gateway.api('PATCH', '/adapters/unwelcome', { replicaCount: 2 })
    const [setsMs] = await timed(() => untilSaid('unwelcome', /no changes on a Saturday/))
    webhook.refuses = {}
    const [setsHealedMs] = await timed(() => healthy('unwelcome'))
    figures('admission webhook that refuses', { podsMs, podsHealedMs, setsMs, setsHealedMs })
    await gateway.api('DELETE', '/adapters/unwelcome')
  })

  test('a foreign object is reported and left as it is, and its removal heals', async () => {
    await namespace.create('/api/v1', 'services', {
      metadata: { name: 'occupied-service' },
      spec: { ports: [{ port: 1 }] },
    })
    await create({ name: 'occupied' })
    await untilSaid(
      'occupied',
      /The Service 'occupied-service' in the namespace '.*' was not made by this gateway/,
    )
    expect(await statefulSet('occupied')).toBeUndefined()
    await namespace.delete('/api/v1', 'services/occupied-service')
    const [healedMs] = await timed(() => healthy('occupied'))
    figures('foreign object with the same name', { healedMs })
    await gateway.api('DELETE', '/adapters/occupied')
  })

  test('an environment that no Secret holds is refused before anything is stored', async () => {
    const environmentVariables = Object.fromEntries(
      Array.from({ length: 9 }, (_, index) => [`V${index}`, 'x'.repeat(100_000)]),
    )
    const body = {
      name: 'huge',
      imageName: 'mcp-example',
      imageVersion: '1.0.0',
      environmentVariables,
    }
    expect(await gateway.api('POST', '/adapters', body)).toMatchObject({
      status: 413,
      body: { code: 'environment_too_large' },
    })
    expect((await gateway.api('GET', '/adapters/huge')).status).toBe(404)
  })
})

test('names of 52 characters and an environment of just the limit work', async () => {
  const name = `n${'-0123456789'.repeat(5)}`.slice(0, 52)
  const environmentVariables = Object.fromEntries(
    Array.from({ length: 7 }, (_, index) => [`V${index}`, 'x'.repeat(100_000)]),
  )
  await create({ name, environmentVariables })
  await healthy(name)
  expect(await (await McpSession.open(endpoint(name))).call('where_am_i')).toBe(`${name}-0`)
  await gateway.api('DELETE', `/adapters/${name}`)
})

test('fifty adapters created, changed and deleted at once leave nothing behind', async () => {
  const names = Array.from({ length: 50 }, (_, index) => `many-${index}`)
  const ours = async (): Promise<StatefulSet[]> =>
    (await namespace.list<StatefulSet>('/apis/apps/v1', 'statefulsets')).filter(({ metadata }) =>
      metadata?.name?.startsWith('many-'),
    )
  const all = async (method: string, body: object | undefined, expected: number): Promise<void> => {
    const path = (name: string): string => (method === 'POST' ? '/adapters' : `/adapters/${name}`)
    const answers = await Promise.all(
      names.map((name) =>
        gateway.api(
          method,
          path(name),
          body === undefined ? undefined : { ...body, ...(method === 'POST' ? { name } : {}) },
        ),
      ),
    )
    expect(answers.map(({ status }) => status)).toEqual(names.map(() => expected))
  }
  const [createdMs] = await timed(async () => {
    await all('POST', { imageName: 'contract-server', imageVersion: '1.0.0' }, 201)
    await namespace.eventually(async () => ((await ours()).length === 50 ? true : undefined))
  })
  const [changedMs] = await timed(async () => {
    await all('PATCH', { environmentVariables: { A: 'b' } }, 200)
    await namespace.eventually(async () => {
      const changed = (await ours()).filter(
        ({ metadata }) => metadata?.annotations?.['adapter/generation'] === '2',
      )
      return changed.length === 50 ? true : undefined
    })
  })
  const [readyMs] = await timed(() =>
    Promise.all(
      names.map((name) =>
        gateway.untilStatus(name, ({ replicaStatus }) => replicaStatus === 'Healthy', 240_000),
      ),
    ),
  )
  const [deletedMs] = await timed(async () => {
    await all('DELETE', undefined, 204)
    await namespace.eventually(async () => {
      const pods = (await namespace.list<Pod>('/api/v1', 'pods')).filter(({ metadata }) =>
        metadata?.name?.startsWith('many-'),
      )
      return pods.length === 0 && (await ours()).length === 0 ? true : undefined
    })
  })
  figures('50 adapters at once', { createdMs, changedMs, readyMs, deletedMs })
}, 600_000)
