/** All that the clients of a run met. */
export class Ledger {
  /** Calls and reads that succeeded. */
  calls = 0
  /** Those that did not, in words. */
  readonly failures: string[] = []
  /** Requests that clients sent again because a connection had broken. */
  repeated = 0
  /** Sessions of clients without subscriptions that ended. */
  sessionsEnded = 0
  /** Subscribers that had to subscribe again. */
  subscribedAgain = 0
  longestCallMs = 0
  /** From the last update until every subscriber had read it, by kill. */
  readonly updateMs: number[] = []
  readonly lostUpdates: string[] = []
  /** From a kill to the first call that the member served again, by kind of kill. */
  readonly backMs = new Map<string, number[]>()

  /** Awaits an idempotent request, and counts it. Undefined if it failed. */
  async count<T>(what: string, request: () => Promise<T>): Promise<T | undefined> {
    const begun = Date.now()
    try {
      const result = await request()
      this.calls += 1
      this.longestCallMs = Math.max(this.longestCallMs, Date.now() - begun)
      return result
    } catch (error) {
      const after = `after ${Date.now() - begun} ms`
      this.failures.push(`${new Date().toISOString()} ${what} ${after}: ${String(error)}`)
      return undefined
    }
  }

  isBack(kind: string, ms: number): void {
    this.backMs.set(kind, [...(this.backMs.get(kind) ?? []), ms])
  }

  /** The figures for docs. */
  get figures(): object {
    const back = [...this.backMs].map(([kind, ms]) => [kind, spread(ms)])
    const members = [...this.backMs].flatMap(([kind, ms]) => (kind === 'gateway' ? [] : ms))
    const { calls, longestCallMs, repeated, sessionsEnded, subscribedAgain } = this
    return {
      calls,
      failed: this.failures.length,
      longestCallMs,
      repeated,
      sessionsEnded,
      subscribedAgain,
      lostUpdates: this.lostUpdates.length,
      updates: spread(this.updateMs),
      membersBack: spread(members),
      back: Object.fromEntries(back) as object,
    }
  }
}

function spread(ms: readonly number[]): object {
  const sorted = ms.toSorted((one, other) => one - other)
  const at = (share: number): number => sorted[Math.ceil(sorted.length * share) - 1] ?? 0
  return { count: ms.length, p50Ms: at(0.5), p99Ms: at(0.99), mostMs: at(1) }
}
