import { escapeInvisible } from '../lib/invisible.ts'
import { pino, type DestinationStream, type Logger } from 'pino'

export type Log = Logger

export interface LogOptions {
  readonly level: string
  readonly format: 'auto' | 'json' | 'pretty'
  /** True if the log goes to a terminal. Decides the meaning of `auto`. */
  readonly terminal: boolean
}

/**
 * The structured log of the process, on standard error. No code logs headers, bodies, environments
 * or session ids, so nothing needs redaction.
 */
export function createLog(options: LogOptions): Log {
  const pretty = options.format === 'pretty' || (options.format === 'auto' && options.terminal)
  // pino buffers lines and writes them outside the request's path. It flushes the rest at exit.
  return pino(
    {
      level: options.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      // Lines of level `info` hold values that the gateway has checked (ids, names, paths). Errors
      // may contain text from others, so their lines are escaped.
      hooks: { streamWrite: (line) => (line.startsWith(checked) ? line : escapeInvisible(line)) },
    },
    pretty
      ? prettyDestination()
      : pino.destination({ dest: 2, sync: false, minLength: 4096, periodicFlush: 200 }),
  )
}

const checked = `{"level":${pino.levels.values['info']},`

/** Writes each record as one short line for people. */
function prettyDestination(): DestinationStream {
  return { write: (line) => void process.stderr.write(prettyLine(line)) }
}

/**
 * Formats a record as one line. A value that could look like a line end or another field becomes
 * JSON.
 */
export function prettyLine(line: string): string {
  const { level, time, msg, ...rest } = JSON.parse(line) as {
    level: number
    time: string
    msg?: string
    [key: string]: unknown
  }
  const shown = (value: unknown): string => {
    const plain = typeof value === 'string' && /^[^\s"=\p{C}]+$/u.test(value)
    return plain ? value : escapeInvisible(JSON.stringify(value))
  }
  const words = JSON.stringify(msg ?? '')
    .slice(1, -1)
    .replaceAll('\\"', '"')
  const fields = Object.entries(rest).map(([key, value]) => `${key}=${shown(value)}`)
  return (
    `${time.slice(11, 23)} ${pino.levels.labels[level] ?? level} ${escapeInvisible(words)} ` +
    `${fields.join(' ')}\n`
  )
}
