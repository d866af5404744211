import { expect, test } from 'vitest'
import { lastWords } from './last-words.ts'

const ofNode = `node:internal/modules/cjs/loader:1424
  throw err;
  ^

Error: Cannot find module '/srv/node_modules/keytar/build/Release/keytar.node'
Require stack:
- /srv/node_modules/keytar/lib/keytar.js
- /srv/node_modules/server/dist/auth.js
- /srv/node_modules/server/dist/index.js
    at Module._resolveFilename (node:internal/modules/cjs/loader:1421:15)
    at Module._load (node:internal/modules/cjs/loader:1059:27) {
  code: 'MODULE_NOT_FOUND',
  requireStack: [
    '/srv/node_modules/keytar/lib/keytar.js'
  ]
}

Node.js v24.22.3`

const ofNpm = `npm error code E404
npm error 404 Not Found - GET https://registry.npmjs.org/nope - Not found
npm error 404
npm error 404 Note that you can also install from a
npm error 404 tarball, folder, http url, or git folder.
npm error A complete log of this run can be found in: /tmp/.npm/_logs/1.log`

const ofBridge = [
  ...ofNode
    .split('\n')
    .map((stderr) => JSON.stringify({ level: 'info', pid: 7, stderr, msg: 'server' })),
  JSON.stringify({ level: 'warn', reason: 'The server exited with code 1.', msg: 'ended' }),
  'mcp-bridge gives up: The server exited with code 1.',
].join('\n')

test.each([
  ['Node.js', ofNode, /^Error: Cannot find module '.*keytar\.node' \| Require stack: \| - /],
  [
    'Python',
    'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\n    import x\n' +
      "ModuleNotFoundError: No module named 'x'",
    /^Traceback .* \| ModuleNotFoundError: No module named 'x'$/,
  ],
  [
    'Java',
    'Exception in thread "main" java.lang.IllegalStateException: no token\n' +
      '\tat a.B.c(B.java:1)\n\t... 4 more',
    /^Exception in thread "main" java\.lang\.IllegalStateException: no token$/,
  ],
  [
    'Go',
    'panic: no token\n\ngoroutine 1 [running]:\nmain.main()\n\t/a/b.go:5 +0x1\nexit status 2\nmore',
    /^panic: no token \| goroutine 1 \[running\]: \| more$/,
  ],
  ['npm', ofNpm, /^npm error code E404 \| npm error 404 Not Found - GET \S+/],
  ['a bridge with a log of JSON', ofBridge, /^Error: Cannot find .* \| mcp-bridge gives up: /],
])('the last words of %s have the line that names the error', (_what, text, expected) => {
  const words = lastWords(text.split('\n'))

  expect(words).toMatch(expected)
  expect(words).not.toMatch(/requireStack|"level"| at |Node\.js v/)
})

test('the last words of other programs are their last three lines', () => {
  expect(lastWords(['one', 'two', '', 'three', '{"level":30}', 'out of luck'])).toBe(
    'three | {"level":30} | out of luck',
  )
  expect(lastWords(['  indented alone'])).toBe('indented alone')
  expect(lastWords([])).toBe('')
})

test('the last words are short, however much a program wrote', () => {
  const lines = Array.from({ length: 100 }, () => `Error: ${'x'.repeat(10_000)}`)

  expect(lastWords(lines).length).toBeLessThanOrEqual(600)
})

test('the last words repeat nothing, though a bridge tries again and repeats its reason', () => {
  const missing = "The command 'uvx' does not exist."
  const lines = [missing, missing, `mcp-bridge gives up: ${missing}`, missing, `  ${missing}`]

  expect(lastWords(lines)).toBe(`mcp-bridge gives up: ${missing}`)
})
