/** Tasks of one server that are remembered. Beyond, the caller with the most loses its oldest. */
const mostTasks = 10_000

/**
 * Remembers which caller made each task. A server that speaks stdio knows no callers, so it lets
 * everybody list, read and cancel every task whose id they name. Task ids may be easy to guess.
 */
export class TaskOwners<Owner> {
  readonly #owners = new Map<string, Owner>()
  /** The tasks of each caller, the oldest first. */
  readonly #tasks = new Map<Owner, Set<string>>()

  /** A server has made a task for a caller. A task stays its first owner's. */
  made(taskId: string, owner: Owner): void {
    if (this.#owners.has(taskId)) return

    if (this.#owners.size === mostTasks) this.#forgetOne()
    this.#owners.set(taskId, owner)
    const tasks = this.#tasks.get(owner)
    if (tasks === undefined) this.#tasks.set(owner, new Set([taskId]))
    else tasks.add(taskId)
  }

  /** Undefined for a task that nobody is known to have made, which is nobody's. */
  ownerOf(taskId: string | undefined): Owner | undefined {
    return taskId === undefined ? undefined : this.#owners.get(taskId)
  }

  #forgetOne(): void {
    let most: Set<string> = new Set()
    for (const tasks of this.#tasks.values()) if (tasks.size > most.size) most = tasks
    for (const oldest of most) {
      const owner = this.#owners.get(oldest) as Owner
      this.#owners.delete(oldest)
      most.delete(oldest)
      if (most.size === 0) this.#tasks.delete(owner)
      return
    }
  }
}

/** The same error for a task of another caller and for a missing one: both look alike. */
export const noSuchTask = 'Invalid params: there is no such task.'
