import { createHash } from 'node:crypto'
import { readFileSync, renameSync, writeFileSync } from 'node:fs'

/**
 * Assigns user ids to owners. An owner keeps its id, and so its files, over restarts. No two owners
 * get the same id.
 */
export class OwnerUsers {
  readonly #file: string
  readonly #range: { readonly first: number; readonly count: number }
  readonly #byOwner: Map<string, number>

  /**
   * @throws Error when the file exists and cannot be read: new ids would own the files of other
   * owners
   */
  constructor(file: string, range: { readonly first: number; readonly count: number }) {
    this.#file = file
    this.#range = range
    this.#byOwner = new Map(Object.entries(read(file)))
  }

  /**
   * Returns an owner's id. The first call assigns and saves it.
   * @throws Error when no id is left, or when the file cannot be written
   */
  of(owner: string): number {
    const known = this.#byOwner.get(owner)
    if (known !== undefined) return known

    const uid = this.#free(owner)
    // Save first: an unsaved id could go to another owner after a restart.
    this.#write(new Map(this.#byOwner).set(owner, uid))
    this.#byOwner.set(owner, uid)
    return uid
  }

  isInRange(uid: number): boolean {
    const { first, count } = this.#range
    return uid >= first && uid < first + count
  }

  /**
   * Starts at a hash of the owner, so that most owners get their ids back when the file is lost.
   */
  #free(owner: string): number {
    const { first, count } = this.#range
    const taken = new Set(this.#byOwner.values())
    const start = createHash('sha256').update(owner).digest().readUInt32BE() % count
    for (let step = 0; step < count; step += 1) {
      const uid = first + ((start + step) % count)
      if (!taken.has(uid)) return uid
    }
    throw new Error(
      `All ${count} user ids of runtime.sandboxUsers are taken. Raise runtime.sandboxUsers.count.`,
    )
  }

  #write(byOwner: ReadonlyMap<string, number>): void {
    const next = `${this.#file}.next`
    writeFileSync(next, `${JSON.stringify(Object.fromEntries(byOwner), null, 2)}\n`, {
      mode: 0o600,
      flush: true,
    })
    renameSync(next, this.#file)
  }
}

function read(file: string): Record<string, number> {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Record<string, number>
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {}
    throw new Error(
      `${file} cannot be read: ${(error as Error).message}. Restore it; ` +
        'it says which user id stands for which owner.',
      { cause: error },
    )
  }
}
