import {
  compileCheck,
  sizeMistakes,
  smallSchema,
  type SchemaMistake,
  type ValueCheck,
  type ValueMistake,
} from './json-schema.ts'
import { LimitExceeded, TimedWorker, WorkRefused } from '../async/timed-worker.ts'
import { monotonicNow } from '../clock.ts'

/**
 * A schema to check, or a value to check against it. JSON texts cost less to send than the parsed
 * values.
 */
export interface SchemaTask {
  readonly schema: string
  readonly check?: { readonly value: string; readonly allErrors: boolean }
}

type Compiler = TimedWorker<SchemaTask, readonly SchemaMistake[]>
type Checker = TimedWorker<SchemaTask, readonly ValueMistake[]>

/** Milliseconds, far more than an honest check takes; a longer check backtracks or multiplies. */
const checkMs = 250
/** Milliseconds. Honest schemas take a tenth of it, even on a slow machine. */
const compileMs = 2000
const heapMb = 512
/** Milliseconds before a schema that exceeded a limit is tried again. */
const restMs = 10_000
/** Honest clients' bursts wait only moments; a client that floods shuts itself out first. */
const waiting = { most: 8000, mostOfOne: 2000 }

/** The thread runs the built program even from source, because Node.js 20 starts no TypeScript. */
const program = new URL(
  import.meta.url.endsWith('.ts') ? '../../../dist/lib/json/schema-worker.js' : 'schema-worker.js',
  import.meta.url,
)

/**
 * Checks schemas by any author, and values against them. Slow checks run on other threads for a
 * limited time.
 */
export class SchemaChecks implements AsyncDisposable {
  /** Separate from checks of values, which take less time and which clients wait for. */
  readonly #compiling: Compiler = new TimedWorker({
    program,
    limits: { prepareMs: compileMs, runMs: compileMs, heapMb },
    waiting,
  })
  readonly #checking: Checker = new TimedWorker({
    program,
    limits: { prepareMs: compileMs, runMs: checkMs, heapMb },
    waiting,
  })
  readonly #now: () => number

  constructor(now: () => number = monotonicNow) {
    this.#now = now
  }

  /**
   * Finds the mistakes of a schema. `party` is its owner: parties take turns. @throws WorkRefused
   * when too many wait
   */
  async schemaMistakes(
    schema: Readonly<Record<string, unknown>>,
    party: string,
  ): Promise<readonly SchemaMistake[]> {
    const tooLarge = sizeMistakes(schema)
    if (tooLarge.length > 0) return tooLarge

    const text = JSON.stringify(schema)
    try {
      return (await this.#compiling.run(party, () => ({ schema: text }))) ?? []
    } catch (error) {
      if (error instanceof LimitExceeded)
        return [
          {
            pointer: '',
            code: 'schema_too_slow',
            detail: `could not be compiled within ${compileMs} ms and ${heapMb} MB`,
          },
        ]

      throw error
    }
  }

  /** Prepares a schema without mistakes for checks of values. */
  schema(schema: Readonly<Record<string, unknown>>, party: string): CheckedSchema {
    return new CheckedSchema(schema, party, this.#checking, this.#now)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([
      this.#compiling[Symbol.asyncDispose](),
      this.#checking[Symbol.asyncDispose](),
    ])
  }
}

/** Keywords that backtrack or multiply, anywhere in a schema. */
const risky = /"(pattern|patternProperties|uniqueItems|\$ref|\$dynamicRef)"/
/** Values of more characters are checked only up to their first mistake. */
const largeValue = 16 * 1024
/**
 * Each place of a value can break each rule of a schema: this many pairs of characters make some
 * ten thousand mistakes at worst.
 */
const smallProduct = 1024 * 1024

/** Tells whether the caller still waits; an AbortSignal fits. */
type Cancelled = Pick<AbortSignal, 'aborted' | 'throwIfAborted'>

/** A schema that values are checked against, compiled at first use. */
export class CheckedSchema {
  readonly #schema: Readonly<Record<string, unknown>>
  readonly #text: string
  readonly #party: string
  readonly #worker: Checker
  readonly #now: () => number
  readonly #mayRunHere: boolean
  #check: ValueCheck | undefined
  #restsUntil = 0

  constructor(
    schema: Readonly<Record<string, unknown>>,
    party: string,
    worker: Checker,
    now: () => number,
  ) {
    this.#schema = schema
    this.#text = JSON.stringify(schema)
    this.#party = party
    this.#worker = worker
    this.#now = now
    this.#mayRunHere = this.#text.length <= smallSchema && !risky.test(this.#text)
  }

  /**
   * Finds the mistakes of a value's JSON text: at once if that is quick, else on another thread.
   * `schema_too_slow` when it took too long, `checks_busy` when too many wait.
   * @param cancelled ends the wait: the caller is gone
   */
  mistakes(
    value: string,
    cancelled?: Cancelled,
  ): readonly ValueMistake[] | Promise<readonly ValueMistake[]> {
    if (
      !this.#mayRunHere ||
      value.length > largeValue ||
      value.length * this.#text.length > smallProduct
    )
      return this.#elsewhere(value, cancelled)
    this.#check ??= compileCheck(this.#schema, true)
    return this.#check(JSON.parse(value))
  }

  async #elsewhere(
    value: string,
    cancelled: Cancelled | undefined,
  ): Promise<readonly ValueMistake[]> {
    const task = { schema: this.#text, check: { value, allErrors: value.length <= largeValue } }
    try {
      // Another check may have taken too long while this one waited.
      const found = this.#rests
        ? undefined
        : await this.#worker.run(this.#party, () =>
            this.#rests || cancelled?.aborted ? undefined : task,
          )

      cancelled?.throwIfAborted()
      return found ?? [tooSlow]
    } catch (error) {
      if (error instanceof WorkRefused) return [busy]
      if (!(error instanceof LimitExceeded)) throw error
      this.#restsUntil = this.#now() + restMs
      return [tooSlow]
    }
  }

  get #rests(): boolean {
    return this.#now() < this.#restsUntil
  }
}

/** Why a value was not checked. */
export interface Unchecked extends ValueMistake {
  readonly code: 'schema_too_slow' | 'checks_busy'
}

/** Returns the reason why the value was not checked, if there is one. Only `checks_busy` passes. */
export function whyUnchecked(mistakes: readonly ValueMistake[]): Unchecked | undefined {
  return [tooSlow, busy].find((each) => mistakes.includes(each))
}

const tooSlow: Unchecked = {
  pointer: '',
  code: 'schema_too_slow',
  detail:
    `could not be checked within ${checkMs} ms: ` +
    'a pattern of the schema backtracks, or its references multiply',
}

const busy: Unchecked = {
  pointer: '',
  code: 'checks_busy',
  detail: 'could not be checked now: too many others wait to be checked',
}
