/** Most tasks to remember for one server. Beyond, the caller with the most loses its oldest. */
const mostTasks = 10_000

/**
 * Remembers which caller made each task. A stdio server cannot tell callers apart, so it lists,
 * reads and cancels every task for everybody. Task ids may be easy to guess.
 */
export class TaskOwners<Owner> {
  readonly #owners = new Map<string, Owner>()
  /** The tasks of each caller, the oldest first. */
  readonly #tasks = new Map<Owner, Set<string>>()

  /** Records that a server made a task for a caller. The first owner of a task keeps it. */
  made(taskId: string, owner: Owner): void {
    if (this.#owners.has(taskId)) return

    if (this.#owners.size === mostTasks) this.#forgetOne()
    this.#owners.set(taskId, owner)
    const tasks = this.#tasks.get(owner)
    if (tasks === undefined) this.#tasks.set(owner, new Set([taskId]))
    else tasks.add(taskId)
  }

  /** The caller that made a task. Undefined if no caller is known: then nobody owns the task. */
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

/** One error for a task of another caller and for a missing task, so that the two look alike. */
export const noSuchTask = 'Invalid params: there is no such task.'
