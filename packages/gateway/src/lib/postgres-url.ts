import { defined } from './defined.ts'

/** A PostgreSQL server and the way to connect to it. */
export interface PostgresAddress {
  /** A name, an address, or the folder of a Unix socket. */
  readonly host: string
  readonly port: number
  readonly user: string
  readonly database: string
  readonly password?: string
  readonly applicationName?: string
  /** Absent when the URL has no sslmode. */
  readonly sslMode?: SslMode
  /** Paths of PEM files. */
  readonly rootCertificate?: string
  readonly certificate?: string
  readonly key?: string
}

/**
 * The modes of libpq. `require` checks a certificate only against a given root. Modes that may
 * silently drop encryption are not offered.
 */
const sslModes = ['disable', 'require', 'verify-ca', 'verify-full'] as const
export type SslMode = (typeof sslModes)[number]

const parameters = ['application_name', 'host', 'sslcert', 'sslkey', 'sslmode', 'sslrootcert']

/**
 * Reads a connection URI (PostgreSQL documentation 34.1.1.2).
 * @throws Error that says what is wrong, but never repeats the text, which may hold a password
 */
export function parsePostgresUrl(text: string): PostgresAddress {
  const url = readUrl(text)
  const unknown = [...url.searchParams.keys()].find((name) => !parameters.includes(name))
  if (unknown !== undefined)
    throw new Error(
      `has the parameter '${unknown}', which is not known. Known are: ${parameters.join(', ')}`,
    )

  const parameter = (name: string): string | undefined => url.searchParams.get(name) ?? undefined
  const host = parameter('host') ?? decode(url.hostname.replace(/^\[(.+)\]$/, '$1'))
  const user = decode(url.username)
  const password = decode(url.password)
  const database = decode(url.pathname.slice(1))

  if (host.includes(','))
    throw new Error(
      'must name one host; several need a proxy or a virtual address that follows the primary',
    )
  if (user === '') throw new Error('must name the user: postgres://user@host/database')
  if (database === '' || database.includes('/'))
    throw new Error('must name the database: postgres://user@host/database')

  const mode = parameter('sslmode')
  const sslMode = sslModes.find((known) => known === mode)
  if (mode !== undefined && sslMode === undefined)
    throw new Error(`has an sslmode that is none of ${sslModes.join(', ')}`)

  const files = {
    rootCertificate: parameter('sslrootcert'),
    certificate: parameter('sslcert'),
    key: parameter('sslkey'),
  }
  if (sslMode === 'verify-ca' && files.rootCertificate === undefined)
    throw new Error(
      'must say with sslrootcert who is trusted: any public authority would do otherwise',
    )

  if ((files.certificate === undefined) !== (files.key === undefined))
    throw new Error('must have sslcert and sslkey together')
  if (
    (sslMode === undefined || sslMode === 'disable') &&
    (files.rootCertificate ?? files.certificate) !== undefined
  )
    throw new Error('has certificates, but no sslmode that uses them')

  return defined({
    host: host === '' ? 'localhost' : host,
    port: url.port === '' ? 5432 : Number(url.port),
    user,
    database,
    password: password === '' ? undefined : password,
    applicationName: parameter('application_name'),
    sslMode,
    ...files,
  })
}

/** Returns the URL without its password. */
export function maskPostgresUrl(text: string): string {
  const url = readUrl(text)
  if (url.password !== '') url.password = '[secret]'
  return url.href.replace(encodeURIComponent('[secret]'), '[secret]')
}

function readUrl(text: string): URL {
  // Sockets are written `user@/database`, which RFC 3986 allows and the WHATWG parser rejects.
  const readable = text.replace(/^(postgres(?:ql)?:\/\/[^/@]*@)(?=\/)/, '$1localhost')
  if (!/^postgres(ql)?:\/\//.test(readable) || !URL.canParse(readable))
    throw new Error('must be like postgres://user@host:5432/database')
  return new URL(readable)
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw new Error("has a '%' that begins no escape: write it as %25")
  }
}
