import type { IncomingMessage } from 'node:http'
import { describe, expect, test } from 'vitest'
import { authenticateDevelopment } from './development.ts'

const principalOf = (headers: Record<string, string>) =>
  authenticateDevelopment({ headers } as unknown as IncomingMessage)

describe('development identity', () => {
  test('a caller that says nothing is dev with the role mcp.dev', () => {
    expect(principalOf({})).toEqual({
      id: 'dev',
      issuer: 'development',
      name: 'dev',
      roles: ['mcp.dev'],
    })
  })

  test('headers name the caller and its roles, trimmed and distinct', () => {
    expect(
      principalOf({
        'x-dev-userid': 'alice',
        'x-dev-name': 'Alice',
        'x-dev-roles': ' mcp.admin, ,a,a ',
      }),
    ).toEqual({
      id: 'alice',
      issuer: 'development',
      name: 'Alice',
      roles: ['mcp.admin', 'a'],
    })
  })

  test('an empty list of roles is no role at all', () => {
    expect(principalOf({ 'x-dev-roles': '' }).roles).toEqual([])
  })

  test('an empty user id is never an id', () => {
    expect(principalOf({ 'x-dev-userid': '  ' }).id).toBe('dev')
  })

  test.each(['x-dev-userid', 'x-dev-name', 'x-dev-roles'])(
    '%s has no control characters, nor what turns the direction of text',
    (header) => {
      for (const bad of ['a\u0085b', 'a\u2028b', 'a\u202eb', 'a\u009b31m'])
        expect(() =>
          principalOf({ [header]: Buffer.from(bad, 'utf8').toString('latin1') }),
        ).toThrow(/control characters/)
    },
  )

  test('names beyond ASCII survive', () => {
    expect(principalOf({ 'x-dev-name': Buffer.from('Zoë', 'utf8').toString('latin1') }).name).toBe(
      'Zoë',
    )
  })
})
