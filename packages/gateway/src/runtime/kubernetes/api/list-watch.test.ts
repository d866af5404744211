import { pino } from 'pino'
import { afterEach, describe, expect, test } from 'vitest'
import { KubernetesError, type ApiRequest, type KubernetesObject } from './api.ts'
import { ListWatch } from './list-watch.ts'

const object = (name: string, version: string, uid = name): KubernetesObject => ({
  metadata: { name, uid, resourceVersion: version },
})
const event = (type: string, value: unknown): string =>
  `${JSON.stringify({ type, object: value })}\n`

/** The pieces of a watch, and its end. */
interface Script {
  readonly pieces: readonly string[]
  readonly ending?: 'ends' | Error
}

const silence = Object.assign(new Error('Body Timeout Error'), { code: 'UND_ERR_BODY_TIMEOUT' })

/**
 * An API server that answers by a script and then stays silent. A real server does not do these
 * things on command.
 */
class ScriptedApi {
  readonly lists: { items: KubernetesObject[]; version: string }[]
  readonly watches: (Script | Error)[]
  /** The versions from which clients asked for watches. */
  readonly asked: (string | undefined)[] = []
  listed = 0

  constructor(lists: ScriptedApi['lists'], watches: ScriptedApi['watches']) {
    this.lists = lists
    this.watches = watches
  }

  async list<T>(): Promise<{ items: T[]; version: string }> {
    const answer = this.lists[Math.min(this.listed, this.lists.length - 1)]
    this.listed += 1
    return answer as unknown as { items: T[]; version: string }
  }

  async stream(
    _path: string,
    signal: AbortSignal,
    { query }: ApiRequest,
  ): Promise<AsyncIterable<Buffer>> {
    this.asked.push(query?.['resourceVersion'] as string | undefined)
    const script = this.watches.shift() ?? { pieces: [] }
    if (script instanceof Error) throw script
    return (async function* () {
      for (const piece of script.pieces) yield Buffer.from(piece)
      if (script.ending instanceof Error) throw script.ending
      if (script.ending === 'ends') return
      await new Promise((_resolve, reject) =>
        signal.addEventListener('abort', () => reject(new Error('aborted'))),
      )
    })()
  }
}

function versionOf(object: KubernetesObject | undefined): string {
  return object?.metadata?.resourceVersion ?? '-'
}

