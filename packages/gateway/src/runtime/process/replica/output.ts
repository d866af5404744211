import type { ChildProcess } from 'node:child_process'
import { LineCutter } from '../../../lib/line-cutter.ts'
import type { LogBuffer, ReplicaLogs } from './log-buffer.ts'
import type { OutputPace } from './output-pace.ts'

export interface OutputOptions {
  /** Limits how fast the gateway reads the replica's output. */
  readonly pace: OutputPace
  /** Receives the output. Lives on when the replica is replaced. */
  readonly logs: ReplicaLogs
}

/** The output of one process, as lines of its log. */
export class Output {
  readonly logs: LogBuffer
  readonly #cutters: readonly LineCutter[]

  constructor(child: ChildProcess, { pace, logs }: OutputOptions) {
    this.logs = logs.begin()
    // Streams are missing when the gateway has no file descriptors left.
    this.#cutters = [child.stdout, child.stderr].flatMap((stream) => {
      let lines = 0
      const cutter = new LineCutter((line) => {
        lines += 1
        this.logs.push(line, Date.now())
      })
      const meter = stream === null ? undefined : pace.meter(stream)

      stream?.setEncoding('utf8').on('data', (text: string) => {
        cutter.write(text)
        if (child.exitCode === null && child.signalCode === null) meter?.(text.length, lines)
        lines = 0
      })

      return stream === null || stream === undefined ? [] : [cutter]
    })
  }

  /** Adds the line that has no end yet, and marks the log as ended. */
  close(): void {
    for (const cutter of this.#cutters) cutter.end()
    this.logs.close()
  }
}
