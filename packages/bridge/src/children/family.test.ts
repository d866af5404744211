import { expect, test } from 'vitest'
import { Family, type Entry } from './family.ts'

const root = 100
const mark = 'MCPGW_CHILD=x'

/** A machine with these processes: id, parent, session, start. */
function setUp(...processes: readonly (readonly [number, number, number, number])[]) {
  const table = new Map<number, Entry>()
  const marked = new Set<number>()
  const signalled: number[] = []
  const start = (pid: number, parent: number, session: number, at: number): void =>
    void table.set(pid, { parent, session, start: at })
  for (const each of processes) start(...each)
  const family = new Family(root, mark, {
    start: (pid) => table.get(pid)?.start,
    table: () => new Map(table),
    isMarked: (pid, wanted) => wanted === mark && marked.has(pid),
    signal: (pid) => void signalled.push(pid),
  })
  return {
    start,
    marked,
    family,
    end: (pid: number) => table.delete(pid),
    signalled: (): number[] => {
      family.signal('SIGTERM')
      return signalled.splice(0).toSorted((a, b) => a - b)
    },
  }
}

test('a family is the children of a process, their children, its session and the marked', () => {
  const { marked, signalled } = setUp(
    [root, 1, root, 10],
    [101, root, 101, 11],
    [102, 101, 102, 12],
    [103, 1, root, 13],
    [104, 1, 104, 14],
    [105, 1, 105, 15],
  )
  marked.add(104)
  expect(signalled()).toEqual([root, 101, 102, 103, 104])
})

test('a process that was found stays found when its parent has ended', () => {
  const { family, end, start, signalled } = setUp([root, 1, root, 10], [101, root, 101, 11])
  family.look()
  end(root)
  end(101)
  start(101, 1, 101, 11)
  expect(signalled()).toEqual([101])
})

test('a stranger with a reused id is left alone, with all that it started', () => {
  const { family, end, start, signalled } = setUp([root, 1, root, 10], [101, root, 101, 11])
  family.look()
  end(101)
  start(101, 1, 101, 20)
  start(102, 101, 101, 21)
  expect(signalled()).toEqual([root])
})

test('a stranger with the id of the process itself is left alone, with its session', () => {
  const { family, end, start, signalled } = setUp([root, 1, root, 10])
  family.look()
  end(root)
  start(root, 1, root, 20)
  start(101, root, root, 21)
  expect(signalled()).toEqual([])
})

test('a process that is older than its head and carries its mark is no family', () => {
  const { marked, signalled } = setUp([root, 1, root, 10], [101, 1, 101, 9])
  marked.add(101)
  expect(signalled()).toEqual([root])
})
