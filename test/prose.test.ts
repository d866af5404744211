import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))
const prose = ['*.md', '*.ts', '*.js', '*.mjs', '*.json', '*.yaml', '*.yml', '*.sh']

function listed(...patterns: string[]): string[] {
  const names = execFileSync('git', ['ls-files', '-z', ...patterns], {
    cwd: root,
    encoding: 'utf8',
  })
  return names.split('\0').filter((name) => name !== '' && existsSync(join(root, name)))
}

function filesWith(pattern: RegExp): string[] {
  return listed(...prose)
    .filter((name) => name !== 'package-lock.json')
    .filter((name) => pattern.test(readFileSync(join(root, name), 'utf8')))
}

const source = 'packages/gateway/src'

/** Source paths in backticks and targets of links that lead nowhere, as `document: path`. */
function deadPaths(document: string): string[] {
  const text = readFileSync(join(root, document), 'utf8')
  const here = dirname(document)
  const isThere = (folders: string[], path: string): boolean =>
    folders.some((folder) => existsSync(join(root, folder, path)))

  const quoted = [...text.matchAll(/`([^`\s]+)`/g)]
    .map(([, path = '']) => path)
    .filter(
      (path) => looksLikeSource(path) && !isThere(['', source, here, 'deploy/kubernetes'], path),
    )
  const linked = [...text.matchAll(/\]\(([^)#\s]+)[^)]*\)/g)]
    .map(([, path = '']) => path)
    .filter((path) => !path.includes(':') && !isThere([here], path))

  return [...quoted, ...linked].map((path) => `${document}: ${path}`)
}

/** Patterns, placeholders in capitals and folders of other programs (`.vscode`) are not paths. */
function looksLikeSource(path: string): boolean {
  return (
    /^[a-z][\w.-]*(?:\/[\w.-]+)+\/?$/.test(path) &&
    !/(?:^|\/)[A-Z]+(?:$|\/)/.test(path) &&
    (/\.(?:ts|js|mjs|md|sh|ya?ml)$/.test(path) || ofTopFolder.test(path))
  )
}

const ofTopFolder = /^(?:packages|deploy|docs|openapi|samples|scripts)\//

/** Lines that are too long, as `document:line`. Tables, titles and code keep their lines. */
function wideLines(document: string): string[] {
  const text = readFileSync(join(root, document), 'utf8')
  const prose = text.replaceAll(/^ *```[\s\S]*?^ *```/gm, (code) => code.replaceAll(/./g, ''))
  return prose
    .split('\n')
    .flatMap((line, index) => (line.length > 100 && !/^[|#]/.test(line) ? [index + 1] : []))
    .map((number) => `${document}:${number}`)
}

/** The comments of a source file, each as one text. Directives of tools are none. */
function commentsOf(file: string): string[] {
  const text = readFileSync(join(root, file), 'utf8')
  const blocks = [...text.matchAll(/^[ \t]*\/\*\*?([\s\S]*?)\*\//gm)]
  const lines = [...text.matchAll(/(?:^[ \t]*\/\/ ?.*\n)+/gm)]
  return [
    ...blocks.map(([, block = '']) => block.replaceAll(/^\s*\* ?/gm, '')),
    ...lines.map(([group]) => group.replaceAll(/^[ \t]*\/\/ ?/gm, '')),
  ]
    .map((comment) => comment.trim())
    .filter((comment) => !/^(?:oxlint-|eslint-|@ts-)/.test(comment))
}

/** Comments that break a rule of docs/style.md, as `file: comment`. */
function commentsThat(breakRule: (comment: string) => boolean): string[] {
  return listed('*.ts', '*.js', '*.mjs').flatMap((file) =>
    commentsOf(file)
      .filter(breakRule)
      .map((comment) => `${file}: ${comment}`),
  )
}

/** Names of tests, each as `file: name`. Names of groups are labels, and need no subject. */
function testNames(): { readonly file: string; readonly name: string }[] {
  return listed('*.test.ts', '*-contract.ts').flatMap((file) => {
    const text = readFileSync(join(root, file), 'utf8')
    const names = [
      ...text.matchAll(/\btest(?:\.\w+)*\(\s*(['"`])(.+?)\1,/g),
      ...text.matchAll(/\)\(\s*(['"`])(.+?)\1,\s*(?:async )?\(/g),
    ]
    return names.map(([, , name = '']) => ({ file, name }))
  })
}

describe('The text of this repository', () => {
  test('no name of a test lacks its subject', () => {
    const names = testNames()
    const noSubjects =
      'of to that what whether whoever whose without with and but ' +
      'is are was has have does do may can cannot never not'
    const lacks = new RegExp(`^(?:${noSubjects.split(' ').join('|')})\\b`, 'i')
    expect(names.length).toBeGreaterThan(1000)
    expect(names.filter(({ name }) => lacks.test(name))).toEqual([])
  })

  test('no comment opens with a noun clause', () => {
    const opener = /^(?:Of|That|What|Whether|Who|Whoever|Whom|Whose)\b/
    expect(commentsThat((comment) => opener.test(comment))).toEqual([])
  })

  test('no comment has above forty words before its tags', () => {
    const words = (comment: string): number =>
      (comment.split(/^@/m)[0] ?? '').trim().split(/\s+/).length
    expect(commentsThat((comment) => words(comment) > 40)).toEqual([])
  })

  test('no text says “cannot” in two words', () => {
    expect(filesWith(/\bcan\s+not\b/i)).toEqual([])
  })

  test('the prose of documents has at most 100 columns', () => {
    expect(listed('*.md').flatMap(wideLines)).toEqual([])
  })

  test('documents name only files that exist', () => {
    const documents = listed('*.md')
    expect(documents).toContain('ARCHITECTURE.md')
    expect(documents.flatMap(deadPaths)).toEqual([])
  })
})
