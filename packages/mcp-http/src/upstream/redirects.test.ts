import { describe, expect, test } from 'vitest'
import { pathAtOrigin, placeOf } from './redirects.ts'

describe('a redirect', () => {
  test.each([
    ['/mcp/', '/mcp/'],
    ['mcp/', '/mcp/'],
    ['?a=1', '/mcp?a=1'],
    ['http://host:80/x', '/x'],
    ['http://HOST/x?y', '/x?y'],
    ['//host/x', '/x'],
  ])('a redirect to %s stays at http://host', (location, path) => {
    expect(pathAtOrigin(location, 'http://host', '/mcp')).toBe(path)
  })

  test('a redirect to http stays on https when the gateway reaches the server by https', () => {
    expect(pathAtOrigin('http://host/mcp/', 'https://host', '/mcp')).toBe('/mcp/')
  })

  test.each([
    undefined,
    'https://host/x',
    'http://host:81/x',
    'http://host.evil/x',
    'http://user@host/x',
    'http://user:secret@host/x',
    'file:///etc/passwd',
    '//evil/x',
    'http://[',
    '\\\\evil\\x',
  ])('a redirect to %s leads elsewhere', (location) => {
    expect(pathAtOrigin(location, 'http://host', '/mcp')).toBeUndefined()
  })

  test('the error about a redirect omits what may be secret in its address', () => {
    expect(placeOf('https://user:secret@host/x?token=1#y')).toBe('https://host/x')
  })
})
