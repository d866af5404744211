import type { Config } from '../config/config.ts'
import { Parts } from '../lib/async/parts.ts'
import type { Log } from '../telemetry/log.ts'

export interface AppOptions {
  readonly config: Config
  readonly log: Log
  /** The environment of the process. Workloads get a small part of it. */
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly version: string
  /** Aborts when the process must end. A start then stops waiting. */
  readonly signal: AbortSignal
}

/** A running gateway. Disposal drains it. */
export interface App extends AsyncDisposable {
  /** Its listening address: `http://127.0.0.1:8000`. */
  readonly origin: string
}

/** Input of each phase: the options, and `parts`, which collects the opened parts. */
export interface Composition extends Pick<AppOptions, 'config' | 'log' | 'version'> {
  readonly parts: Parts
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

/**
 * Runs the phases of a start, which return the address. Parts close in reverse order of their
 * opening, also if a later phase fails.
 */
export async function compose(
  { config, log, version }: Pick<AppOptions, 'config' | 'log' | 'version'>,
  phases: (composition: Composition) => Promise<string>,
): Promise<App> {
  const parts = new Parts()
  try {
    const origin = await phases({ config, log, version, parts, now: () => Date.now() })
    return { origin, [Symbol.asyncDispose]: () => parts[Symbol.asyncDispose]() }
  } catch (error) {
    await parts[Symbol.asyncDispose]()
    throw error
  }
}
