import { escapeInvisible } from '../lib/invisible.ts'
import { pino, type DestinationStream, type Logger } from 'pino'

export type Log = Logger

export interface LogOptions {
  readonly level: string
  readonly format: 'auto' | 'json' | 'pretty'
  /** Whether the log goes to a person's terminal; decides what `auto` means. */
  readonly terminal: boolean
}

/**
 * The structured log of the process, on standard error. Nothing logs headers, bodies, environments or session ids, so there
 * is nothing to redact.
 */
export function createLog(options: LogOptions): Log {
  const pretty = options.format === 'pretty' || (options.format === 'auto' && options.terminal)
  // Lines are gathered and written off the request's path; pino writes what is left when the process ends.
  return pino(
    {
      level: options.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      // Lines of the level info say what the gateway has checked: ids, names, paths. Errors have words of others in them.
      hooks: { streamWrite: (line) => (line.startsWith(checked) ? line : escapeInvisible(line)) },
    },
    pretty
      ? prettyDestination()
      : pino.destination({ dest: 2, sync: false, minLength: 4096, periodicFlush: 200 }),
  )
}

const checked = `{"level":${pino.levels.values['info']},`

/** One short line a record, for a person's eyes. */
function prettyDestination(): DestinationStream {
  return { write: (line) => void process.stderr.write(prettyLine(line)) }
}

/** A value that could be taken for the end of its line, or for another member, stands as JSON. */
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
  return `${time.slice(11, 23)} ${pino.levels.labels[level] ?? level} ${escapeInvisible(words)} ${fields.join(' ')}\n`
}
