import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))
const folders = ['packages', 'test']

/** Path and lines of every file that may hold tests. */
const sources = folders.flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => /(\.test|-contract)\.ts$/.test(file) && !/node_modules|dist/.test(file))
    .map((file) => ({
      path: `${folder}/${file}`,
      lines: readFileSync(join(root, folder, file), 'utf8').split('\n'),
    })),
)

interface Named {
  readonly defect: string
  readonly file: string
  readonly sentence: string
}

const table = readFileSync(join(root, 'docs/defects.md'), 'utf8')

/**
 * Every `file: _beginning of a sentence_` of the table; more sentences of a file follow with
 * commas.
 */
const named = table
  .split('\n')
  .filter((line) => /^\| (?:[A-H]|X[A-HK])\d+ /.test(line))
  .flatMap((line): Named[] => {
    const [, defect = '', , tests = ''] = line.split(/(?<!\\)\|/).map((cell) => cell.trim())
    let file = ''
    return [...tests.matchAll(/([a-z0-9/-]+): (?=_)|_((?:[^_]|\b_\b)+)_(?!\w)/g)].flatMap(
      ([, label, sentence]) => {
        if (label !== undefined) file = label
        return sentence === undefined ? [] : [{ defect, file, sentence }]
      },
    )
  })

const escaped = (text: string): string =>
  text.trim().replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`)

test('the table of defects names tests', () => {
  expect(named.length).toBeGreaterThan(100)
})

test('each defect has an id of its own', () => {
  const ids = [...table.matchAll(/^\| ((?:[A-H]|X[A-HK])\d+) /gm)].map(([, id]) => id)
  expect(ids.filter((id, index) => ids.indexOf(id) !== index)).toEqual([])
})

test.each(named)(
  '$defect: there is a test in $file of which it says “$sentence”',
  ({ file, sentence }) => {
    const files = sources.filter(({ path }) =>
      new RegExp(`/${file}(-[a-z-]+)?(\\.test)?\\.ts$`).test(path),
    )
    expect(files.length).toBeGreaterThan(0)
    const told = new RegExp(sentence.replaceAll('`', '').split('…').map(escaped).join('.*'))
    const lines = files.flatMap((each) => each.lines).filter((line) => /['"`]/.test(line))
    expect(lines.some((line) => told.test(line.replaceAll('`', '')))).toBe(true)
  },
)
