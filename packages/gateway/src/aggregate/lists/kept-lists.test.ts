import { describe, expect, test, vi } from 'vitest'
import { GatewayError } from '../../core/errors.ts'
import type { Adapter } from '../../core/resource.ts'
import type { KeptLists as Kept } from '../../core/virtual-servers/virtual-server.ts'
import { KeptLists } from './kept-lists.ts'
import type { MemberSnapshot } from './member-lists.ts'

const adapter = (uid: string): Adapter => ({ name: 'a', uid }) as Adapter
const snapshot = (title: string): MemberSnapshot => ({
  title,
  instructions: undefined,
  completes: false,
  lists: {
    tools: { items: [{ key: 'x', json: '{"name":"x"}' }], mistakes: [] },
    prompts: { items: [], mistakes: [] },
    resources: { items: [], mistakes: [] },
    templates: { items: [], mistakes: [] },
  },
})

/** A store of one record that keeps the rules of `Collection`. */
function storeOfOne() {
  let record: Kept | undefined
  const failed = vi.fn<(error: unknown) => void>()
  const kept = new KeptLists({
    store: {
      get: async () => record,
      create: async (created) => {
        if (record !== undefined) throw new GatewayError('name_taken')
        record = created
      },
      replace: async (replaced, version) => {
        if (record?.version !== version) throw new GatewayError('precondition_failed')
        record = replaced
      },
      delete: async () => {
        record = undefined
      },
    },
    failed,
    now: () => 0,
  })
  return { kept, failed, stored: () => record }
}

describe('kept lists', () => {
  test('the lists that were written last are read by a later process', async () => {
    const { kept, stored } = storeOfOne()
    kept.write(adapter('u1'), snapshot('one'))
    kept.write(adapter('u1'), snapshot('two'))
    await vi.waitFor(() => expect(stored()?.version).toBe(2))
    expect(await kept.read(adapter('u1'))).toMatchObject({ title: 'two' })
  })

  test('the same lists are written once', async () => {
    const { kept, stored } = storeOfOne()
    kept.write(adapter('u1'), snapshot('one'))
    await vi.waitFor(() => expect(stored()).toBeDefined())
    kept.write(adapter('u1'), snapshot('one'))
    await new Promise((resolve) => setTimeout(resolve, 5))
    expect(stored()?.version).toBe(1)
  })

  test('the lists of an earlier adapter of the same name are not read', async () => {
    const { kept, stored } = storeOfOne()
    kept.write(adapter('u1'), snapshot('one'))
    await vi.waitFor(() => expect(stored()).toBeDefined())
    expect(await kept.read(adapter('u2'))).toBeUndefined()
    kept.write(adapter('u2'), snapshot('two'))
    await vi.waitFor(() => expect(stored()?.uid).toBe('u2'))
    await kept.forget('a')
    expect(stored()).toBeUndefined()
  })

  test('a store that fails is reported, and stops nothing', async () => {
    const failed = vi.fn<(error: unknown) => void>()
    const broken = async (): Promise<never> => {
      throw new GatewayError('store_unavailable')
    }
    const store = { get: broken, create: broken, replace: broken, delete: broken }
    const kept = new KeptLists({ store, failed, now: () => 0 })
    expect(await kept.read(adapter('u1'))).toBeUndefined()
    kept.write(adapter('u1'), snapshot('one'))
    await vi.waitFor(() => expect(failed).toHaveBeenCalledTimes(2))
  })
})
