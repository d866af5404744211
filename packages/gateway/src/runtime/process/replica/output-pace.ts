import { monotonicNow } from '../../../lib/clock.ts'

/** Characters a millisecond that the gateway reads of one output, and of all outputs together. */
const ownRate = 8 * 1024
const sharedRate = 32 * 1024
/** Milliseconds of its rate that an output may use at once. */
const burstMs = 2000
/** Characters that a line costs beside its own. */
const lineCost = 256

interface Pausable {
  pause(): unknown
  resume(): unknown
}

/**
 * Limits how fast the gateway reads server output, because endless output would take all its
 * processor time. An output within its own rate never waits for others.
 */
export class OutputPace {
  /** Time at which all reading so far is paid for. */
  #sharedDone = 0
  readonly #now: () => number

  constructor(now: () => number = monotonicNow) {
    this.#now = now
  }

  /** Returns a counter for one output that pauses the output when it exceeds its rate. */
  meter(output: Pausable): (characters: number, lines: number) => void {
    let done = 0
    return (characters, lines) => {
      const now = this.#now()
      const cost = characters + lines * lineCost
      done = Math.max(done, now - burstMs) + cost / ownRate
      this.#sharedDone = Math.max(this.#sharedDone, now - burstMs) + cost / sharedRate
      if (done <= now) return

      output.pause()
      setTimeout(() => output.resume(), Math.max(done, this.#sharedDone) - now).unref()
    }
  }
}
