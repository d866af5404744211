import { GatewayError } from '../../../core/errors.ts'
import { LimitExceeded, TimedWorker, WorkRefused } from '../../../lib/async/timed-worker.ts'
import type { ImportAnswer, ImportTask } from './imported.ts'

/** The thread runs the built program even from source, because Node.js 20 starts no TypeScript. */
const program = new URL(
  import.meta.url.endsWith('.ts')
    ? '../../../../dist/control/tool-import/openapi/openapi-worker.js'
    : 'openapi-worker.js',
  import.meta.url,
)

/** Seconds and megabytes of one document. Honest ones take a tenth. */
const limits = { seconds: 10, heapMb: 384 }

/** Reads documents of strangers on another thread, one at a time. */
export class DocumentReader implements AsyncDisposable {
  readonly #worker = new TimedWorker<ImportTask, ImportAnswer>({
    program,
    limits: {
      prepareMs: limits.seconds * 1000,
      runMs: limits.seconds * 1000,
      heapMb: limits.heapMb,
    },
    // Each waiting task holds its document.
    waiting: { most: 8, mostOfOne: 2 },
  })

  /** @throws GatewayError `checks_busy` */
  async read(party: string, task: ImportTask): Promise<ImportAnswer> {
    try {
      const answer = await this.#worker.run(party, () => task)
      if (answer !== undefined) return answer
    } catch (error) {
      if (error instanceof WorkRefused) throw new GatewayError('checks_busy', { cause: error })
      if (!(error instanceof LimitExceeded)) throw error
    }
    const detail =
      `takes more than ${limits.seconds} s or ${limits.heapMb} MB to read: ` +
      'name fewer operations, or shorten it'
    return { mistake: { code: 'document_invalid', detail } }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker[Symbol.asyncDispose]()
  }
}
