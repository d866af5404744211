import type { Config } from '../config/config.ts'
import { Parts } from '../lib/async/parts.ts'
import type { Log } from '../telemetry/log.ts'

export interface AppOptions {
  readonly config: Config
  readonly log: Log
  /** The environment of the process; workloads get a small part of it. */
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly version: string
  /** The process is to end: the start gives up what it still waits for. */
  readonly signal: AbortSignal
}

/** A running gateway. Disposing drains it. */
export interface App extends AsyncDisposable {
  /** Where it listens: `http://127.0.0.1:8000`. */
  readonly origin: string
}

/** What each phase is given: the options, and where it puts the parts that it opens. */
export interface Composition extends Pick<AppOptions, 'config' | 'log' | 'version'> {
  readonly parts: Parts
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

/**
 * Runs the phases of a start, which give the address. The parts of the first phase are the last to
 * be closed, also when a later phase fails.
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
