import { monotonicNow } from '../../lib/clock.ts'

/** What is read, in bytes for each millisecond: of one output, and of all together. */
const ownRate = 8 * 1024
const sharedRate = 32 * 1024
/** So long an output may be read as fast as it comes. */
const burstMs = 2000
/** What a line costs beside its characters. */
const lineCost = 256

interface Pausable {
  pause(): unknown
  resume(): unknown
}

/**
 * How fast outputs of servers are read. One that writes without end would take the processor of
 * the gateway; it is made to wait instead. An output within its own rate never waits for others.
 */
export class OutputPace {
  /** When all that was read so far is worked off. */
  #sharedDone = 0
  readonly #now: () => number

  constructor(now: () => number = monotonicNow) {
    this.#now = now
  }

  /** Counts what one output gives, and pauses it when that is more than its rate. */
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
