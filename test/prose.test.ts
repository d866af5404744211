import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))
const prose = ['*.md', '*.ts', '*.js', '*.mjs', '*.json', '*.yaml', '*.yml', '*.sh']

function filesWith(pattern: RegExp): string[] {
  const listed = execFileSync('git', ['ls-files', '-z', ...prose], { cwd: root, encoding: 'utf8' })

  return listed
    .split('\0')
    .filter((name) => name !== '' && name !== 'package-lock.json')
    .filter((name) => pattern.test(readFileSync(`${root}/${name}`, 'utf8')))
}

describe('The text of this repository', () => {
  test('never says “cannot” in two words', () => {
    expect(filesWith(/\bcan\s+not\b/i)).toEqual([])
  })
})
