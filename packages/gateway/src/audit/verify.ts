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

    notes.push(...remarksOn(record, running, time).map((remark) => `${place}: ${remark}`))
    running = record.type !== 'stop'
    time = record.time
    previous = { seq: record.seq, hash: record.hash }
    met ||= record.hash === expected
    records += 1
  }

  for (const file of files)
    for await (const { place, text } of linesOf(file))
      try {
        take(place, readLine(text))
      } catch (error) {
        faults.push(`${place}: ${(error as Error).message}`)
      }

  if (!met) faults.push(`The record with the hash ${expected} is not there.`)
  return { files, records, first, head: previous ?? chainStart, faults, notes }
}

/** `running`: the record before was not the end of a gateway. `time`: the time of that record. */
function remarksOn(record: ChainedRecord, running: boolean, time: string): string[] {
  const remarks: string[] = []
  if (record.type === 'gap')
    remarks.push(`${record.lost} records were lost (${record.from} to ${record.to})`)
  if (record.type === 'start' && running)
    remarks.push('the gateway before was ended outright; its last moments may be missing')
  if (record.torn !== undefined)
    remarks.push(`a record that was half written then (${record.torn} bytes) was cut off`)
  if (record.time < time) remarks.push(`the clock was set back (${time} to ${record.time})`)

  return remarks
}

async function* linesOf(file: string): AsyncIterable<{ place: string; text: string }> {
  const input = createReadStream(file)
  let line = 0
  for await (const text of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
    line += 1
    yield { place: `${file}:${line}`, text }
  }
}
