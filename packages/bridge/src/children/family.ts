import { readdirSync, readFileSync } from 'node:fs'

/** A process, with its parent and session. */
export interface Entry {
  readonly parent: number
  readonly session: number
  /** Start time since boot, in ticks. Together with the id it identifies a process for ever. */
  readonly start: number
}

/** The processes of this machine. */
export interface Processes {
  /** The start of a process, or undefined if there is no process with this id. */
  start(pid: number): number | undefined
  /** All processes, by their ids. */
  table(): ReadonlyMap<number, Entry>
  isMarked(pid: number, mark: string): boolean
  /** @throws Error if the process has ended */
  signal(pid: number, signal: NodeJS.Signals): void
}

/**
 * A process and all that it started, found by parents, sessions and a mark in the environment.
 * Empty without /proc. The warden does the same in shell, in case this process has ended.
 */
export class Family {
  readonly #mark: string
  readonly #root: number
  readonly #processes: Processes
  readonly #known = new Map<number, number>()
  readonly #start: number | undefined

  /** @param mark `NAME=value` */
  constructor(root: number, mark: string, processes: Processes = ofThisMachine) {
    this.#root = root
    this.#mark = mark
    this.#processes = processes
    this.#start = processes.start(root)
  }

  /**
   * Records the current members. Call this while the root lives: children of an ended process get
   * another parent.
   */
  look(): void {
    const table = this.#processes.table()
    const isOurs = (pid: number): boolean => this.#known.has(pid)
    for (const [pid, start] of this.#known)
      if (table.get(pid)?.start !== start) this.#known.delete(pid)

    // After the root has ended, another process may get its id, but not while its session lasts.
    const isAnothers = table.has(this.#root) && table.get(this.#root)?.start !== this.#start
    for (const [pid, { session, start }] of table) {
      const inSession = session === this.#root && !isAnothers
      if (inSession || (start >= (this.#start ?? 0) && this.#processes.isMarked(pid, this.#mark)))
        this.#known.set(pid, start)
    }
    for (let before = -1; before !== this.#known.size;) {
      before = this.#known.size
      for (const [pid, { parent, session, start }] of table)
        if (isOurs(parent) || isOurs(session)) this.#known.set(pid, start)
    }
  }

  /** Looks for members again, and sends a signal to each. */
  signal(signal: NodeJS.Signals): void {
    this.look()
    for (const pid of this.#known.keys())
      try {
        this.#processes.signal(pid, signal)
      } catch {
        // The process has ended since.
      }
  }
}

const ofThisMachine: Processes = {
  start: (pid) => entryOf(String(pid))?.start,
  table: processTable,
  signal: (pid, signal) => process.kill(pid, signal),
  isMarked(pid, mark) {
    try {
      return readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(mark)
    } catch {
      // The process belongs to another user, or has ended.
      return false
    }
  },
}

let last: { readonly at: number; readonly table: ReadonlyMap<number, Entry> } | undefined

/**
 * All processes (proc_pid_stat(5)). Families that end together share one look (3 ms at 300
 * processes).
 */
function processTable(): ReadonlyMap<number, Entry> {
  const now = performance.now()
  if (last !== undefined && now - last.at < 5) return last.table

  const table = new Map<number, Entry>()
  for (const name of pids()) {
    const entry = entryOf(name)
    if (entry !== undefined) table.set(Number(name), entry)
  }
  last = { at: now, table }
  return table
}

function pids(): string[] {
  try {
    return readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name))
  } catch {
    return []
  }
}

function entryOf(pid: string): Entry | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The name in brackets may hold any character.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined
    return { parent: Number(fields[1]), session: Number(fields[3]), start: Number(fields[19]) }
  } catch {
    return undefined
  }
}
