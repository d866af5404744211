import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { stat } from 'node:fs/promises'
import { chainStart, checkFollows, readLine, type ChainHead, type ChainedRecord } from './chain.ts'
import { archivesOf } from './file-sink.ts'

/** The result of checking a log. */
export interface Verification {
  readonly files: readonly string[]
  readonly records: number
  readonly first: number
  readonly head: ChainHead
  /** Breaks in the chain: `audit.log:17: …`. */
  readonly faults: readonly string[]
  /** Remarks that are not faults. */
  readonly notes: readonly string[]
}

/**
 * Checks the chain of a log and its archives. `expected` is the hash of a record that must exist,
 * noted elsewhere. Without it, a removed end is undetectable.
 * @throws Error if there is no log
 */
export async function verifyLog(path: string, expected?: string): Promise<Verification> {
  const files = [
    ...(await archivesOf(path)),
    ...((await stat(path).catch(() => undefined)) === undefined ? [] : [path]),
  ]
  if (files.length === 0) throw new Error(`There is no log at ${path}.`)

  const faults: string[] = []
  const notes: string[] = []
  let previous: ChainHead | undefined
  let first = 0
  let records = 0
  let running = false
  let time = ''
  let met = expected === undefined

  const take = (place: string, record: ChainedRecord): void => {
    if (previous === undefined) {
      first = record.seq
      if (record.seq !== 1 || record.prev !== chainStart.hash)
        notes.push(
          `${place}: the log begins with record ${record.seq}; what was before is not here`,
        )
    } else {
      try {
        checkFollows(previous, record)
      } catch (error) {
        faults.push(`${place}: record ${record.seq} ${(error as Error).message}`)
      }
    }

    if (record.type === 'gap')
      notes.push(`${place}: ${record.lost} records were lost (${record.from} to ${record.to})`)
    if (record.type === 'start' && running)
      notes.push(`${place}: the gateway before was ended outright; its last moments may be missing`)
    if (record.torn !== undefined)
      notes.push(`${place}: a record that was half written then (${record.torn} bytes) was cut off`)
    if (record.time < time)
      notes.push(`${place}: the clock was set back (${time} to ${record.time})`)

    running = record.type !== 'stop'
    time = record.time
    previous = { seq: record.seq, hash: record.hash }
    met ||= record.hash === expected
    records += 1
  }

  for (const file of files) {
    let line = 0
    for await (const text of createInterface({
      input: createReadStream(file),
      crlfDelay: Number.POSITIVE_INFINITY,
    })) {
      line += 1
      try {
        take(`${file}:${line}`, readLine(text))
      } catch (error) {
        faults.push(`${file}:${line}: ${(error as Error).message}`)
      }
    }
  }

  if (!met) faults.push(`The record with the hash ${expected} is not there.`)
  return { files, records, first, head: previous ?? chainStart, faults, notes }
}
