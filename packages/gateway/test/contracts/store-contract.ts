import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Holdings } from '../../src/core/access.ts'
import type { ApiKey } from '../../src/core/api-key.ts'
import type { BoundSessions } from '../../src/core/virtual-servers/bound-sessions.ts'
import { GatewayError } from '../../src/core/errors.ts'
import type { Resource, Stored } from '../../src/core/resource.ts'
import type { Secret } from '../../src/core/secret.ts'
import type { KeptLists, VirtualServer } from '../../src/core/virtual-servers/virtual-server.ts'
import type { Change, Collection, Space, Store } from '../../src/store/store.ts'
import {
  sampleApiKey,
  sampleLists,
  sampleResource,
  sampleSecret,
  sampleServer,
  sampleSessions,
} from './samples.ts'

/** A collection of a store, and a maker of its members. */
interface Subject<R extends Stored> {
  readonly of: (store: Store) => Pick<Collection<R>, 'get' | 'list' | 'delete' | 'watch'> & {
    create(resource: R): Promise<void>
    replace(resource: R, expectedVersion: number): Promise<void>
  }
  readonly kinds: readonly R['kind'][]
  readonly sample: (name: string, changes?: Partial<Stored<R['kind']>>) => R
  /** Gives the next version, with a text in it. */
  readonly next: (resource: R, text: string) => R
}

const resources: Subject<Resource> = {
  of: (store) => store,
  kinds: ['adapter', 'tool'],
  sample: sampleResource,
  next: (resource, description) => ({
    ...resource,
    version: resource.version + 1,
    spec: { ...resource.spec, description },
  }),
}

const apiKeys: Subject<ApiKey> = {
  of: (store) => store.apiKeys,
  kinds: ['api-key'],
  sample: sampleApiKey,
  next: (key, name) => ({ ...key, version: key.version + 1, spec: { ...key.spec, name } }),
}

const secrets: Subject<Secret> = {
  of: (store) => store.secrets,
  kinds: ['secret'],
  sample: sampleSecret,
  next: (secret, value) => ({
    ...secret,
    version: secret.version + 1,
    spec: { ...secret.spec, values: { value: { value } } },
  }),
}

const servers: Subject<VirtualServer> = {
  of: (store) => store.servers,
  kinds: ['server'],
  sample: sampleServer,
  next: (server, description) => ({
    ...server,
    version: server.version + 1,
    spec: { ...server.spec, description },
  }),
}

const lists: Subject<KeptLists> = {
  of: (store) => store.lists,
  kinds: ['lists'],
  sample: sampleLists,
  next: (record, snapshot) => ({ ...record, version: record.version + 1, spec: { snapshot } }),
}

const sessions: Subject<BoundSessions> = {
  of: (store) => store.sessions,
  kinds: ['sessions'],
  sample: sampleSessions,
  next: (record, id) => ({
    ...record,
    version: record.version + 1,
    spec: { sessions: [[id, 0]], until: 0 },
  }),
}

interface Backend {
  reset(): Promise<void>
  open(): Promise<Store>
  /** Deletes a record as another process would, and all that the store keeps of earlier changes. */
  lose(name: string): Promise<void>
  /** The number of random sequences; fewer where opening is dear. */
  readonly runs?: number
}

const codeOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => 'done',
    (error: { code?: unknown }) => error.code,
  )

/**
 * The duties of every store driver. `open` gives a store on the same data each time, `reset` new
 * data.
 */
