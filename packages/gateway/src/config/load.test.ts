import { describe, expect, test } from 'vitest'
import { ConfigError, isLoopbackHost, loadConfig } from './load.ts'

function mistakesOf(source: Parameters<typeof loadConfig>[0]): readonly string[] {
  try {
    loadConfig(source)
  } catch (error) {
    if (error instanceof ConfigError) return error.mistakes
    throw error
  }
  return []
}

describe('configuration', () => {
  test('nothing set gives a gateway for this machine alone', () => {
    const config = loadConfig({ environment: {} })
    expect(config).toMatchObject({ host: '127.0.0.1', port: 8000, identity: { mode: 'development' }, edge: { bodyLimitBytes: 4_194_304 } })
    expect(Object.isFrozen(config.edge)).toBe(true)
  })

  test('the environment outranks the file, and the file outranks the defaults', () => {
    const config = loadConfig({
      file: { name: 'mcp-gateway.yaml', text: 'port: 9000\nedge:\n  bodyLimitBytes: 1000\n  allowedHosts: [a.example]\n' },
      environment: { MCPGW_PORT: '9001', MCPGW_EDGE_ALLOWED_HOSTS: 'b.example, c.example', MCPGW_EDGE_ACCESS_LOG: 'false', HOME: '/root' },
    })
    expect(config).toMatchObject({ port: 9001, edge: { bodyLimitBytes: 1000, allowedHosts: ['b.example', 'c.example'], accessLog: false } })
  })

  test('every mistake is reported at once, with the line or the variable that holds it', () => {
    const mistakes = mistakesOf({
      file: { name: 'gw.yaml', text: 'port: 70000\nedge:\n  bodyLimit: 3\nruntime:\n  images:\n    a: { command: [] }\n' },
      environment: { MCPGW_EDGE_DRAIN_SECONDS: 'soon', MCPGW_HSOT: 'x', MCPGW_LOG_LEVEL: 'loud' },
    })
    expect(mistakes.join('\n')).toMatch(/gw\.yaml:1: port/)
    expect(mistakes.join('\n')).toMatch(/gw\.yaml:3: edge\.bodyLimit: is not known/)
    expect(mistakes.join('\n')).toMatch(/gw\.yaml:6: runtime\.images\.a\.command/)
    expect(mistakes.join('\n')).toMatch(/MCPGW_EDGE_DRAIN_SECONDS: 'soon'/)
    expect(mistakes.join('\n')).toMatch(/MCPGW_HSOT: is not known/)
    expect(mistakes.join('\n')).toMatch(/MCPGW_LOG_LEVEL: log\.level/)
  })

  test('a setting that is not known is named with its own line', () => {
    expect(mistakesOf({ file: { name: 'gw.yaml', text: 'port: 1\nhost: localhost\nfoo: 1\n' }, environment: {} })).toEqual([
      'gw.yaml:3: foo: is not known',
    ])
  })

  test('YAML that can not be read names its line', () => {
    expect(mistakesOf({ file: { name: 'gw.yaml', text: 'port: 1\nhost: [' }, environment: {} })[0]).toMatch(/^gw\.yaml:2/)
  })

  test.each(['0.0.0.0', '::', '192.0.2.1', 'gateway.example'])('development identity refuses to listen on %s', (host) => {
    expect(mistakesOf({ environment: { MCPGW_HOST: host } })[0]).toMatch(/development identity/)
  })

  test.each(['127.0.0.1', '127.9.9.9', 'localhost', '::1', '[::1]'])('%s is a loopback address', (host) => {
    expect(isLoopbackHost(host)).toBe(true)
  })

  test.each(['127.0.0.1.evil.example', 'localhost.evil.example', '1.127.0.0', '0.0.0.0', ''])('%j is no loopback address', (host) => {
    expect(isLoopbackHost(host)).toBe(false)
  })

  test('a session key of the wrong length is refused', () => {
    expect(mistakesOf({ environment: { MCPGW_SESSIONS_KEYS: 'c2hvcnQ=' } })[0]).toMatch(/32 bytes/)
  })
})
