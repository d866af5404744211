import { write } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { chainStart } from './chain.ts'
import type { AuditSink } from './journal.ts'

const standardOutput = 1

/** Lines on standard output, for platforms that collect it. A chain of its own for each process. Not by `process.stdout`, whose writes to a pipe hold up the whole process when nobody reads. */
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
          // The pipe is full. What is half written has to be ended, so it goes on from there.
          if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
          await sleep(20)
        }
      }
    },
    async [Symbol.asyncDispose]() {},
  }
}
