import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { checkArguments, splitArguments } from './arguments.ts'

describe('arguments', () => {
  test.each<[string, string[]]>([
    ['-y @azure/mcp@latest server start', ['-y', '@azure/mcp@latest', 'server', 'start']],
    [
      '--prerelease=allow --from git+https://github.com/azure-ai-foundry/mcp-foundry.git run-azure-ai-foundry-mcp',
      [
        '--prerelease=allow',
        '--from',
        'git+https://github.com/azure-ai-foundry/mcp-foundry.git',
        'run-azure-ai-foundry-mcp',
      ],
    ],
    [`a 'b c' "d \\"e\\" $HOME" f\\ g`, ['a', 'b c', 'd "e" $HOME', 'f g']],
    [`--json='{"a":"b"}' ''`, ['--json={"a":"b"}', '']],
    ['  \t ', []],
    ['# not a comment', ['#', 'not', 'a', 'comment']],
  ])('%s is split as a shell does', (text, words) => {
    expect(splitArguments(text)).toEqual(words)
  })

  test('what is quoted comes back as it was', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'grapheme' })), (words) => {
        const singly = words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ')
        const doubly = words.map((word) => `"${word.replaceAll(/["\\$`]/g, '\\$&')}"`).join('\t')
        expect(splitArguments(singly)).toEqual(words)
        expect(splitArguments(doubly)).toEqual(words)
      }),
    )
  })

  test.each([`it's`, '"', 'a \\'])('%s is refused', (text) => {
    expect(() => splitArguments(text)).toThrow(/never closed|escapes nothing/)
  })

  test('the limits of the original hold', () => {
    expect(() =>
      checkArguments(
        'npx',
        Array.from({ length: 65 }, () => 'a'),
      ),
    ).toThrow(/65 arguments/)
    expect(() => checkArguments('npx', ['a'.repeat(513)])).toThrow(/argument 1 has 513/)
    expect(() => checkArguments('npx', [''])).toThrow(/argument 1 has 0/)
    expect(() => checkArguments('np\nx', [])).toThrow(/the command holds a line break/)
    expect(() =>
      checkArguments(
        'npx',
        Array.from({ length: 64 }, () => 'a'.repeat(512)),
      ),
    ).not.toThrow()
  })
})
