import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Table } from './table.ts'

test('a table holds what a Map would hold, whatever the ids look like', () => {
  const step = fc.tuple(
    fc.constantFrom('set', 'delete', 'get'),
    fc.constantFrom('1', '2', '__proto__', 'constructor', '', '"a"', '4294967296'),
    fc.nat(),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const table = new Table<number>()
      const model = new Map<string, number>()
      for (const [what, id, value] of steps) {
        if (what === 'set') {
          table.set(id, value)
          model.set(id, value)
        } else if (what === 'delete') expect(table.delete(id)).toBe(model.delete(id))
        else expect(table.get(id)).toBe(model.get(id))
        expect(table.size).toBe(model.size)
      }
      expect(table.keys().toSorted()).toEqual([...model.keys()].toSorted())
      const ascending = (a: number, b: number): number => a - b
      expect(table.values().toSorted(ascending)).toEqual([...model.values()].toSorted(ascending))
      table.clear()
      expect([table.size, table.keys()]).toEqual([0, []])
    }),
  )
})
