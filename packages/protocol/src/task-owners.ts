/** Tasks of one server that are remembered. The oldest are forgotten first. */
const mostTasks = 10_000

/**
 * Whose each task of a server is. A server that speaks stdio knows no callers, so that it lets
 * everybody list, read and cancel every task whose id they name. Task ids may be easy to guess.
 */
export class TaskOwners<Owner> {
  readonly #owners = new Map<string, Owner>()

  /** A server has made a task for a caller. A task stays its first owner's. */
  made(taskId: string, owner: Owner): void {
    if (this.#owners.has(taskId)) return

    this.#owners.set(taskId, owner)
    if (this.#owners.size <= mostTasks) return
    for (const oldest of this.#owners.keys()) return void this.#owners.delete(oldest)
  }

  /** Undefined for a task that nobody is known to have made, which is nobody's. */
  ownerOf(taskId: string | undefined): Owner | undefined {
    return taskId === undefined ? undefined : this.#owners.get(taskId)
  }
}

/** What somebody is told who names a task of another, and whoever names one that is not there. */
export const noSuchTask = 'Invalid params: there is no such task.'