export function describeStore(driver: string, backend: Backend): void {
  describe(`the store ${driver}`, () => {
    let store: Store
    beforeEach(async () => {
      await backend.reset()
      store = await backend.open()
    })
    afterEach(() => store[Symbol.asyncDispose]())

    test('collections have name spaces of their own, and watchers of their own', async () => {
      const stop = new AbortController()
      const told: string[] = []
      const watching = (async () => {
        for await (const { kind, name } of store.apiKeys.watch(stop.signal))
          told.push(`${kind} ${name}`)
      })()
      await using other = await backend.open()
      const adapter = sampleResource('one')
      const key = sampleApiKey('one')
      await other.create(adapter)
      await other.apiKeys.create(key)
      await other.delete('one', adapter.uid, 1)
      expect(await store.apiKeys.get('one')).toEqual(key)
      await other.apiKeys.delete('one', key.uid, 1)
      await other.apiKeys.create(sampleApiKey('last'))
      await expect.poll(() => told).toContain('api-key last')
      expect(told.filter((each) => !each.startsWith('api-key '))).toEqual([])
      stop.abort()
      await watching
    })

    test('an update that keeps its version is guarded from lost updates too', async () => {
      const key = sampleApiKey('one')
      await store.apiKeys.create(key)
      await store.apiKeys.replace({ ...key, spec: { ...key.spec, lastUsedAt: 'now' } }, 1)
      await store.apiKeys.replace({ ...key, version: 2 }, 1)
      expect(
        await codeOf(
          store.apiKeys.replace({ ...key, spec: { ...key.spec, lastUsedAt: 'later' } }, 1),
        ),
      ).toBe('precondition_failed')
    })

    test('a record is read back as it was, also after the store is opened again', async () => {
      const resource = sampleResource('one', {
        spec: {
          ...sampleResource('x').spec,
          description: 'Zoë 🦊 \u0000 " \\ 1e400',
          environmentVariables: { A: { value: 'x'.repeat(300_000), secret: true } },
        },
      })
      await store.create(resource)
      expect(await store.get('one')).toEqual(resource)
      await store[Symbol.asyncDispose]()
      store = await backend.open()
      expect(await store.get('one')).toEqual(resource)
    })

    test('a name is taken once, whatever the kind', async () => {
      await store.create(sampleResource('one'))
      expect(await codeOf(store.create(sampleResource('one', { kind: 'tool' })))).toBe('name_taken')
    })

    test('admission counts what the owner has of every kind, and nothing of others', async () => {
      const owned = (
        name: string,
        replicaCount: number,
        changes: Partial<Resource> = {},
      ): Resource =>
        sampleResource(name, { ...changes, spec: { ...sampleResource('x').spec, replicaCount } })
      await store.create(owned('one', 2))
      await store.create(owned('two', 3, { kind: 'tool' }))
      await store.create(owned('other-id', 9, { owner: { id: 'bob', issuer: 'development' } }))
      await store.create(
        owned('other-issuer', 9, { owner: { id: 'alice', issuer: 'https://idp.example' } }),
      )
      const seen: Holdings[] = []
      const changed = { ...owned('one', 7), uid: (await store.get('one'))?.uid ?? '', version: 2 }
      await store.replace(changed, 1, (held) => void seen.push(held))
      await store.create(owned('three', 1), (held) => void seen.push(held))
      await store.create(
        owned('first', 1, { owner: { id: 'carol', issuer: 'development' } }),
        (held) => void seen.push(held),
      )
      expect(seen).toEqual([
        { adapters: 0, tools: 1, replicas: 3 },
        { adapters: 1, tools: 1, replicas: 10 },
        { adapters: 0, tools: 0, replicas: 0 },
      ])
    })

    test('a write that is not admitted changes nothing and throws the reason', async () => {
      const refuse = (): never => {
        throw new GatewayError('quota_exceeded')
      }
      const resource = sampleResource('one')
      expect(await codeOf(store.create(resource, refuse))).toBe('quota_exceeded')
      expect(await store.get('one')).toBeUndefined()
      await store.create(resource)
      expect(await codeOf(store.replace(resources.next(resource, 'new'), 1, refuse))).toBe(
        'quota_exceeded',
      )
      expect(await store.get('one')).toEqual(resource)
    })

    test('many writers in several processes never exceed the admitted room', async () => {
      const other = await backend.open()
      const room = (held: Holdings): void => {
        if (held.adapters >= 5) throw new GatewayError('quota_exceeded')
      }
      const outcomes = await Promise.all(
        Array.from({ length: 40 }, (_, index) =>
          codeOf((index % 2 === 0 ? store : other).create(sampleResource(`r${index}`), room)),
        ),
      )
      expect(outcomes.filter((outcome) => outcome === 'done')).toHaveLength(5)
      expect(outcomes.filter((outcome) => outcome === 'quota_exceeded')).toHaveLength(35)
      await other[Symbol.asyncDispose]()
    })

    test('admission counts the stored bytes of the owner and of all together', async () => {
      const sizeOf = (record: object): number => Buffer.byteLength(JSON.stringify(record))
      const described = (name: string, description: string, id = 'alice'): Resource =>
        sampleResource(name, {
          owner: { id, issuer: 'development' },
          spec: { ...sampleResource('x').spec, description },
        })
      const [one, two, other] = [
        described('one', 'Zoë 🦊'.repeat(100)),
        described('two', '-'),
        described('other', '\u0000', 'bob'),
      ]
      for (const resource of [one, two, other]) await store.create(resource)
      const seen: Space[] = []
      const note = (_held: unknown, space: Space): void => void seen.push(space)

      const larger = { ...one, version: 2, spec: { ...one.spec, description: 'x'.repeat(5000) } }
      await store.replace(larger, 1, note)
      const smaller = { ...larger, version: 3, spec: { ...one.spec, description: '' } }
      await store.replace(smaller, 2, note)
      await store.replace({ ...smaller, version: 4, owner: other.owner }, 3, note)
      await store.create(described('new', 'n', 'carol'), note)
      await store.delete('two', two.uid, 1)
      await store.create(described('last', 'l'), note)

      const given = { ...smaller, version: 4, owner: other.owner }
      expect(seen).toEqual([
        {
          bytes: sizeOf(larger),
          bytesBefore: sizeOf(one),
          ownerBytes: sizeOf(two),
          totalBytes: sizeOf(two) + sizeOf(other),
        },
        {
          bytes: sizeOf(smaller),
          bytesBefore: sizeOf(larger),
          ownerBytes: sizeOf(two),
          totalBytes: sizeOf(two) + sizeOf(other),
        },
        {
          bytes: sizeOf(given),
          bytesBefore: sizeOf(smaller),
          ownerBytes: sizeOf(other),
          totalBytes: sizeOf(two) + sizeOf(other),
        },
        {
          bytes: sizeOf(described('new', 'n', 'carol')),
          bytesBefore: 0,
          ownerBytes: 0,
          totalBytes: sizeOf(given) + sizeOf(two) + sizeOf(other),
        },
        {
          bytes: sizeOf(described('last', 'l')),
          bytesBefore: 0,
          ownerBytes: 0,
          totalBytes: sizeOf(given) + sizeOf(other) + sizeOf(described('new', 'n', 'carol')),
        },
      ])
    })

    test('admission counts the bytes of secrets and API keys too', async () => {
      const sizeOf = (record: object): number => Buffer.byteLength(JSON.stringify(record))
      const key = sampleApiKey('one')
      const secret = sampleSecret('one')
      await store.apiKeys.create(key)
      await store.secrets.create(secret)
      const seen: Space[] = []
      const note = (_held: unknown, space: Space): void => void seen.push(space)
      await store.apiKeys.create(sampleApiKey('two'), note)
      await store.secrets.create(sampleSecret('two'), note)
      await store.secrets.replace({ ...secret, version: 2 }, 1, note)
      expect(seen).toEqual([
        {
          bytes: sizeOf(sampleApiKey('two')),
          bytesBefore: 0,
          ownerBytes: sizeOf(key),
          totalBytes: sizeOf(key),
        },
        {
          bytes: sizeOf(sampleSecret('two')),
          bytesBefore: 0,
          ownerBytes: sizeOf(secret),
          totalBytes: sizeOf(secret),
        },
        {
          bytes: sizeOf({ ...secret, version: 2 }),
          bytesBefore: sizeOf(secret),
          ownerBytes: sizeOf(sampleSecret('two')),
          totalBytes: sizeOf(sampleSecret('two')),
        },
      ])
    })

    test('a page of a list ends at its bound of bytes, and has one record at least', async () => {
      const large = { ...sampleResource('x').spec, description: 'x'.repeat(10_000) }
      for (const name of ['a', 'b', 'c', 'd'])
        await store.create(sampleResource(name, { spec: large }))
      const namesOf = async (query: object): Promise<string[]> =>
        (await store.list(query)).map(({ name }) => name)
      expect(await namesOf({ bytes: 1 })).toEqual(['a'])
      expect(await namesOf({ bytes: 15_000 })).toEqual(['a', 'b'])
      expect(await namesOf({ bytes: 15_000, after: 'b', limit: 1 })).toEqual(['c'])
      expect(await namesOf({ bytes: 1_000_000 })).toEqual(['a', 'b', 'c', 'd'])
    })

    test('admission counts how many other API keys the owner has', async () => {
      const seen: number[] = []
      for (const [name, id] of [
        ['one', 'alice'],
        ['two', 'alice'],
        ['three', 'bob'],
      ] as const)
        await store.apiKeys.create(
          sampleApiKey(name, { owner: { id, issuer: 'development' } }),
          (held) => void seen.push(held),
        )
      expect(seen).toEqual([0, 1, 0])
    })

    test('a tool name is taken once over all processes, and is free after its tool', async () => {
      const other = await backend.open()
      const tool = (name: string, toolName: string): Resource =>
        sampleResource(name, {
          kind: 'tool',
          spec: {
            ...sampleResource('x').spec,
            toolDefinition: { tool: { name: toolName } },
          } as Resource['spec'],
        })
      const first = tool('one', 'get_weather')
      await store.create(first)
      expect(await codeOf(other.create(tool('two', 'get_weather')))).toBe('name_taken')
      const third = tool('three', 'Get_Weather')
      await other.create(third)
      expect(await codeOf(other.replace({ ...third, version: 2, spec: first.spec }, 1))).toBe(
        'name_taken',
      )
      await store.delete('one', first.uid, 1)
      await other.replace({ ...third, version: 2, spec: first.spec }, 1)
      const outcomes = await Promise.all(
        Array.from({ length: 20 }, async (_, index) =>
          codeOf((index % 2 === 0 ? store : other).create(tool(`race-${index}`, 'raced'))),
        ),
      )
      expect(outcomes.filter((outcome) => outcome === 'done')).toHaveLength(1)
      await other[Symbol.asyncDispose]()
    })

    test('lists are ordered by code point, paged and filtered by kind', async () => {
      for (const name of ['b', 'a-1', 'a', 'c', 'a0'])
        await store.create(sampleResource(name, { kind: name === 'c' ? 'tool' : 'adapter' }))
      const names = (resources: readonly Resource[]): string[] => resources.map(({ name }) => name)
      expect(names(await store.list({}))).toEqual(['a', 'a-1', 'a0', 'b', 'c'])
      expect(names(await store.list({ kind: 'adapter', after: 'a', limit: 2 }))).toEqual([
        'a-1',
        'a0',
      ])
      expect(names(await store.list({ kind: 'tool' }))).toEqual(['c'])
    })
  })
  describeCollection(`store ${driver}, adapters and tools`, backend, resources)
  describeCollection(`store ${driver}, API keys`, backend, apiKeys)
  describeCollection(`store ${driver}, secrets`, backend, secrets)
  describeCollection(`store ${driver}, virtual servers`, backend, servers)
  describeCollection(`store ${driver}, lists of members`, backend, lists)
  describeCollection(`store ${driver}, notes of sessions`, backend, sessions)
}

