import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Bag, ObjectTable, Table, type Slot } from './table.ts'

const ascending = (a: number, b: number): number => a - b

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
      expect(new Map(table.entries())).toEqual(model)
      expect(table.values().toSorted(ascending)).toEqual([...model.values()].toSorted(ascending))
      table.clear()
      expect([table.size, table.keys()]).toEqual([0, []])
    }),
  )
})

test('a table by objects holds what a Map would hold', () => {
  const objects = [{}, {}, {}]
  const step = fc.tuple(
    fc.constantFrom('set', 'delete', 'get', 'clear'),
    fc.constantFrom(...objects),
    fc.nat(),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const table = new ObjectTable<object, number>()
      const model = new Map<object, number>()
      for (const [what, object, value] of steps) {
        if (what === 'set') {
          table.set(object, value)
          model.set(object, value)
        } else if (what === 'delete') expect(table.delete(object)).toBe(model.delete(object))
        else if (what === 'clear') {
          table.clear()
          model.clear()
        } else expect(table.get(object)).toBe(model.get(object))
        expect(table.values().toSorted(ascending)).toEqual([...model.values()].toSorted(ascending))
      }
    }),
  )
})

test('a bag holds what was put in and not taken out, in any order of both', () => {
  const step = fc.tuple(fc.constantFrom('add', 'delete', 'find'), fc.nat({ max: 20 }))
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const bag = new Bag<number>()
      const slots: Slot<number>[] = []
      const model = new Set<Slot<number>>()
      for (const [what, value] of steps) {
        const slot = slots[value % Math.max(slots.length, 1)]
        if (what === 'add') {
          slots.push(bag.add(value))
          model.add(slots.at(-1) as Slot<number>)
        } else if (what === 'delete' && slot !== undefined)
          expect(bag.delete(slot)).toBe(model.delete(slot))
        else if (what === 'find') {
          const found = bag.find((thing) => thing === value)
          const isThere = [...model].some(({ thing }) => thing === value)
          expect([found?.thing, found !== undefined && model.has(found)]).toEqual(
            isThere ? [value, true] : [undefined, false],
          )
        }
        for (const each of slots) expect(bag.has(each)).toBe(model.has(each))
        expect(bag.size).toBe(model.size)
      }
      const things = [...model].map(({ thing }) => thing)
      expect(bag.values().toSorted(ascending)).toEqual(things.toSorted(ascending))
    }),
  )
})
