import { parentPort, Worker } from 'node:worker_threads'

export interface TimedWorkerOptions {
  /** A module that calls `serveTasks`, in JavaScript. */
  readonly program: URL
  /** How long a task may take to be prepared, and then to run. Waiting is not counted, nor, up to tenfold, that the process did not have the processor. */
  readonly limits: { readonly prepareMs: number; readonly runMs: number; readonly heapMb: number }
  /** How many tasks may wait, and how many of one party. */
  readonly waiting: { readonly most: number; readonly mostOfOne: number }
}

/** How many times its limit a task may take when the machine has no time for this process: others wait for it. */
const patience = 10

/** The task took more time or memory than it may. */
export class LimitExceeded extends Error {
  override readonly name = 'LimitExceeded'
}

/** The task was not begun and will not be: too many wait, or the worker was disposed. */
export class WorkRefused extends Error {
  override readonly name = 'WorkRefused'
}

interface Job<Task, Answer> {
  readonly task: () => Task | undefined
  readonly resolve: (answer: Answer | undefined) => void
  readonly reject: (error: Error) => void
  /** A worker has died over it once. */
  died: boolean
}

/** What a worker says of itself, or of the task that it has. */
type WorkerMessage<Answer> =
  | { readonly said: 'ready' }
  | { readonly said: 'prepared' }
  | { readonly said: 'done'; readonly answer: Answer }
  | { readonly said: 'failed'; readonly reason: string }

/**
 * A thread for tasks that may never end. It is started when there is something to do, has one task after the other, and is ended
 * and replaced when one exceeds its limits; those that wait do not notice. Parties take turns, so that the first task of one waits
 * for no more than one of each other. The thread does not keep the process alive.
 */
export class TimedWorker<Task, Answer> implements AsyncDisposable {
  readonly #options: TimedWorkerOptions
  /** Waiting jobs by party; the first is the next to have its turn. */
  readonly #lines = new Map<string, Job<Task, Answer>[]>()
  /** What a worker that died had begun: it goes first. */
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
   * `task` is asked for when its turn has come; the answer is undefined when it then is.
   * @throws LimitExceeded, WorkRefused; Error when the worker failed at it, or cannot be started
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
    // What this process was started with (loaders, inspectors) is not for it.
    const worker = new Worker(program, {
      execArgv: [],
      // Node.js lets a heap that is full grow by 16 MB before it ends the process: what is young and moves over at once has to fit in there.
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
      // None when it was too late.
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
        // If it was this thread that was held up, what the worker has said meanwhile is heard first.
        setImmediate(() => {
          if (this.#timer !== timer) return
          const { user, system } = process.cpuUsage(before)
          const left = ms - (user + system) / 1000
          // If it was the whole process, the task cannot have had its time yet.
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
    // A worker that cannot even start fails a task each time, so that it is not tried for ever.
    const job = this.#finish() ?? (this.#state === 'starting' ? this.#take() : undefined)
    this.#state = 'none'
    // Whether a task was the reason shows when it is done again.
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

  /** What is not done by then is refused. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#state = 'disposed'
    this.#finish()?.reject(new WorkRefused())
    for (let job = this.#take(); job !== undefined; job = this.#take())
      job.reject(new WorkRefused())
    await this.#worker?.terminate()
  }
}

/** The worker's side. `prepare` does what of a task is not to count as running, and gives what runs it. */
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
