import { describe, expect, expectTypeOf, test } from 'vitest'
import type { DeclaredTarget } from '../control/resources/declared-target.ts'
import type { ApiKeyRegistry } from '../control/api-keys/api-key-registry.ts'
import type { controlPlane } from '../control/plugin.ts'
import type { Registry } from '../control/resources/registry.ts'
import type { SecretRegistry } from '../control/secrets/secret-registry.ts'
import type { Delivery } from '../proxy/delivery.ts'
import { forward } from '../proxy/forward.ts'
import type { ReadLogs } from '../runtime/permitted-logs.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { permittedCollection, type PermittedStore } from '../store/permitted.ts'
import type { Collection, Store } from '../store/store.ts'
import type { ToolCaller } from '../tools/caller.ts'
import { authorize, authorizePersonal, type Permit } from './permission.ts'
import type { Adapter, Resource, Tool } from './resource.ts'
import type { Secret } from './secret.ts'

/** `npm run check:types` compiles these tests: a short cut that compiles fails there. */
describe('a permit', () => {
  test('an object that looks like a permit is none', () => {
    const adapter = {} as Adapter
    const principal = { id: 'a', issuer: 'b', name: 'a', roles: [] }
    // @ts-expect-error Only `core/permission.ts` makes permits.
    const copied: Permit<'use', Adapter> = { principal, action: 'use', resource: adapter }
    expect(copied).toBeDefined()
  })

  test('a permit is for one action and for one kind of resource', () => {
    expectTypeOf<Permit<'read', Adapter>>().not.toExtend<Permit<'use', Adapter>>()
    expectTypeOf<Permit<'use', Adapter>>().not.toExtend<Permit<'write', Adapter>>()
    expectTypeOf<Permit<'read', Adapter>>().not.toExtend<Permit<'logs', Adapter>>()
    expectTypeOf<Permit<'use', Tool>>().not.toExtend<Permit<'use', Adapter>>()
    expectTypeOf<Permit<'create', 'secret'>>().not.toExtend<Permit<'create', 'adapter'>>()
    expectTypeOf<Permit<'write', Adapter>>().toExtend<Permit<'write', Resource>>()
  })

  test('a request to an adapter or a tool is forwarded only with a permit', () => {
    expectTypeOf(forward).parameter(0).toEqualTypeOf<Permit<'use', Adapter>>()
    expectTypeOf<ConstructorParameters<typeof Delivery>[0]['permit']>().toEqualTypeOf<
      Permit<'use', Adapter>
    >()
    type CallOfTool = Parameters<ToolCaller['call']>[0]
    expectTypeOf<Permit<'read', Tool>>().not.toExtend<CallOfTool>()
    expectTypeOf<Tool>().not.toExtend<CallOfTool>()
  })

  test('the logs of a workload are read only with a permit', () => {
    expectTypeOf<ReadLogs>().parameter(0).toEqualTypeOf<Permit<'logs', Resource>>()
    expectTypeOf<Runtime['logs']>().not.toExtend<ReadLogs>()
    type Given = Parameters<typeof controlPlane>[1]
    expectTypeOf<Given['logs']>().toEqualTypeOf<ReadLogs>()
    expectTypeOf<Given['runtime']>().not.toHaveProperty('logs')
  })

  test('the control plane writes the store only with a permit', () => {
    expectTypeOf<Store>().not.toExtend<PermittedStore>()
    type OptionsOf<T extends new (...given: never[]) => unknown> = ConstructorParameters<T>
    expectTypeOf<OptionsOf<typeof Registry>[1]['store']>().toEqualTypeOf<PermittedStore>()
    expectTypeOf<OptionsOf<typeof ApiKeyRegistry>[0]['store']>().toEqualTypeOf<PermittedStore>()
    expectTypeOf<OptionsOf<typeof SecretRegistry>[0]['store']>().toEqualTypeOf<PermittedStore>()
    expectTypeOf<OptionsOf<typeof DeclaredTarget>[0]['store']>().toEqualTypeOf<PermittedStore>()
    type Secrets = OptionsOf<typeof SecretRegistry>[0]['sealedSecrets']
    expectTypeOf<Collection<Secret>>().not.toExtend<Secrets>()
    type Given = Parameters<typeof controlPlane>[1]
    expectTypeOf<Given['sealedResources']>().not.toHaveProperty('create')
  })

  test('a permit of another action, of another kind or of none does not write', () => {
    const short = (store: PermittedStore, adapter: Adapter, secret: Permit<'create', 'secret'>) => {
      const reading = authorize({ id: 'a', issuer: 'b', name: 'a', roles: [] }, 'read', adapter)
      // @ts-expect-error No permit.
      void store.create(adapter)
      // @ts-expect-error A permit to create a secret creates no adapter.
      void store.create(secret, adapter)
      // @ts-expect-error The right to read is not the right to write.
      void store.replace(reading, adapter)
      // @ts-expect-error The right to read is not the right to delete.
      void store.delete(reading)
      // @ts-expect-error A resource is not the permit for it.
      void store.delete(adapter)
    }
    expect(short).toBeTypeOf('function')
  })
})

test('a permitted write changes the record of its permit, at its version', async () => {
  const calls: unknown[] = []
  const collection: Collection<Secret> = {
    get: async () => undefined,
    list: async () => [],
    create: async (...given) => void calls.push(['create', ...given]),
    replace: async (...given) => void calls.push(['replace', ...given]),
    delete: async (...given) => void calls.push(['delete', ...given]),
    watch: async function* () {},
  }
  const principal = { id: 'a', issuer: 'b', name: 'a', roles: ['maker'] }
  const secret: Secret = {
    kind: 'secret',
    name: 'token',
    uid: 'u1',
    version: 7,
    owner: { id: 'a', issuer: 'b' },
    createdAt: '2026-01-01T00:00:00.000Z',
    lastUpdatedAt: '2026-01-01T00:00:00.000Z',
    spec: { description: '', requiredRoles: [], values: {} },
  }
  const permitted = permittedCollection(collection)

  const creating = authorizePersonal(principal, { creators: () => ['maker'] }, 'secret')
  await permitted.create(creating, secret)
  const writing = authorize(principal, 'write', secret)
  await permitted.replace(writing, { ...secret, version: 8 })
  await permitted.delete(writing)
  await expect(permitted.replace(writing, { ...secret, uid: 'u2' })).rejects.toThrow(
    'The permit is for another record.',
  )

  expect(calls).toEqual([
    ['create', secret, undefined],
    ['replace', { ...secret, version: 8 }, 7, undefined],
    ['delete', 'token', 'u1', 7],
  ])
})
