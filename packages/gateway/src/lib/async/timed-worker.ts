import { parentPort, Worker } from 'node:worker_threads'

export interface TimedWorkerOptions {
  /** A JavaScript module that calls `serveTasks`. */
  readonly program: URL
  /**
   * Limits for preparing and for running a task. Neither the wait nor, up to tenfold, time without
   * the processor counts.
   */
  readonly limits: { readonly prepareMs: number; readonly runMs: number; readonly heapMb: number }
  /** Most tasks that may wait in all, and of one party. */
  readonly waiting: { readonly most: number; readonly mostOfOne: number }
}

/**
 * Most multiples of its limit that a task may take when this process gets no processor time: others
 * wait for it.
 */
const patience = 10

/** The task exceeded its time or memory. */
export class LimitExceeded extends Error {
  override readonly name = 'LimitExceeded'
}

/** The task will never run: too many tasks wait, or the worker was disposed. */
export class WorkRefused extends Error {
  override readonly name = 'WorkRefused'
}

interface Job<Task, Answer> {
  readonly task: () => Task | undefined
  readonly resolve: (answer: Answer | undefined) => void
  readonly reject: (error: Error) => void
  /** A worker has already died during this task. */
  died: boolean
}

/** A worker's message about itself or its task. */
type WorkerMessage<Answer> =
  | { readonly said: 'ready' }
  | { readonly said: 'prepared' }
  | { readonly said: 'done'; readonly answer: Answer }
  | { readonly said: 'failed'; readonly reason: string }

/**
 * A thread for tasks that may never end: starts on demand, runs one task at a time, is replaced
 * when a task exceeds its limits. Parties take turns, so none waits for more than one task of each.
 */
export class TimedWorker<Task, Answer> implements AsyncDisposable {
  readonly #options: TimedWorkerOptions
  /** Waiting jobs by party; the first party has the next turn. */
  readonly #lines = new Map<string, Job<Task, Answer>[]>()
  /** The job of a worker that died. It goes first. */
  #again: Job<Task, Answer> | undefined
  #waiting = 0
  #worker: Worker | undefined
  #state: 'none' | 'starting' | 'ready' | 'ending' | 'disposed' = 'none'
  #current: Job<Task, Answer> | undefined
  #timer: NodeJS.Timeout | undefined

  constructor(options: TimedWorkerOptions) {
    this.#options = options
  }

  /**
   * Calls `task` when its turn has come; the answer is undefined if `task` returns undefined.
   * @throws LimitExceeded, WorkRefused; Error when the worker failed at the task, or cannot be
   * started
   */
  async run(party: string, task: () => Task | undefined): Promise<Answer | undefined> {
    const { most, mostOfOne } = this.#options.waiting
    const line = this.#lines.get(party) ?? []
    if (this.#state === 'disposed' || this.#waiting >= most || line.length >= mostOfOne)
      throw new WorkRefused()
    return new Promise((resolve, reject) => {
      line.push({ task, resolve, reject, died: false })
      this.#lines.set(party, line)
      this.#waiting += 1
      this.#next()
    })
  }

  #next(): void {
    if (this.#state === 'none' && (this.#waiting > 0 || this.#again !== undefined)) this.#start()
    while (this.#state === 'ready' && this.#current === undefined) {
      const job = this.#take()
      if (job === undefined) return
      const task = job.task()
      if (task === undefined) {
        job.resolve(undefined)
        continue
      }
      this.#current = job
      this.#worker?.postMessage(task)
      this.#limit(this.#options.limits.prepareMs)
    }
  }

  #take(): Job<Task, Answer> | undefined {
    const again = this.#again
    this.#again = undefined
    const [first] = this.#lines
    if (again !== undefined || first === undefined) return again
    const [party, line] = first
    const job = line.shift()
    this.#waiting -= 1
    this.#lines.delete(party)
    if (line.length > 0) this.#lines.set(party, line)
    return job
  }

  #start(): void {
    const { program, limits } = this.#options
    // The thread must not get this process's options (loaders, inspectors).
    const worker = new Worker(program, {
      execArgv: [],
      // Node.js lets a full heap grow by 16 MB before it ends the process: young objects that are
      // promoted at once must fit in there.
      resourceLimits: { maxOldGenerationSizeMb: limits.heapMb, maxYoungGenerationSizeMb: 8 },
    })
    let cause: unknown
    worker.on('message', (message: WorkerMessage<Answer>) => this.#hear(message))
    worker.on('error', (error) => (cause = error))
    worker.on('exit', () => this.#ended(cause))
    worker.unref()
    this.#worker = worker
    this.#state = 'starting'
  }

  #hear(message: WorkerMessage<Answer>): void {
    if (message.said === 'ready') {
      if (this.#state === 'starting') this.#state = 'ready'
    } else if (message.said === 'prepared') {
      if (this.#current !== undefined) this.#limit(this.#options.limits.runMs)
    } else {
      // Undefined when the answer came too late.
      const job = this.#finish()
      if (message.said === 'done') job?.resolve(message.answer)
      else job?.reject(new Error(message.reason))
    }
    this.#next()
  }

  #finish(): Job<Task, Answer> | undefined {
    const job = this.#current
    this.#current = undefined
    clearTimeout(this.#timer)
    this.#timer = undefined
    return job
  }

  #limit(ms: number): void {
    const begun = performance.now()
    const before = process.cpuUsage()

    const wait = (more: number): void => {
      clearTimeout(this.#timer)
      const timer = setTimeout(() => {
        // If this thread was held up, first hear what the worker has said meanwhile.
        setImmediate(() => {
          if (this.#timer !== timer) return
          const { user, system } = process.cpuUsage(before)
          const left = ms - (user + system) / 1000
          // If the whole process was held up, the task cannot have had its time yet.
          if (left > ms / 10 && performance.now() - begun < ms * patience) return wait(left)

          this.#state = 'ending'
          this.#finish()?.reject(new LimitExceeded())
          void this.#worker?.terminate()
        })
      }, more)

      timer.unref()
      this.#timer = timer
    }

    wait(ms)
  }

  #ended(cause: unknown): void {
    if (this.#state === 'disposed') return
    // A worker that cannot start fails a task each time, so that it does not restart forever.
    const job = this.#finish() ?? (this.#state === 'starting' ? this.#take() : undefined)
    this.#state = 'none'
    // A second run shows whether the task was the cause.
    if (job?.died === false) {
      job.died = true
      this.#again = job
    } else
      job?.reject(
        (cause as { code?: unknown } | undefined)?.code === 'ERR_WORKER_OUT_OF_MEMORY'
          ? new LimitExceeded()
          : new Error('the worker died', { cause }),
      )
    this.#next()
  }

  /** Refuses all unfinished tasks. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#state = 'disposed'
    this.#finish()?.reject(new WorkRefused())
    for (let job = this.#take(); job !== undefined; job = this.#take())
      job.reject(new WorkRefused())
    await this.#worker?.terminate()
  }
}

/**
 * The worker's side. `prepare` does the part of a task that does not count as running, and returns
 * the rest.
 */
export function serveTasks<Task, Answer>(prepare: (task: Task) => () => Answer): void {
  const say = (message: WorkerMessage<Answer>): void => parentPort?.postMessage(message)
  parentPort?.on('message', (task: Task) => {
    try {
      const run = prepare(task)
      say({ said: 'prepared' })
      say({ said: 'done', answer: run() })
    } catch (error) {
      say({ said: 'failed', reason: String(error) })
    }
  })
  say({ said: 'ready' })
}
