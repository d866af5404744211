import { describe, expect, test } from 'vitest'
import { readSettings, SettingsError } from './settings.ts'

function mistakesOf(environment: Record<string, string>): string {
  try {
    readSettings(environment)
  } catch (error) {
    if (error instanceof SettingsError) return error.message
    throw error
  }
  return ''
}

describe('settings of the bridge', () => {
  test('a command is split into its arguments and gets a child for each session', () => {
    expect(
      readSettings({ MCP_COMMAND: 'npx', MCP_ARGS: '-y @azure/mcp@latest server start' }).upstream,
    ).toEqual({
      kind: 'stdio',
      command: 'npx',
      args: ['-y', '@azure/mcp@latest', 'server', 'start'],
      isolation: 'session',
      warmSpares: 1,
    })
  })

  test('a working directory is an absolute path', () => {
    const command = { MCP_COMMAND: 'npx' }
    expect(readSettings({ ...command, MCP_CWD: '/srv' }).upstream).toMatchObject({
      directory: '/srv',
    })
    expect(mistakesOf({ ...command, MCP_CWD: '${workspaceFolder}' })).toContain(
      "MCP_CWD: '${workspaceFolder}' is not an absolute path",
    )
  })

  test('an address outranks a command', () => {
    expect(
      readSettings({ MCP_COMMAND: 'npx', MCP_PROXY_URL: 'http://localhost:3001/mcp' }).upstream,
    ).toMatchObject({ kind: 'remote' })
  })

  test.each([
    'https://internal-mcp-server/mcp',
    'http://localhost:8000/',
    'http://my_host/mcp',
    'http://[::1]:3000/mcp',
    'http://10.0.0.1/x?y=z',
    'HTTP://Host:65535',
    'http://bücher.example/mcp',
    ' http://host/with-space-around \n',
  ])('the address %s is accepted', (url) => {
    expect(readSettings({ MCP_PROXY_URL: url }).upstream).toMatchObject({ kind: 'remote' })
  })

  test.each([
    'ftp://host/x',
    'git://host',
    'file:///etc/passwd',
    'javascript:alert(1)',
    'not an address',
    'http://',
    'http:host',
    'http:\\\\host\\mcp',
    'http://host\\@other/',
    'http://ho\nst/',
    'http://host/a b',
    'http://host:65536/',
    'http://host:/x\u0000\r\n',
    '//host/mcp',
    'localhost:3001/mcp',
  ])('the address %j is refused', (url) => {
    expect(mistakesOf({ MCP_PROXY_URL: url })).toBe(
      'MCP_PROXY_URL: must be an http:// or https:// address',
    )
  })

  test.each([
    '1.5',
    '1e3',
    '0x10',
    ' 1',
    '1 ',
    '+1',
    '-0',
    'NaN',
    'Infinity',
    '99999999999999999999',
  ])('the limit %j is refused', (text) => {
    expect(mistakesOf({ MCP_COMMAND: 'x', MCP_MAX_SESSIONS: text })).toMatch(
      /^MCP_MAX_SESSIONS: .* is not a whole number from 1 to 1000000$/,
    )
  })

  test('the error about a header name does not repeat it, as it may be a secret', () => {
    for (const headers of [
      'Bearer hunter2',
      'A: b\nhunter2',
      ': hunter2',
      'hunter2 x: y',
      '{"hunter2 ":1}',
      '{"a":"hunter2',
      '["hunter2"]',
      '"hunter2"',
    ]) {
      const mistakes = mistakesOf({ MCP_PROXY_URL: 'http://h/', MCP_PROXY_HEADERS: headers })
      expect(mistakes).toMatch(/^MCP_PROXY_HEADERS: /)
      expect(mistakes).not.toContain('hunter2')
    }
  })

  test('a password in the address is refused and not repeated', () => {
    expect(mistakesOf({ MCP_PROXY_URL: 'http://user:hunter2@host/' })).toMatch(
      /MCP_PROXY_HEADERS for credentials/,
    )
    expect(mistakesOf({ MCP_PROXY_URL: 'http://user:hunter2@host/' })).not.toContain('hunter2')
  })

  test('headers come as JSON or as lines, and may be read from files', () => {
    const expected = [
      { name: 'Authorization', value: { file: '/run/token' } },
      { name: 'X-Key', value: { text: 'a:b' } },
    ]
    expect(
      readSettings({
        MCP_PROXY_URL: 'http://h/',
        MCP_PROXY_HEADERS: '{"Authorization":{"file":"/run/token"},"X-Key":"a:b"}',
      }).upstream,
    ).toMatchObject({ headers: expected })
    expect(
      readSettings({
        MCP_PROXY_URL: 'http://h/',
        MCP_PROXY_HEADERS: 'Authorization: @file:/run/token\nX-Key: a:b',
      }).upstream,
    ).toMatchObject({ headers: expected })
  })

  test('a header that stands twice, in whatever case, is refused', () => {
    for (const headers of ['{"X-Key":"a","x-key":"b"}', 'X-Key: a\nx-key: b'])
      expect(mistakesOf({ MCP_PROXY_URL: 'http://h/', MCP_PROXY_HEADERS: headers })).toBe(
        'MCP_PROXY_HEADERS: x-key stands there twice',
      )
  })

  test('the settings report every mistake at once', () => {
    const all = mistakesOf({
      MCP_COMMAND: 'npx',
      MCP_ARGS: `it's`,
      MCP_ISOLATION: 'none',
      PORT: 'x',
      MCP_MAX_SESSIONS: '-1',
    })
    for (const name of ['MCP_ARGS', 'MCP_ISOLATION', 'PORT', 'MCP_MAX_SESSIONS'])
      expect(all).toContain(`${name}:`)
    expect(
      mistakesOf({
        MCP_PROXY_URL: 'http://h/',
        MCP_PROXY_HEADERS: '{"Host":"x","a b":"y","ok":"line\\nbreak","n":1}',
      }).split('\n'),
    ).toHaveLength(4)
    expect(mistakesOf({})).toMatch(/MCP_COMMAND: is required/)
  })

  test('the settings report a mistake that the kind of server does not use too', () => {
    const remote = { MCP_PROXY_URL: 'http://h/', MCP_ISOLATION: 'none', MCP_WARM_SPARES: 'x' }
    expect(mistakesOf(remote)).toMatch(/^MCP_ISOLATION: .*\nMCP_WARM_SPARES: /)
    expect(mistakesOf({ MCP_COMMAND: 'npx', MCP_PROXY_TRANSPORT: 'none' })).toMatch(
      /^MCP_PROXY_TRANSPORT: /,
    )
  })
})