describe('a list that is watched', () => {
  let open: ListWatch<KubernetesObject> | undefined
  afterEach(() => open?.[Symbol.asyncDispose]())

  const follow = async (api: ScriptedApi, retry = { firstMs: 1, maxMs: 5 }): Promise<string[]> => {
    const seen: string[] = []
    open = await ListWatch.open<KubernetesObject>({
      api,
      path: '/things',
      log: pino({ level: 'silent' }),
      retry,
      changed: (before, now) =>
        seen.push(`${(now ?? before)?.metadata?.name} ${versionOf(before)}→${versionOf(now)}`),
    })
    return seen
  }

  test('a watched list reports its contents and changes, however they are cut', async () => {
    const text =
      event('ADDED', object('ü', '2')) +
      event('MODIFIED', object('a', '3')) +
      event('DELETED', object('ü', '4'))
    const bytes = Buffer.from(text)
    const api = new ScriptedApi([{ items: [object('a', '1')], version: '1' }], [])
    api.stream = async (_path, signal) => {
      if (api.asked.push(undefined) > 1) return new ScriptedApi([], []).stream('', signal, {})
      return (async function* () {
        for (let at = 0; at < bytes.length; at += 1) yield bytes.subarray(at, at + 1)
      })()
    }
    const seen = await follow(api)
    await expect.poll(() => seen).toEqual(['a -→1', 'ü -→2', 'a 1→3', 'ü 2→-'])
    expect(open?.get('a')?.metadata?.resourceVersion).toBe('3')
    expect([...(open?.values() ?? [])]).toHaveLength(1)
  })

  test('a watch that ends, breaks, is refused or falls silent continues in place', async () => {
    const api = new ScriptedApi(
      [{ items: [object('a', '1')], version: '10' }],
      [
        {
          pieces: [event('MODIFIED', object('a', '11')), event('BOOKMARK', object('', '20'))],
          ending: 'ends',
        },
        { pieces: [event('MODIFIED', object('a', '21'))], ending: new Error('ECONNRESET') },
        new KubernetesError(503, { message: 'etcd has no leader' }),
        { pieces: [], ending: silence },
        { pieces: [event('MODIFIED', object('a', '22'))] },
      ],
    )
    const seen = await follow(api)
    await expect.poll(() => seen).toEqual(['a -→1', 'a 1→11', 'a 11→21', 'a 21→22'])
    expect(api.asked).toEqual(['10', '20', '21', '21', '21'])
    expect(api.listed).toBe(1)
  })

  test.each<[string, ScriptedApi['watches'][number]]>([
    [
      'refuses with 410',
      new KubernetesError(410, { message: 'too old resource version', reason: 'Expired' }),
    ],
    [
      'says 410 in the watch',
      {
        pieces: [
          event('ERROR', {
            kind: 'Status',
            code: 410,
            reason: 'Expired',
            message: 'too old resource version',
          }),
        ],
      },
    ],
    [
      'does not know the version yet',
      new KubernetesError(504, { message: 'Too large resource version: 10, current: 5' }),
    ],
    ['sends what cannot be read', { pieces: ['{"type":"ADDED","obj\n'] }],
  ])(
    'a list starts again when the server %s, and reports the difference',
    async (_what, failing) => {
      const api = new ScriptedApi(
        [
          {
            items: [
              object('same', '1'),
              object('changed', '2'),
              object('gone', '3'),
              object('replaced', '4', 'first'),
            ],
            version: '10',
          },
          {
            items: [
              object('same', '1'),
              object('changed', '12'),
              object('new', '13'),
              object('replaced', '4', 'second'),
            ],
            version: '20',
          },
        ],
        [failing, { pieces: [event('MODIFIED', object('new', '21'))] }],
      )
      const seen = await follow(api)
      await expect
        .poll(() => seen.slice(4))
        .toEqual(['changed 2→12', 'new -→13', 'replaced 4→4', 'gone 3→-', 'new 13→21'])
      expect(api.asked).toEqual(['10', '20'])
    },
  )

  test('a list keeps its contents while the server is away, and is quiet when closed', async () => {
    const api = new ScriptedApi(
      [{ items: [object('a', '1')], version: '10' }],
      Array<Error>(5).fill(new Error('ECONNREFUSED')),
    )
    const seen = await follow(api)
    await expect.poll(() => api.asked).toHaveLength(6)
    expect(seen).toEqual(['a -→1'])
    expect(open?.get('a')).toBeDefined()
  })

  test.each<[string, ScriptedApi['watches'][number]]>([
    [
      'refuses with 410',
      new KubernetesError(410, { message: 'too old resource version', reason: 'Expired' }),
    ],
    ['sends what cannot be read', { pieces: ['<html>\n'] }],
  ])('a list waits between attempts when the server %s every time', async (_what, failing) => {
    const api = new ScriptedApi(
      [{ items: [object('a', '1')], version: '10' }],
      Array<typeof failing>(1000).fill(failing),
    )
    const begun = performance.now()
    await follow(api, { firstMs: 40, maxMs: 40 })
    await expect.poll(() => api.asked.length, { interval: 1 }).toBeGreaterThanOrEqual(6)
    // Each wait lasts at least half of the back-off.
    expect(performance.now() - begun).toBeGreaterThan(90)
  })

  test('the opener of a list learns that the first reading failed', async () => {
    const api = new ScriptedApi([], [])
    api.list = async () => {
      throw new KubernetesError(403, {
        message: 'pods is forbidden: User "x" cannot list resource "pods"',
        reason: 'Forbidden',
      })
    }
    await expect(follow(api)).rejects.toThrow(/cannot list resource "pods".*docs\/kubernetes\.md/)
  })
})
