import { describe, expect, test } from 'vitest'
import { converge, type DeclaredResource, type Target } from './converge.ts'
import type { Declaration, DeclaredKind } from './documents.ts'

const prunes = { prune: true, emptyPrunes: false }

function declaration(name: string, value = 1, kind: DeclaredKind = 'adapter'): Declaration {
  return { kind, name, body: { name, value }, adopt: false, file: 'a.yaml', line: 1 }
}

/** Keeps resources in memory, and fails for the name `bad`. */
class MemoryTarget implements Target {
  readonly resources = new Map<string, { readonly kind: DeclaredKind; readonly value: unknown }>()
  readonly acts: string[] = []

  async *declared(): AsyncIterable<DeclaredResource> {
    for (const [name, { kind }] of this.resources) yield { kind, name, file: 'a.yaml' }
  }

  async apply({ kind, name, body }: Declaration) {
    if (name === 'bad') throw new Error('The name is bad.')
    const { value } = body
    const before = this.resources.get(name)
    if (before?.value === value) return 'unchanged' as const
    if (before !== undefined && before.kind !== kind) throw new Error('The name is taken.')

    this.acts.push(`apply ${name}`)
    this.resources.set(name, { kind, value })
    return before === undefined ? ('created' as const) : ('changed' as const)
  }

  async remove({ name }: DeclaredResource): Promise<void> {
    this.acts.push(`remove ${name}`)
    this.resources.delete(name)
  }
}

async function states(
  target: Target,
  declarations: readonly Declaration[],
  { mistakes = 0, ...options } = { ...prunes, mistakes: 0 },
): Promise<Record<string, string>> {
  const wrong = Array.from({ length: mistakes }, () => ({ file: 'b', line: 1, detail: 'bad' }))
  const outcomes = await converge({ declarations, mistakes: wrong }, target, options)
  return Object.fromEntries(outcomes.map(({ name, state }) => [name, state]))
}

describe('A target that follows files', () => {
  test('a target gets each declared resource, keeps it, changes it and loses it', async () => {
    const target = new MemoryTarget()

    expect(await states(target, [declaration('one'), declaration('two')])).toEqual({
      one: 'created',
      two: 'created',
    })
    expect(await states(target, [declaration('one'), declaration('two', 2)])).toEqual({
      one: 'unchanged',
      two: 'changed',
    })
    expect(await states(target, [declaration('two', 2)])).toEqual({
      one: 'removed',
      two: 'unchanged',
    })
    expect([...target.resources.keys()]).toEqual(['two'])
  })

  test('one failed resource does not hold up the rest, and the outcome says why', async () => {
    const target = new MemoryTarget()
    const declarations = [declaration('bad'), declaration('good')]

    const outcomes = await converge({ declarations, mistakes: [] }, target, prunes)
    expect(outcomes).toMatchObject([
      { name: 'bad', state: 'failed', reason: 'The name is bad.', line: 1 },
      { name: 'good', state: 'created' },
    ])
  })

  test('a target loses a resource before its name moves to another kind', async () => {
    const target = new MemoryTarget()
    await states(target, [declaration('one')])

    await states(target, [declaration('one', 2, 'tool')])
    expect(target.acts).toEqual(['apply one', 'remove one', 'apply one'])
    expect(target.resources.get('one')?.kind).toBe('tool')
  })

  test.each([
    ['a document cannot be read', [declaration('two')], { ...prunes, mistakes: 1 }],
    ['no document is left', [], { ...prunes, mistakes: 0 }],
    ['prune is off', [declaration('two')], { prune: false, emptyPrunes: true, mistakes: 0 }],
  ])(
    'a target keeps resources that no document declares when %s',
    async (_when, declarations, options) => {
      const target = new MemoryTarget()
      await states(target, [declaration('one')])

      expect(await states(target, declarations, options)).toMatchObject({ one: 'kept' })
      expect(target.resources.has('one')).toBe(true)
    },
  )

  test('a target loses everything when no document is left and emptyPrunes is on', async () => {
    const target = new MemoryTarget()
    await states(target, [declaration('one')])

    expect(await states(target, [], { prune: true, emptyPrunes: true, mistakes: 0 })).toEqual({
      one: 'removed',
    })
  })

  test('a target is not touched after the signal has aborted', async () => {
    const target = new MemoryTarget()
    const declarations = [declaration('one')]

    const outcomes = await converge({ declarations, mistakes: [] }, target, {
      ...prunes,
      signal: AbortSignal.abort(),
    })
    expect(outcomes).toEqual([])
    expect(target.acts).toEqual([])
  })
})
