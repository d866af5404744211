import { describe, expect, test } from 'vitest'
import { readDeclarations, readDeclarationsInTurns } from './documents.ts'

function read(text: string) {
  return readDeclarations([{ path: 'a.yaml', text }])
}

describe('A file that declares resources', () => {
  test('a file gives each document with its place, and the rest as the body', () => {
    const text = [
      '# Servers of the team.',
      'kind: Adapter',
      'name: files',
      'imageName: mcp-proxy',
      '---',
      'apiVersion: mcp-gateway/v1',
      'kind: tool',
      'name: weather',
      'adopt: true',
    ].join('\n')

    expect(read(text)).toEqual({
      declarations: [
        {
          kind: 'adapter',
          name: 'files',
          body: { name: 'files', imageName: 'mcp-proxy' },
          adopt: false,
          file: 'a.yaml',
          line: 2,
        },
        {
          kind: 'tool',
          name: 'weather',
          body: { name: 'weather' },
          adopt: true,
          file: 'a.yaml',
          line: 6,
        },
      ],
      mistakes: [],
    })
  })

  test('a file may be JSON', () => {
    expect(read('{"kind":"Adapter","name":"files"}').declarations).toHaveLength(1)
  })

  test('a file may hold nothing but comments', () => {
    expect(read('# Nothing yet.\n---\n')).toEqual({ declarations: [], mistakes: [] })
    expect(read('')).toEqual({ declarations: [], mistakes: [] })
  })

  test.each([
    ['no kind', 'name: files', /^kind must be/],
    ['another kind', 'kind: Secret\nname: x', /^kind must be/],
    ['the kind of a prototype', 'kind: constructor\nname: x', /^kind must be/],
    ['no name', 'kind: Adapter', /^name must be/],
    ['a list', '- kind: Adapter', /must be a map/],
    ['another version', 'apiVersion: v9\nkind: Adapter\nname: x', /^apiVersion must be/],
    ['an adopt that is no boolean', 'kind: Adapter\nname: x\nadopt: "yes"', /^adopt must be/],
    ['a key twice', 'kind: Adapter\nname: x\nname: y', /unique/],
    ['no YAML', 'kind: [Adapter', /./],
    ['an anchor that is not there', 'kind: Adapter\nname: *there', /./],
  ])('a file with %s declares nothing, and its mistake has a place', (_what, text, detail) => {
    const { declarations, mistakes } = read(text)

    expect(declarations).toEqual([])
    expect(mistakes).toEqual([
      { file: 'a.yaml', line: expect.any(Number), detail: expect.stringMatching(detail) },
    ])
  })

  test('a file with one bad document still gives the good ones', () => {
    const { declarations, mistakes } = read('kind: Adapter\nname: one\n---\nkind: Nothing\n')

    expect(declarations.map(({ name }) => name)).toEqual(['one'])
    expect(mistakes.map(({ line }) => line)).toEqual([4])
  })

  test('aliases that multiply cannot fill the memory', () => {
    const levels = Array.from(
      { length: 12 },
      (_, n) => `l${n + 1}: &l${n + 1} [${Array.from({ length: 9 }, () => `*l${n}`).join(', ')}]`,
    )
    const text = ['kind: Adapter', 'name: x', 'l0: &l0 [a]', ...levels].join('\n')

    const { declarations, mistakes } = read(text)
    expect(declarations).toEqual([])
    expect(mistakes).toHaveLength(1)
  })
})

describe('A file of strangers', () => {
  test('a file of a hundred thousand keys is read, and a repeated key is found', () => {
    const keys = Array.from({ length: 100_000 }, (_, n) => `k${n}: 1`)
    const text = ['kind: Adapter', 'name: x', ...keys].join('\n')
    expect(read(text).declarations).toHaveLength(1)

    expect(read(`${text}\nk77777: 2`)).toEqual({
      declarations: [],
      mistakes: [{ file: 'a.yaml', line: 100_003, detail: 'Map keys must be unique.' }],
    })
  })

  test.each([
    ['a key twice on another level', 'kind: Adapter\nname: x\na:\n  - b: 1\n    b: 2'],
    ['more aliases than are looked for', `kind: Adapter\nname: &n x\na: [${'*n,'.repeat(101)}]`],
    [
      'levels beyond the stack',
      `kind: Adapter\nname: x\na: ${'['.repeat(30_000)}${']'.repeat(30_000)}`,
    ],
  ])('a file with %s declares nothing', (_what, text) => {
    expect(read(text)).toMatchObject({ declarations: [], mistakes: [{ file: 'a.yaml' }] })
  })

  test('the reader lets other work run between two files', async () => {
    const turns: string[] = []
    const files = ['one', 'two'].map((name) => ({
      path: `${name}.yaml`,
      text: `kind: Tool\nname: ${name}`,
    }))
    const pause = async (): Promise<void> => void turns.push('turn')

    expect((await readDeclarationsInTurns(files, pause)).declarations).toHaveLength(2)
    expect(turns).toHaveLength(2)
  })
})

describe('A name in two documents', () => {
  test('a name in two documents declares nothing, and the mistake names both places', () => {
    const files = [
      { path: 'a.yaml', text: 'kind: Adapter\nname: one' },
      { path: 'b/c.yaml', text: 'kind: Tool\nname: one\n---\nkind: Tool\nname: two' },
    ]

    const { declarations, mistakes } = readDeclarations(files)
    expect(declarations.map(({ name }) => name)).toEqual(['two'])
    expect(mistakes).toEqual([
      {
        file: 'b/c.yaml',
        line: 1,
        detail: "'one' is declared in a.yaml:1 too. Keep one of the two.",
      },
    ])
  })
})
