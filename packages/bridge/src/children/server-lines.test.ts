import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { ServerLines } from './server-lines.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const answer = '{"jsonrpc":"2.0","id":1,"result":{"a":"{"}}'

/** Gives the messages that pass at once, and those that pass once the doubt is over. */
function heard(
  lines: readonly string[],
  sent: readonly string[] = [],
): { readonly at: unknown[]; readonly later: unknown[] } {
  const messages: string[] = []
  const reader = new ServerLines({
    message: (line) => messages.push(Buffer.from(line).toString()),
    noMessage: () => undefined,
    doubtMs: 1000,
  })
  for (const message of sent) reader.sent(Buffer.from(message))
  for (const line of lines) reader.line(Buffer.from(line))
  const at = messages.splice(0).map((message) => JSON.parse(message) as unknown)
  vi.advanceTimersByTime(5000)
  return { at, later: messages.map((message) => JSON.parse(message) as unknown) }
}

const broken = (id: unknown): object => ({
  id,
  error: { code: -32603, message: expect.stringContaining('no JSON') },
})

describe('lines of a server', () => {
  test.each([
    ['words', `Loading {1} of "2"... ${answer}`],
    ['an escape sequence and words', `\u001b[2K\u001b[32mready\u001b[0m ${answer}`],
    ['a time stamp in brackets', `[12:00:01] INFO: ${answer}`],
    ['words after it', `${answer} done in {3} ms`],
    ['an object that is no message', `{"level":"info","id":7} ${answer}`],
    ['braces that never close', `{{ ${answer}`],
  ])('a message with %s before or after it is read', (_what, line) => {
    expect(heard([line]).at).toEqual([JSON.parse(answer)])
  })

  test('two messages on one line are two messages', () => {
    const other = '{"jsonrpc":"2.0","id":2,"result":{}}'
    expect(heard([`${answer}${other}`]).at).toEqual([JSON.parse(answer), JSON.parse(other)])
  })

  test.each([[['{', '  "jsonrpc": "2.0",', '  "id": 1,', '  "result": {', '  }', '}']]])(
    'a message over several lines is read whole',
    (lines) => {
      expect(heard([...lines, answer])).toEqual({
        at: [{ jsonrpc: '2.0', id: 1, result: {} }, JSON.parse(answer)],
        later: [],
      })
    },
  )

  test.each([
    ['a call', 'got {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}', ''],
    ['a ping', 'got {"jsonrpc":"2.0","id":1,"method":"ping"}', ''],
    [
      'an answer to a question',
      'got {"jsonrpc":"2.0","id":1,"result":{}}',
      '{"jsonrpc":"2.0","id":1,"result":{}}',
    ],
  ])(
    'a line in which a server logs %s of its client is not its own message',
    (_what, line, sent) => {
      expect(heard([line], sent === '' ? [] : [sent]).at).toEqual([])
    },
  )

  test('a question of the server after words is read', () => {
    const question = '{"jsonrpc":"2.0","id":0,"method":"roots/list"}'
    expect(heard([`asking: ${question}`]).at).toEqual([JSON.parse(question)])
  })

  test.each<[string, string, unknown]>([
    ['lacks a brace', '{"jsonrpc":"2.0","id":7,"result":{"a":1}', 7],
    ['is cut off', '{"jsonrpc":"2.0","id":7,"result":{"text":"abc', 7],
    ['is cut off, with words before it', 'x {"jsonrpc":"2.0","id":"a b","result":{"te', 'a b'],
    ['holds NaN', '{"jsonrpc":"2.0","id":7,"result":{"x":NaN}}', 7],
    ['holds a line break in a text', '{"jsonrpc":"2.0","id":7,"result":{"text":"a\nb"}}', 7],
    ['has its id at the end', '{"result":{"id":3,"x":Infinity},"id":7,"jsonrpc":"2.0"}', 7],
  ])('an answer that %s ends its request after a while', (_what, text, id) => {
    const { at, later } = heard(text.split('\n'))
    expect(at).toEqual([])
    expect(later).toMatchObject([broken(id)])
  })

  test('an answer without an id ends the request that is open', () => {
    expect(heard(['{"jsonrpc":"2.0","result":{"x":NaN}}']).at).toMatchObject([broken(null)])
  })

  test.each([
    '{"level":"info","msg":"tool \\"x\\" gave a result"',
    'DEBUG {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"result":"x',
    'Traceback (most recent call last):',
  ])('a line that only looks like an answer ends nothing: %s', (line) => {
    expect(heard([line])).toEqual({ at: [], later: [] })
  })

  const log = '{"level":30,"id":3,"msg":"query"}'
  const nothing = { id: 3, error: { message: expect.stringContaining('neither') } }

  test('a logged object with the id of an open request leaves its answer alone', () => {
    const real = '{"jsonrpc":"2.0","id":3,"result":{}}'
    expect(heard([log, real]).at).toEqual([JSON.parse(real)])
    expect(heard([`[${log}]`, real]).at).toEqual([JSON.parse(real)])
  })

  test('a line with an id and no version ends the request after the grace time', () => {
    const { at, later } = heard([log])
    expect(at).toEqual([])
    expect(later).toMatchObject([nothing])
  })

  test('a line with only an id and the version ends the request at once', () => {
    expect(heard(['{"jsonrpc":"2.0","id":3}'])).toMatchObject({ at: [nothing], later: [] })
  })

  test('a line that is too long ends the request that it names', () => {
    const messages: unknown[] = []
    const reader = new ServerLines({
      message: (line) => messages.push(JSON.parse(Buffer.from(line).toString())),
      noMessage: () => undefined,
      doubtMs: 1000,
    })
    reader.tooLong(Buffer.from('{"jsonrpc":"2.0","id":9,"result":{"data":"AAAA'))
    vi.advanceTimersByTime(1000)
    expect(messages).toMatchObject([broken(9)])
    reader.end()
  })
})
