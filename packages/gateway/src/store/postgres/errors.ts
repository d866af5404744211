import { GatewayError } from '../../core/errors.ts'
import { defined } from '../../lib/defined.ts'
import { maskPostgresUrl } from '../../lib/postgres-url.ts'

/**
 * The SQLSTATE of a server's error (PostgreSQL documentation, appendix A). Network errors have
 * codes of other forms.
 */
export function sqlStateOf(error: unknown): string | undefined {
  const { code } = error as { code?: unknown }
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) && !/^E[A-Z]{4}$/.test(code)
    ? code
    : undefined
}

/**
 * The server is away, starts, stops, or accepts no more connections: all this heals without a
 * change of the configuration.
 */
export function isOutage(error: unknown): boolean {
  const state = sqlStateOf(error)
  if (state !== undefined) return /^(08|57P|53[03])/.test(state)
  const {
    code = '',
    message = '',
    syscall,
  } = error as { code?: string; message?: string; syscall?: string }
  // A missing socket is an outage; a missing password file is not.
  if (code === 'ENOENT') return syscall === 'connect'
  // A rejected certificate stays rejected, so it is no outage.
  return (
    /^(ECONN|EPIPE|ETIMEDOUT|EHOST|ENET|ENOTFOUND|EAI_AGAIN)/.test(code) ||
    /terminated|timeout|not queryable/i.test(message)
  )
}

/**
 * An open connection broke, so another may work. A time-out does not count: the server may go on
 * with the work.
 */
export function isBroken(error: unknown): boolean {
  const { message, syscall } = error as { message: string; syscall?: string }
  return (
    isOutage(error) &&
    sqlStateOf(error) !== '53300' &&
    !/timeout/i.test(message) &&
    !/connect|getaddrinfo/.test(syscall ?? '')
  )
}

/** Converts an error for callers. Nothing was changed. */
export function toStoreError(error: unknown): GatewayError {
  if (error instanceof GatewayError) return error
  const state = sqlStateOf(error)
  if (state === '23505')
    return new GatewayError('name_taken', {
      detail: 'Another tool has this MCP tool name (toolDefinition.tool.name).',
      cause: error,
    })
  if (state === '53100')
    return new GatewayError('storage_full', {
      detail: 'The disk of the database is full. Nothing was changed.',
      cause: error,
    })
  if (state === '25006')
    return unavailable('The database can only be read at present. Nothing was changed.', error)
  if (state === '57014' || /timeout/i.test((error as Error).message))
    return unavailable('The database did not answer in time.', error)
  if (error instanceof SyntaxError) return unavailable('The store is damaged.', error)
  return unavailable(undefined, error)
}

export function unavailable(detail: string | undefined, cause: unknown): GatewayError {
  return new GatewayError(
    'store_unavailable',
    defined({ detail, headers: { 'retry-after': '1' }, cause }),
  )
}

/** Explains to the operator why a gateway cannot start. */
export function explained(error: unknown, url: string): GatewayError {
  if (error instanceof GatewayError) return error
  const { message, errors = [] } = error as Error & { errors?: Error[] }
  // A name with several addresses fails with an error for each.
  const said = message === '' ? errors.map((each) => each.message).join(', ') : message
  const state = sqlStateOf(error) ?? ''

  const advice: Readonly<Record<string, string>> = {
    '28000': 'Look at user, sslmode, and the server’s pg_hba.conf.',
    '28P01': 'Look at user and password.',
    '3D000': 'Make the database, or name another in store.url.',
    '42501':
      'Bring the schema up to date as a role that may, with `mcp-gateway store migrate`, ' +
      'and grant this role what docs/store.md says.',
    '25006':
      'The schema must be brought up to date, which a database that can only be read ' +
      'does not allow.',
  }

  const what =
    advice[state] ?? (isOutage(error) ? 'Is the server running, and is its address right?' : '')
  return new GatewayError('store_unavailable', {
    detail: `The database ${maskPostgresUrl(url)} cannot be used: ${said}. ${what}`.trimEnd(),
    cause: error,
  })
}
