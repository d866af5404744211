import { describe, expect, test } from 'vitest'
import type { Principal } from '../core/principal.ts'
import { Catalogue } from './catalogue.ts'
import type { ListedTool, SourceChange, ToolSource } from './source.ts'

const principal: Principal = { id: 'a', issuer: 'test', name: 'a', roles: [] }

/** A source of tools by name. The text of a tool names its source. */
class Listed implements ToolSource {
  readonly listeners = new Set<(change: SourceChange) => void>()
  readonly #label: string
  readonly #tools: readonly ListedTool[]

  constructor(label: string, names: readonly string[]) {
    this.#label = label
    this.#tools = names.map((name) => ({ name, json: label }))
  }

  list(_principal: Principal, after: string): Iterable<ListedTool> {
    return this.#tools.filter(({ name }) => name > after)
  }

  find(_principal: Principal, name: string) {
    if (!this.#tools.some((tool) => tool.name === name)) return undefined
    return {
      declaredHeaders: [{ header: this.#label, path: [] }],
      call: async () => new Map<string, string>(),
    }
  }

  onChange(listener: (change: SourceChange) => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }
}

describe('a catalogue of several sources', () => {
  const first = new Listed('first', ['a', 'c', 'e'])
  const second = new Listed('second', ['b', 'c', 'd'])
  const catalogue = new Catalogue([first, second])

  test('a catalogue is one ordered list, and the earlier source wins a name', () => {
    const seen: string[] = []
    let after = ''
    const sizes: number[] = []
    for (;;) {
      const { tools, next } = catalogue.page(principal, after, 2)
      sizes.push(tools.length)
      seen.push(...tools.map(({ name, json }) => `${name} ${json}`))
      if (next === undefined) break
      after = next
    }
    expect(seen).toEqual(['a first', 'b second', 'c first', 'd second', 'e first'])
    expect(sizes).toEqual([2, 2, 1])
    expect(catalogue.page(principal, '', 5).next).toBeUndefined()
    expect(catalogue.find(principal, 'c')?.declaredHeaders[0]?.header).toBe('first')
    expect(catalogue.find(principal, 'd')?.declaredHeaders[0]?.header).toBe('second')
    expect(catalogue.find(principal, 'x')).toBeUndefined()
  })

  test('a catalogue reports changes of each source, until nobody listens', () => {
    let told = 0
    const end = catalogue.onChange(() => (told += 1))
    for (const source of [first, second])
      for (const listener of source.listeners) listener({ concerns: () => true })
    expect(told).toBe(2)
    end()
    expect([first.listeners.size, second.listeners.size]).toEqual([0, 0])
  })
})
