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
  return pino(
    {
      level: options.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
    },
    // Lines are gathered and written off the request's path; pino writes what is left when the process ends.
    pretty ? prettyDestination() : pino.destination({ dest: 2, sync: false, minLength: 4096, periodicFlush: 200 }),
  )
}

/** One short line a record, for a person's eyes. */
function prettyDestination(): DestinationStream {
  return {
    write(line: string): void {
      const { level, time, msg, ...rest } = JSON.parse(line) as { level: number; time: string; msg?: string; [key: string]: unknown }
      const fields = Object.entries(rest).map(([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
      process.stderr.write(`${time.slice(11, 23)} ${pino.levels.labels[level] ?? level} ${msg ?? ''} ${fields.join(' ')}\n`)
    },
  }
}
