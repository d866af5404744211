import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Declaration, Target } from '@mcp-gateway/declared'
import { describe, expect, onTestFinished, test } from 'vitest'
import { Source, type News } from './source.ts'

const term = new AbortController().signal

/** Answers `created` to all requests, and notes them. */
class NotedTarget implements Target {
  readonly applied: string[] = []
  problem: string | undefined

  async *declared() {}

  async apply({ name }: Declaration) {
    this.applied.push(name)
    if (this.problem !== undefined) throw new Error(this.problem)
    return 'created' as const
  }

  async remove(): Promise<void> {}
}

function open(text: string) {
  const folder = mkdtempSync(join(tmpdir(), 'mcpgw-source-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  writeFileSync(join(folder, 'a.yaml'), text)

  const [target, trial, news] = [new NotedTarget(), new NotedTarget(), [] as News[]]
  const problems = new Map<string, string>()
  const source = new Source({
    settings: { folder, prune: true, emptyPrunes: false, pollSeconds: 5 },
    target,
    trial,
    problemOf: (name) => problems.get(name),
    report: (each) => news.push(each),
    now: () => new Date(0),
  })
  const write = (more: string): void => writeFileSync(join(folder, 'a.yaml'), more)
  return { source, target, trial, news, problems, write }
}

describe('A source of files at a gateway that does not write', () => {
  test('a source compares, writes nothing and reports nothing', async () => {
    const { source, target, trial, news } = open('kind: Adapter\nname: one')

    await source.look(undefined)
    expect([target.applied, trial.applied, news]).toEqual([[], ['one'], []])
    expect(source.status).toMatchObject({ phase: 'Pending', counts: { pending: 1 } })
  })

  test('a source shows the problem that the writing gateway has met', async () => {
    const { source, problems } = open('kind: Adapter\nname: one')
    problems.set('one', 'The quota is used up.')

    await source.look(undefined)
    expect(source.status).toMatchObject({
      phase: 'Degraded',
      documents: [{ name: 'one', state: 'failed', reason: 'The quota is used up.' }],
    })
  })

  test('a source writes as soon as its term begins', async () => {
    const { source, target } = open('kind: Adapter\nname: one')
    await source.look(undefined)

    await source.look(term)
    expect(target.applied).toEqual(['one'])
    expect(source.status.phase).toBe('Applied')
  })
})

describe('A source of files at the gateway that writes', () => {
  test('a source compares again only when the files have changed', async () => {
    const { source, target, write } = open('kind: Adapter\nname: one')
    await source.look(term)
    await source.look(term)
    expect(target.applied).toEqual(['one'])

    write('kind: Adapter\nname: two')
    await source.look(term)
    expect(target.applied).toEqual(['one', 'two'])
  })

  test('a source reports each change, and each problem once while it lasts', async () => {
    const { source, target, news, write } = open('kind: Adapter\nname: one')
    target.problem = 'No.'
    await source.look(term)
    write('kind: Adapter\nname: one # again')
    await source.look(term)
    expect(news.map(({ kind }) => kind)).toEqual(['failed'])
    expect([...source.problems]).toEqual([['one', 'No.']])

    target.problem = undefined
    write('kind: Adapter\nname: one')
    await source.look(term)
    expect(news.map(({ kind }) => kind)).toEqual(['failed', 'changed'])
    expect([...source.problems]).toEqual([])
  })

  test('a source writes nothing once its term is over', async () => {
    const { source, target } = open('kind: Adapter\nname: one')

    await source.look(AbortSignal.abort())
    expect(target.applied).toEqual([])
  })
})
