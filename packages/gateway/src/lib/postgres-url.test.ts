import { describe, expect, test } from 'vitest'
import { maskPostgresUrl, parsePostgresUrl } from './postgres-url.ts'

describe('a connection URI', () => {
  test('a URI says who, where and how', () => {
    expect(
      parsePostgresUrl(
        'postgres://gw:p%2Fw%20%251@db.example.com:6432/mcp?sslmode=verify-full&' +
          'sslrootcert=/ca.pem',
      ),
    ).toEqual({
      host: 'db.example.com',
      port: 6432,
      user: 'gw',
      password: 'p/w %1',
      database: 'mcp',
      sslMode: 'verify-full',
      rootCertificate: '/ca.pem',
    })
  })

  test('a URI has PostgreSQL’s port by default, and may have an IPv6 address', () => {
    expect(parsePostgresUrl('postgresql://gw@[2001:db8::1]/mcp')).toEqual({
      host: '2001:db8::1',
      port: 5432,
      user: 'gw',
      database: 'mcp',
    })
  })

  test.each([
    'postgres://gw@%2Fvar%2Frun%2Fpostgresql/mcp',
    'postgres://gw@/mcp?host=/var/run/postgresql',
    'postgres://gw@localhost/mcp?host=/var/run/postgresql',
  ])('a URI may name the folder of a Unix socket: %s', (url) => {
    expect(parsePostgresUrl(url)).toEqual({
      host: '/var/run/postgresql',
      port: 5432,
      user: 'gw',
      database: 'mcp',
    })
  })

  test.each([
    ['mysql://gw@h/db', /must be like/],
    ['nothing', /must be like/],
    ['postgres://h/db', /must name the user/],
    ['postgres://gw@h', /must name the database/],
    ['postgres://gw@h/', /must name the database/],
    ['postgres://gw@h1,h2/db', /must name one host/],
    ['postgres://gw@h/db?sslmode=prefer', /none of disable, require, verify-ca, verify-full/],
    ['postgres://gw@h/db?sslmode=verify-ca', /sslrootcert/],
    ['postgres://gw@h/db?sslmode=require&sslcert=/c.pem', /together/],
    ['postgres://gw@h/db?sslrootcert=/c.pem', /no sslmode/],
    ['postgres://gw@h/db?options=-c', /'options', which is not known/],
    ['postgres://gw:%zz@h/db', /begins no escape/],
  ])('a URI with a setting that cannot be followed is refused: %s', (url, reason) => {
    expect(() => parsePostgresUrl(url)).toThrow(reason)
  })

  test('a refused URI is not repeated, as it may hold a password', () => {
    for (const url of [
      'postgres://gw:s3cret@h:x/db',
      'mysql://gw:s3cret@h/db',
      'postgres://:s3cret@h/db',
      'postgres://gw:s3cret%@h/db',
    ])
      expect(() => parsePostgresUrl(url)).toThrow(
        expect.objectContaining({ message: expect.not.stringContaining('s3cret') as string }),
      )
  })

  test('a URI can be shown without its password', () => {
    expect(maskPostgresUrl('postgres://gw:s3cret@h:5432/db?sslmode=disable')).toBe(
      'postgres://gw:[secret]@h:5432/db?sslmode=disable',
    )
    expect(maskPostgresUrl('postgres://gw@/db?host=/run')).toBe(
      'postgres://gw@localhost/db?host=/run',
    )
  })
})
