import { setTimeout as sleep } from 'node:timers/promises'
import { Ledger } from './ledger.ts'
import { Run } from './run.ts'
import type { Site, Target } from './site.ts'

export interface Settings {
  readonly seconds: number
  readonly seed: number
}

const periodMs = 10_000
/** Kills one target every ten seconds, and gives what all clients met meanwhile. */
export async function chaos(site: Site, { seconds, seed }: Settings): Promise<Ledger> {
  const ledger = new Ledger()
  const run = new Run(site, ledger)
  await run.open()
  const begun = Date.now()
  const kills = schedule(site.targets, Math.round((seconds * 1000) / periodMs), seed)
  for (const [index, target] of kills.entries()) {
    await sleep(begun + index * periodMs - Date.now())
    await run.kill(target)
  }
  await run.close()
  return ledger
}

/** Targets in turn by kind, so that a short run kills one of each. Within a kind, by chance. */
export function schedule(targets: readonly Target[], kills: number, seed: number): Target[] {
  const chance = chanceFrom(seed)
  const kinds = [...new Set(targets.map(({ kind }) => kind))]
  return Array.from({ length: kills }, (_, index) => {
    const some = targets.filter(({ kind }) => kind === kinds[index % kinds.length])
    const target = some[Math.floor(chance() * some.length)]
    if (target === undefined) throw new Error('There is nothing to kill.')
    return target
  })
}

/** Numbers from 0 to 1 that are the same for the same seed (mulberry32). */
function chanceFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}
