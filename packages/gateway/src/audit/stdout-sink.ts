import { write } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { chainStart } from './chain.ts'
import type { AuditSink } from './journal.ts'

const standardOutput = 1

/**
 * Writes lines to standard output, with one chain per process. Avoids `process.stdout`, which
 * blocks the whole process if nobody reads the pipe.
 */
export function stdoutSink(): AuditSink {
  return {
    name: 'standard output',
    head: chainStart,
    found: {},
    async write(lines) {
      const bytes = Buffer.from(lines.join(''))
      for (let done = 0; done < bytes.length;) {
        try {
          done += (await promisify(write)(standardOutput, bytes, done)).bytesWritten
        } catch (error) {
          // The pipe is full. A half-written line must be completed, so the write continues there.
          if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
          await sleep(20)
        }
      }
    },
    async [Symbol.asyncDispose]() {},
  }
}
