import { createHash } from 'node:crypto'

/** The end of a chain of records. */
export interface ChainHead {
  /** Number of the last record; 0 before the first. */
  readonly seq: number
  /** Hash of the last record; zeros before the first. */
  readonly hash: string
}

export const chainStart: ChainHead = { seq: 0, hash: '0'.repeat(64) }

/**
 * Builds a line: `{"seq":…,<members>,"prev":"…","hash":"…"}`. The hash is SHA-256 of the UTF-8 text
 * before `,"hash"`, including the hash before, so every change, gap or insertion breaks the chain.
 */
export function chainLine(
  previous: ChainHead,
  seq: number,
  members: string,
): { readonly line: string; readonly head: ChainHead } {
  const start = `{"seq":${seq},${members},"prev":"${previous.hash}"`
  const hash = createHash('sha256').update(start).digest('hex')
  return { line: `${start},"hash":"${hash}"}\n`, head: { seq, hash } }
}

/** The fields that a check of the chain needs. */
export interface ChainedRecord {
  readonly seq: number
  readonly type: string
  readonly time: string
  readonly prev: string
  readonly hash: string
  readonly from?: number
  readonly to?: number
  readonly lost?: number
  readonly torn?: number
}

/**
 * Reads a line (without its end) as a record with a matching hash.
 * @throws Error whose message states the fault as a predicate, such as `is no JSON`
 */
export function readLine(line: string): ChainedRecord {
  const parts = /^(\{"seq":.*),"hash":"([0-9a-f]{64})"\}$/s.exec(line)
  if (parts === null) throw new Error('is no whole record')
  const [, start = '', hash = ''] = parts
  let record: ChainedRecord
  try {
    record = JSON.parse(line) as ChainedRecord
  } catch {
    throw new Error('is no JSON')
  }
  if (createHash('sha256').update(start).digest('hex') !== hash)
    throw new Error('was changed: its hash is another')
  return record
}

/**
 * Checks that a record follows another.
 * @throws Error whose message states the fault as a predicate
 */
export function checkFollows(
  previous: ChainHead,
  { type, seq, prev, from, to, lost }: ChainedRecord,
): void {
  if (prev !== previous.hash)
    throw new Error(
      `does not follow record ${previous.seq}: something is missing, ` +
        'was put in or stands elsewhere',
    )
  const gap =
    type === 'gap' &&
    from === previous.seq + 1 &&
    to === seq - 1 &&
    to >= from &&
    lost === to - from + 1
  if (seq !== previous.seq + 1 && !gap)
    throw new Error(`has not the number that follows ${previous.seq}`)
}
