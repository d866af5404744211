import { afterAll, beforeAll, expect, test } from 'vitest'
import { TestBridge } from './fixtures/test-bridge.ts'

/**
 * A modern server whose tools answer with their name and arguments. It reads lines as
 * `node:readline` does.
 */
const program = `
  const lines = require('node:readline').createInterface({ input: process.stdin })
  lines.on('line', (line) => {
    let message
    try { message = JSON.parse(line) } catch { return }
    const answer = (result) =>
      console.log(JSON.stringify({ jsonrpc: '2.0', id: message.id, result }))
    const { method, params = {}, id } = message
    if (id === undefined) return
    if (method === 'server/discover')
      return answer({ resultType: 'complete', supportedVersions: ['2026-07-28'],
        capabilities: { tools: {} }, serverInfo: { name: 's', version: '1' } })
    if (method !== 'tools/call')
      return console.log(JSON.stringify({
        jsonrpc: '2.0', id, error: { code: -32601, message: 'no' } }))
    if (params.name === 'late')
      return setTimeout(() => answer({ resultType: 'complete',
        content: [{ type: 'text', text: 'mine' }] }), 500)
    answer({ resultType: 'complete',
      content: [{ type: 'text', text: params.name + ' ' + JSON.stringify(params.arguments) }] })
  })
`

let bridge: TestBridge
let url: string
beforeAll(async () => {
  bridge = await TestBridge.open(['-e', program], { maxLineBytes: 1024 * 1024 })
  url = bridge.url
})
afterAll(() => bridge[Symbol.asyncDispose]())

/**
 * Sends a modern `tools/call` whose arguments are the given raw JSON, and gives the text that comes
 * back.
 */
async function callWith(name: string, rawArguments: string): Promise<string> {
  const meta =
    '"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",' +
    '"io.modelcontextprotocol/clientCapabilities":{},' +
    '"io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"}}'
  const answer = await fetch(url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': '2026-07-28',
      'mcp-method': 'tools/call',
      'mcp-name': name,
    },
    body:
      `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"${name}",` +
      `"arguments":${rawArguments},${meta}}}`,
    signal: AbortSignal.timeout(10_000),
  })
  const text = await answer.text()
  const message = JSON.parse(text.replace(/^data: /m, '')) as {
    result?: { content: { text: string }[] }
  }

  return message.result?.content[0]?.text ?? text
}

/**
 * A careless writer would let the server see these messages. Each has an id that the bridge may
 * use.
 */
const smuggled = (name: string): string[] =>
  Array.from({ length: 20 }, (_, id) =>
    JSON.stringify({ jsonrpc: '2.0', id, method: 'tools/call', params: { name, arguments: {} } }),
  )

const lineBreaks = [
  ['line feeds', '\n'],
  ['carriage returns', '\r'],
  ['carriage returns and line feeds', '\r\n'],
] as const

test.each(lineBreaks)(
  'a modern call whose arguments hold %s reaches a stdio server as one line that runs one tool',
  async (_what, lineBreak) => {
    const inner = smuggled('env').join(`${lineBreak},${lineBreak}`)
    const text = await callWith('echo', `{"x":[${lineBreak}${inner}${lineBreak}]}`)

    expect(text).toBe(`echo {"x":[${smuggled('env').join(',')}]}`)
  },
)

test.each(lineBreaks)(
  'a modern call whose arguments hold %s does not answer the open call of somebody else',
  async (_what, lineBreak) => {
    const open = callWith('late', '{}')
    const forged = Array.from({ length: 20 }, (_, id) =>
      JSON.stringify({ jsonrpc: '2.0', id, method: 'tools/call', params: { name: 'forged' } }),
    ).join(`${lineBreak},${lineBreak}`)
    await callWith('echo', `{"x":[${lineBreak}${forged}${lineBreak}]}`)

    expect(await open).toBe('mine')
  },
)

test.each(['\u0085', '\u2028', '\u2029'])(
  'a modern call whose arguments hold the character %j is answered with the same text',
  async (separator) => {
    const value = `a${separator}b`

    expect(await callWith('echo', JSON.stringify({ value }))).toBe(
      `echo ${JSON.stringify({ value })}`,
    )
  },
)
