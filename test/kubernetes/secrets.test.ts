import type { Pod, Secret } from 'kubernetes-types/core/v1.js'
import { GatewayProcess } from '@mcp-gateway/testkit'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestNamespace } from './fixtures/cluster.ts'
import { McpSession } from './fixtures/traffic.ts'

let namespace: TestNamespace
/** A namespace with Secrets of which the gateway may see two, and nothing else. */
let vault: TestNamespace
let gateway: GatewayProcess
beforeAll(async () => {
  ;[namespace, vault] = await Promise.all([TestNamespace.open(), TestNamespace.open()])
  const { kubernetes } = namespace.options({
    kubeconfig: await namespace.kubeconfigOf(await looker()),
  }).settings
  const opened = {
    database: { namespace: vault.name, secret: 'database.internal', requiredRoles: ['mcp.dev'] },
    later: { namespace: vault.name, requiredRoles: ['mcp.dev'] },
  }
  await put('database.internal', { user: 'me', password: 'one' })
  gateway = await GatewayProcess.start({
    config: { runtime: { kind: 'kubernetes', kubernetes }, secrets: { kubernetes: opened } },
  })
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await namespace[Symbol.asyncDispose]()
  await vault[Symbol.asyncDispose]()
})

/** An account with all rights where workloads are, and the rights of docs/secrets.md elsewhere. */
async function looker(): Promise<string> {
  const rules = [
    {
      apiGroups: [''],
      resources: ['secrets'],
      resourceNames: ['database.internal', 'later'],
      verbs: ['list', 'watch'],
    },
  ]
  await namespace.create('/api/v1', 'serviceaccounts', { metadata: { name: 'looker' } })
  await namespace.allow('looker', [{ apiGroups: ['*'], resources: ['*'], verbs: ['*'] }])
  await vault.allow('looker', rules, namespace)
  return 'looker'
}

const put = (name: string, stringData: Record<string, string>) =>
  vault.create('/api/v1', 'secrets', { metadata: { name }, stringData })
const healthy = (name: string) =>
  gateway.untilStatus(name, ({ replicaStatus }) => replicaStatus === 'Healthy', 120_000)
const refers = (name: string, key?: string) => ({
  secretRef: { name, source: 'kubernetes', ...(key === undefined ? {} : { key }) },
})
const adapter = (name: string, more: object) =>
  gateway.api('POST', '/adapters', { name, imageName: 'echo', imageVersion: '1.0.0', ...more })
const variable = async (workload: string, name: string): Promise<string> => {
  const secret = await namespace.get<Secret>('/api/v1', `secrets/${workload}-environment`)
  return Buffer.from(secret?.data?.[name] ?? '', 'base64').toString()
}

describe('a Secret of the cluster', () => {
  test('workloads get an opened Secret, roll with it, and stop without it', async () => {
    expect(
      (
        await adapter('reader', {
          environmentVariables: { PASSWORD: refers('database', 'password') },
        })
      ).status,
    ).toBe(201)

    await healthy('reader')
    expect(await variable('reader', 'PASSWORD')).toBe('one')
    expect((await gateway.api('GET', '/adapters/reader')).body).toMatchObject({
      environmentVariables: {
        PASSWORD: { secretRef: { name: 'database', key: 'password', source: 'kubernetes' } },
      },
    })

    const before = await namespace.get<Pod>('/api/v1', 'pods/reader-0')
    await vault.patch('/api/v1', 'secrets/database.internal', { stringData: { password: 'two' } })
    await namespace.eventually(async () => {
      const now = await namespace.get<Pod>('/api/v1', 'pods/reader-0')
      return now !== undefined && now.metadata?.uid !== before?.metadata?.uid ? true : undefined
    })
    expect(await variable('reader', 'PASSWORD')).toBe('two')

    await healthy('reader')

    await vault.delete('/api/v1', 'secrets/database.internal')
    const { conditions } = await gateway.untilStatus(
      'reader',
      ({ replicas }) => replicas.length === 0,
      120_000,
    )
    expect(conditions[0]).toMatchObject({
      reason: 'SecretMissing',
      message: "The variable PASSWORD has no value. The cluster has no Secret 'database' now.",
    })

    await put('database.internal', { user: 'me', password: 'three' })
    await healthy('reader')
    expect(await variable('reader', 'PASSWORD')).toBe('three')
  })

  test('a Secret is a credential for a server, with its present value', async () => {
    const credential = { header: 'X-Key', ...refers('database', 'user') }
    expect((await adapter('knocking', { credential })).status).toBe(201)
    const session = await McpSession.open(`${gateway.origin}/adapters/knocking/mcp`)
    const received = async (): Promise<string | undefined> =>
      /"x-key":"([^"]*)"/.exec(await session.structured('where'))?.[1]
    expect(await received()).toBe('me')
    await vault.patch('/api/v1', 'secrets/database.internal', { stringData: { user: 'you' } })
    await expect.poll(received).toBe('you')
  })

  test.each([
    ['that is not opened, though it is there', refers('other'), 'secret_not_found'],
    ['of the gateway’s own', refers('reader-environment'), 'secret_not_found'],
    ['that is opened and is not there', refers('later'), 'secret_key_not_found'],
    ['without a key where there are several', refers('database'), 'secret_key_not_found'],
  ])('a reference to %s is refused', async (_what, reference, code) => {
    await put('other', { value: 'x' }).catch(() => undefined)
    expect(await adapter('refused', { environmentVariables: { A: reference } })).toMatchObject({
      status: 400,
      body: { errors: [{ pointer: '/environmentVariables/A/secretRef', code }] },
    })
  })

  test('a Secret that the gateway may not see keeps it from starting', async () => {
    const { kubernetes } = namespace.options({
      kubeconfig: await namespace.kubeconfigOf('looker'),
    }).settings
    const config = {
      runtime: { kind: 'kubernetes', kubernetes },
      secrets: { kubernetes: { forbidden: { namespace: vault.name } } },
    }
    await expect(GatewayProcess.start({ config })).rejects.toThrow(
      /cannot list resource "secrets".*docs\/kubernetes\.md/,
    )
  })
})
