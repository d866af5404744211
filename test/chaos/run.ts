import { setTimeout as sleep } from 'node:timers/promises'
import { Caller, where } from './callers.ts'
import { eras, type Connection, type Place } from './clients.ts'
import { failover } from './failover.ts'
import type { Ledger } from './ledger.ts'
import type { Site, Target } from './site.ts'
import { Subscriber } from './subscriber.ts'

/** The resources change so often from before a kill until after it. In milliseconds. */
const updates = { beforeMs: 500, afterMs: 3000, everyMs: 250 }
/** A subscriber that has not read the last update within so long has lost it. */
const patienceMs = 60_000
/** A member that does not serve within so long has not come back. */
const backWithinMs = 60_000

/** The clients of one run, and the kills that they live through. */
export class Run {
  readonly #site: Site
  readonly #ledger: Ledger
  readonly #callers: Caller[] = []
  readonly #subscribers: Subscriber[] = []
  /** A client that knows one gateway only, by origin. */
  readonly #probers = new Map<string, Connection>()

  constructor(site: Site, ledger: Ledger) {
    this.#site = site
    this.#ledger = ledger
  }

  async open(): Promise<void> {
    const { aliases, counting, origins } = this.#site
    const uris = counting.map((alias) => `${alias}+count://now`)
    for (const [era, connect] of Object.entries(eras)) {
      const subscriber = new Subscriber(
        this.#ledger,
        `${era} subscriber`,
        connect,
        this.#anywhere,
        uris,
      )
      this.#subscribers.push(subscriber)
      await subscriber.start()
      for (let n = 0; n < 2; n += 1)
        this.#callers.push(new Caller(this.#ledger, connect, this.#anywhere, aliases))
    }
    for (const origin of origins)
      this.#probers.set(origin, await eras.modern({ url: `${origin}${this.#site.path}`, fetch }))
  }

  async close(): Promise<void> {
    await Promise.all([...this.#callers, ...this.#subscribers].map((each) => each.stop()))
    for (const prober of this.#probers.values()) await prober.close()
  }

  /** Kills a target while resources change, and waits until its members and all updates are back. */
  async kill(target: Target): Promise<void> {
    const updating = new AbortController()
    const updated = this.#update(updating.signal)
    const before = await this.#incarnations(target)
    await sleep(updates.beforeMs)

    const killedAt = Date.now()
    await target.kill()
    const back = [...before].map(([place, old]) => this.#untilBack(target, place, old, killedAt))
    await sleep(killedAt + updates.afterMs - Date.now())
    updating.abort()
    const last = await updated
    await Promise.all([
      ...back,
      ...this.#subscribers.map((each) => this.#untilRead(each, target, last)),
    ])
  }

  /** A way to the virtual server by any gateway. */
  get #anywhere(): Place {
    const { origins, path } = this.#site
    const repeated = (): void => void (this.#ledger.repeated += 1)
    return { url: `${origins[0]}${path}`, fetch: failover(origins, repeated) }
  }

  /** Changes the resources until the signal. Gives the last count, and when it was made. */
  async #update(signal: AbortSignal): Promise<{ readonly count: number; readonly at: number }> {
    for (;;) {
      const count = await this.#site.increment()
      if (signal.aborted) return { count, at: Date.now() }
      await sleep(updates.everyMs)
    }
  }

  /** The processes that answer for the members of a target now, by origin and alias. */
  async #incarnations(target: Target): Promise<ReadonlyMap<string, string>> {
    const known = new Map<string, string>()
    for (const origin of target.origins)
      for (const alias of target.aliases) {
        const prober = this.#probers.get(origin) as Connection
        const { incarnation } = await where(prober, alias)
        known.set(`${origin} ${alias}`, target.replaces ? incarnation : '')
      }
    return known
  }

  /** Waits until a member serves again at the gateway that lost it. */
  async #untilBack(target: Target, place: string, before: string, since: number): Promise<void> {
    const [origin = '', alias = ''] = place.split(' ')
    const prober = this.#probers.get(origin) as Connection
    const ask = async (): Promise<boolean> => (await where(prober, alias)).incarnation !== before
    // A gateway that is dead answers nothing; all others answer everything.
    const quietly = async (): Promise<boolean> => ask().catch(() => false)
    const what = `call of ${alias} at the gateway whose ${target.name} was killed`
    const counted = (): Promise<boolean | undefined> => this.#ledger.count(what, ask)
    while ((await (target.kind === 'gateway' ? quietly : counted)()) !== true) {
      if (Date.now() > since + backWithinMs)
        return void this.#ledger.failures.push(`${alias} did not come back after ${target.name}.`)
      await sleep(20)
    }
    this.#ledger.isBack(target.kind, Date.now() - since)
  }

  /** Waits until a subscriber has read the last update of each resource. */
  async #untilRead(
    subscriber: Subscriber,
    target: Target,
    { at, count }: { readonly count: number; readonly at: number },
  ): Promise<void> {
    const end = Date.now() + patienceMs
    while (subscriber.behind(count).length > 0 && Date.now() < end) await sleep(20)
    const behind = subscriber.behind(count)
    if (behind.length === 0) return void this.#ledger.updateMs.push(Date.now() - at)
    this.#ledger.lostUpdates.push(
      `The ${subscriber.name} has not read ${behind.join()} after ${target.name} was killed.`,
    )
  }
}
