import { serveTasks } from '../../../lib/async/timed-worker.ts'
import { convert } from './convert.ts'
import type { ImportAnswer, ImportTask } from './imported.ts'

/** The program of the thread that reads documents. */
serveTasks<ImportTask, ImportAnswer>((task) => () => convert(task))
