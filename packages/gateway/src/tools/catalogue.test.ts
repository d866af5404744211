import { describe, expect, test } from 'vitest'
import type { Principal } from '../core/principal.ts'
import type { McpTool } from '../core/resource.ts'
import { Catalogue } from './catalogue.ts'
import type { SourceChange, ToolSource } from './source.ts'

const principal: Principal = { id: 'a', issuer: 'test', name: 'a', roles: [] }

/** A source of tools by name, whose description tells whose they are. */
class Listed implements ToolSource {
  readonly listeners = new Set<(change: SourceChange) => void>()
  readonly #tools: readonly McpTool[]

  constructor(label: string, names: readonly string[]) {
    this.#tools = names.map((name) => ({ name, description: label, inputSchema: { type: 'object' } }))
  }

  list(_principal: Principal, after: string): Iterable<McpTool> {
    return this.#tools.filter(({ name }) => name > after)
  }

  find(_principal: Principal, name: string) {
    const definition = this.#tools.find((tool) => tool.name === name)
    return definition === undefined ? undefined : { definition, declaredHeaders: [], call: async () => new Map<string, string>() }
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

  test('is one list in order, page by page, with the earlier source where two have one name', () => {
    const seen: string[] = []
    let after = ''
    const sizes: number[] = []
    for (;;) {
      const { tools, next } = catalogue.page(principal, after, 2)
      sizes.push(tools.length)
      seen.push(...tools.map(({ name, description }) => `${name} ${description}`))
      if (next === undefined) break
      after = next
    }
    expect(seen).toEqual(['a first', 'b second', 'c first', 'd second', 'e first'])
    expect(sizes).toEqual([2, 2, 1])
    expect(catalogue.page(principal, '', 5).next).toBeUndefined()
    expect(catalogue.find(principal, 'c')?.definition.description).toBe('first')
    expect(catalogue.find(principal, 'd')?.definition.description).toBe('second')
    expect(catalogue.find(principal, 'x')).toBeUndefined()
  })

  test('tells of the changes of each, until nobody listens', () => {
    let told = 0
    const end = catalogue.onChange(() => (told += 1))
    for (const source of [first, second]) for (const listener of source.listeners) listener({ concerns: () => true })
    expect(told).toBe(2)
    end()
    expect([first.listeners.size, second.listeners.size]).toEqual([0, 0])
  })
})