function describeCollection<R extends Stored>(
  title: string,
  backend: Backend,
  { of, kinds, sample, next }: Subject<R>,
): void {
  describe(title, () => {
    let store: Store
    const here = (): Collection<R> => of(store)
    const [kind] = kinds as [R['kind']]
    beforeEach(async () => {
      await backend.reset()
      store = await backend.open()
    })
    afterEach(() => store[Symbol.asyncDispose]())

    test('the store returns undefined for a name that does not exist', async () => {
      expect(await here().get('none')).toBeUndefined()
    })

    test('exactly one of fifty creators of one name succeeds', async () => {
      const other = await backend.open()
      const outcomes = await Promise.all(
        Array.from({ length: 50 }, (_, index) =>
          codeOf((index % 2 === 0 ? here() : of(other)).create(sample('contested'))),
        ),
      )
      await other[Symbol.asyncDispose]()
      expect(outcomes.filter((outcome) => outcome === 'done')).toHaveLength(1)
      expect(outcomes.filter((outcome) => outcome === 'name_taken')).toHaveLength(49)
    })

    test('no update is lost: of writers that read the same version, one may write', async () => {
      const resource = sample('one')
      await here().create(resource)
      const outcomes = await Promise.all(
        Array.from({ length: 20 }, (_, index) =>
          codeOf(here().replace(next(resource, String(index)), 1)),
        ),
      )
      expect(outcomes.filter((outcome) => outcome === 'done')).toHaveLength(1)
      expect(outcomes.filter((outcome) => outcome === 'precondition_failed')).toHaveLength(19)
      expect((await here().get('one'))?.version).toBe(2)
    })

    test('a stale writer does not touch a name that was deleted and created again', async () => {
      const first = sample('one')
      await here().create(first)
      await here().delete('one', first.uid, 1)
      const second = sample('one')
      await here().create(second)
      expect(await codeOf(here().replace(next(first, 'stale'), 1))).toBe('not_found')
      expect(await codeOf(here().delete('one', first.uid, 1))).toBe('not_found')
      expect(await here().get('one')).toEqual(second)
    })

    test('a deletion needs the present version', async () => {
      const resource = sample('one')
      await here().create(resource)
      await here().replace(next(resource, 'new'), 1)
      expect(await codeOf(here().delete('one', resource.uid, 1))).toBe('precondition_failed')
      await here().delete('one', resource.uid, 2)
      expect(await here().get('one')).toBeUndefined()
      expect(await codeOf(here().delete('one', resource.uid, 2))).toBe('not_found')
    })

    test('a watcher gets every change in order per name, and never loses the last', async () => {
      const stop = new AbortController()
      const seen: Change<R>[] = []
      const changes = here().watch(stop.signal)[Symbol.asyncIterator]()
      let pending = changes.next()
      let resource = sample('one')
      await here().create(resource)
      for (let index = 0; index < 100; index += 1) {
        const updated = next(resource, String(index))
        await here().replace(updated, resource.version)
        resource = updated
      }
      await here().create(sample('two'))
      await here().delete('one', resource.uid, resource.version)
      while (seen.at(-1)?.name !== 'one' || seen.at(-1)?.resource !== undefined) {
        const result = await pending
        if (result.done === true) break
        seen.push(result.value)
        pending = changes.next()
      }
      stop.abort()
      const versions = seen
        .filter(({ name, resource: changed }) => name === 'one' && changed !== undefined)
        .map(({ resource: changed }) => changed?.version ?? 0)
      expect(versions).toEqual(versions.toSorted((a, b) => a - b))
      expect(seen.some(({ name }) => name === 'two')).toBe(true)
      expect((await pending).done).toBe(true)
    })

    test('a watcher sees changes of another process', async () => {
      const stop = new AbortController()
      const changes = here().watch(stop.signal)[Symbol.asyncIterator]()
      const first = changes.next()
      const other = await backend.open()
      const resource = sample('elsewhere')
      await of(other).create(resource)
      expect((await first).value).toMatchObject({
        name: 'elsewhere',
        resource: { uid: resource.uid },
      })
      const second = changes.next()
      await of(other).delete('elsewhere', resource.uid, 1)
      expect((await second).value).toEqual({ name: 'elsewhere', kind })
      stop.abort()
      await other[Symbol.asyncDispose]()
    })

    test('a watcher that missed more changes than are kept hears of every deletion', async () => {
      const names = ['goes', 'stays'] as const
      for (const name of names) await here().create(sample(name))
      await using other = await backend.open()
      const stop = new AbortController()
      const view = new Set<string>(names)
      const following = (async () => {
        for await (const { name, resource } of here().watch(stop.signal)) {
          if (resource === undefined) view.delete(name)
          else view.add(name)
        }
      })()

      await backend.lose('goes')
      await of(other).create(sample('later'))
      await expect.poll(() => [...view]).toEqual(['stays', 'later'])
      stop.abort()
      await following
    })

    test('any sequence of calls, by either opening, does what a plain map would do', async () => {
      const call = fc.record({
        name: fc.constantFrom('a', 'a-1', 'a0', 'b', 'c'),
        op: fc.constantFrom('create', 'create', 'replace', 'replace', 'delete', 'list', 'reopen'),
        kind: fc.constantFrom(...kinds),
        text: fc.string({ unit: 'binary' }),
        // The version and uid that a caller expects are mostly right.
        versionOff: fc.constantFrom(0, 0, 0, 0, -1, 1, 7),
        uid: fc.constantFrom('present', 'present', 'present', 'present', 'another'),
        second: fc.boolean(),
        limit: fc.option(fc.nat(4), { nil: undefined }),
      })
      await fc.assert(
        fc.asyncProperty(fc.array(call, { maxLength: 40 }), async (calls) => {
          await store[Symbol.asyncDispose]()
          await backend.reset()
          store = await backend.open()
          let other = await backend.open()
          const model = new Map<string, R>()
          const sorted = (): R[] =>
            [...model.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1))
          try {
            for (const { name, op, kind, text, versionOff, uid: whose, second, limit } of calls) {
              const used = of(second ? other : store)
              const known = model.get(name)
              const uid = whose === 'present' && known !== undefined ? known.uid : randomUUID()
              const version = (known?.version ?? 1) + versionOff
              const refusal =
                known?.uid !== uid
                  ? 'not_found'
                  : versionOff === 0
                    ? undefined
                    : 'precondition_failed'
              if (op === 'create') {
                const made = next(sample(name, { kind, uid, version: 0 }), text)
                expect(await codeOf(used.create(made))).toBe(
                  known === undefined ? 'done' : 'name_taken',
                )
                if (known === undefined) model.set(name, made)
              } else if (op === 'replace') {
                const updated = next({ ...(known ?? sample(name)), uid, version }, text)
                expect(await codeOf(used.replace(updated, version))).toBe(refusal ?? 'done')
                if (refusal === undefined) model.set(name, updated)
              } else if (op === 'delete') {
                expect(await codeOf(used.delete(name, uid, version))).toBe(refusal ?? 'done')
                if (refusal === undefined) model.delete(name)
              } else if (op === 'list') {
                const page = sorted().filter(
                  (resource) => resource.name > name && resource.kind === kind,
                )
                expect(
                  await used.list({ kind, after: name, ...(limit === undefined ? {} : { limit }) }),
                ).toEqual(page.slice(0, limit))
              } else {
                await other[Symbol.asyncDispose]()
                other = await backend.open()
              }
              expect(await of(second ? other : store).get(name)).toEqual(model.get(name))
            }
            expect(await here().list({})).toEqual(sorted())
            expect(await of(other).list({})).toEqual(sorted())
          } finally {
            await other[Symbol.asyncDispose]()
          }
        }),
        { numRuns: backend.runs ?? 25 },
      )
    })

    test('a follower ends up with what is stored after any sequence of changes', async () => {
      const step = fc.record({
        name: fc.constantFrom('a', 'b', 'c'),
        op: fc.constantFrom('write', 'write', 'delete'),
        second: fc.boolean(),
        pause: fc.constantFrom(0, 0, 0, 3, 30),
      })
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 25 }), async (steps) => {
          await store[Symbol.asyncDispose]()
          await backend.reset()
          store = await backend.open()
          await using other = await backend.open()
          const stop = new AbortController()
          const view = new Map<string, number>()
          const following = (async () => {
            for await (const { name, resource } of here().watch(stop.signal)) {
              if (resource === undefined) view.delete(name)
              else view.set(name, resource.version)
            }
          })()
          const model = new Map<string, R>()
          for (const { name, op, second, pause } of steps) {
            const used = of(second ? other : store)
            const known = model.get(name)
            if (op === 'delete') {
              if (known !== undefined) await used.delete(name, known.uid, known.version)
              model.delete(name)
            } else {
              const updated = known === undefined ? sample(name) : next(known, '')
              await (known === undefined
                ? used.create(updated)
                : used.replace(updated, known.version))
              model.set(name, updated)
            }
            if (pause > 0) await sleep(pause)
          }
          const present = new Map([...model.values()].map(({ name, version }) => [name, version]))
          await expect.poll(() => view, { interval: 5 }).toEqual(present)
          stop.abort()
          await following
        }),
        { numRuns: Math.min(15, backend.runs ?? 15) },
      )
    })
  })
}
