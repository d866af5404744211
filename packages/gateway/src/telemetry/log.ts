import type { Logger } from 'pino'
import { pino } from 'pino'

export type Log = Logger

export interface LogOptions {
  readonly level: string
  /** Where lines go; standard output when absent. */
  readonly destination?: { write(line: string): void }
}

/** Structured log of the process. Secrets never reach it by construction; the redaction list is the second line of defence. */
export function createLog(options: LogOptions): Log {
  const settings = {
    level: options.level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    redact: { paths: ['*.authorization', '*.cookie', '*["mcp-session-id"]', 'authorization', 'cookie'], censor: '[redacted]' },
  }
  return options.destination === undefined ? pino(settings) : pino(settings, options.destination)
}
