import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { checkArguments, splitArguments } from './arguments.ts'

describe('arguments', () => {
  test.each<[string, string[]]>([
    ['-y @azure/mcp@latest server start', ['-y', '@azure/mcp@latest', 'server', 'start']],
    [
      '--prerelease=allow --from git+https://github.com/azure-ai-foundry/mcp-foundry.git ' +
        'run-azure-ai-foundry-mcp',
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
  ])('the text %s is split as a shell does', (text, words) => {
    expect(splitArguments(text)).toEqual(words)
  })

  test('quoted arguments come back as they were', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'grapheme' })), (words) => {
        const singly = words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ')
        const doubly = words.map((word) => `"${word.replaceAll(/["\\$`]/g, '\\$&')}"`).join('\t')
        expect(splitArguments(singly)).toEqual(words)
        expect(splitArguments(doubly)).toEqual(words)
      }),
    )
  })

  test.each([`it's`, '"', 'a \\'])('the text %s is refused', (text) => {
    expect(() => splitArguments(text)).toThrow(/never closed|escapes nothing/)
  })

  test('many, long and empty arguments are allowed, also with line breaks', () => {
    const many = Array.from({ length: 500 }, () => 'a'.repeat(5000))
    expect(() => checkArguments('npx', [...many, '', 'a\nb'])).not.toThrow()
  })

  test('arguments that the system cannot pass on are refused, and not repeated', () => {
    expect(() => checkArguments('npx', ['x'.repeat(128 * 1024)])).toThrow(
      /^argument 1 has 131072 bytes; at most 131071 are allowed$/,
    )
    expect(() => checkArguments('npx', ['hunter2\0'])).toThrow(
      /^argument 1 holds the character NUL$/,
    )
    expect(() => checkArguments('', [])).toThrow(/the command is empty/)
  })
})
