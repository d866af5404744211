import { constants } from 'node:fs'
import { mkdir, open, readdir, rename, rm, stat, type FileHandle } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { chainStart, readLine, type ChainHead } from './chain.ts'
import type { AuditSink } from './journal.ts'

export interface FileSinkOptions {
  readonly path: string
  /**
   * Largest size in bytes. Before a file exceeds it, the sink renames the file to `{path}.{number
   * of its last record}`.
   */
  readonly maxBytes: number
  /** Number of old files to keep; 0 keeps all. */
  readonly keep: number
  /** `always`: lines are on disk before the sink takes more. `second`: within a second. */
  readonly fsync: 'always' | 'second'
}

/** Bytes read from the end of a file. No record is longer. */
const tailBytes = 64 * 1024
const newline = 10

/**
 * Append-only file of JSON lines (mode 0600) with whole lines only. The sink removes a line cut off
 * by a full disk. The next start removes one cut off by a crash, and records that.
 */
export class FileSink implements AuditSink {
  readonly name: string
  readonly head: ChainHead
  readonly found: Readonly<Record<string, string | number>>
  readonly #options: FileSinkOptions
  #file: FileHandle
  #inode: number
  /** Bytes of whole lines. */
  #size: number
  #last: number
  /** True if the file may end with half a line. */
  #unsure = false
  #sync: NodeJS.Timeout | undefined

  private constructor(
    options: FileSinkOptions,
    { file, inode, size }: Opened,
    head: ChainHead,
    found: FileSink['found'],
  ) {
    this.name = `file ${options.path}`
    this.head = head
    this.found = found
    this.#options = options
    this.#file = file
    this.#inode = inode
    this.#size = size
    this.#last = head.seq
  }

  /** Opens or creates the file, and repairs its end. */
  static async open(options: FileSinkOptions): Promise<FileSink> {
    const { path } = options
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    let opened = await openFile(path)
    const found: Record<string, string | number> = {}
    const tail = await readTail(opened.file, opened.size)

    const torn = opened.size - tail.end
    if (torn > 0) {
      await opened.file.truncate(tail.end)
      opened = { ...opened, size: tail.end }
      found['torn'] = torn
    }

    let head = headOf(tail.line)
    if (head === undefined && tail.line !== undefined) {
      // Keep the unknown content, and append nothing to it.
      const aside = `${path}.damaged-${Date.now()}`
      await opened.file.close()
      await rename(path, aside)
      opened = await openFile(path)
      found['damaged'] = basename(aside)
    }

    head ??= await headOfArchives(path)
    return new FileSink(options, opened, head ?? chainStart, found)
  }

  async write(lines: readonly string[]): Promise<void> {
    const bytes = Buffer.from(lines.join(''))
    await this.#reopenIfMoved()
    if (this.#unsure) await this.#takeBack()
    if (this.#size > 0 && this.#size + bytes.length > this.#options.maxBytes) await this.#putAside()

    try {
      for (let done = 0; done < bytes.length;) {
        this.#unsure = true
        done += (await this.#file.write(bytes, done)).bytesWritten
      }
      if (this.#options.fsync === 'always') await this.#file.datasync()
    } catch (error) {
      await this.#takeBack().catch(() => undefined)
      throw error
    }

    this.#unsure = false
    this.#size += bytes.length
    this.#last = seqOf(lines.at(-1))
    if (this.#options.fsync === 'second')
      this.#sync ??= setTimeout(() => this.#syncNow(), 1000).unref()
  }

  /** Truncates the file to its whole lines, which works even on a full disk. */
  async #takeBack(): Promise<void> {
    await this.#file.truncate(this.#size)
    this.#unsure = false
  }

  #syncNow(): void {
    this.#sync = undefined
    // A failure shows at the next write.
    this.#file.datasync().catch(() => undefined)
  }

  /**
   * Opens the path again if somebody removed or renamed the file. Records would otherwise vanish.
   */
  async #reopenIfMoved(): Promise<void> {
    const there = await stat(this.#options.path).catch(() => undefined)
    if (there?.ino === this.#inode) return
    const opened = await openFile(this.#options.path)
    await this.#file.close().catch(() => undefined)
    this.#take(opened)
  }

  async #putAside(): Promise<void> {
    const { path, keep } = this.#options
    await this.#file.datasync()
    await rename(path, `${path}.${String(this.#last).padStart(12, '0')}`)
    const opened = await openFile(path)
    await this.#file.close()
    this.#take(opened)
    if (keep === 0) return
    for (const old of (await archivesOf(path)).slice(0, -keep)) await rm(old)
  }

  #take({ file, inode, size }: Opened): void {
    this.#file = file
    this.#inode = inode
    this.#size = size
    this.#unsure = false
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#sync)
    await this.#file.datasync().catch(() => undefined)
    await this.#file.close()
  }
}

interface Opened {
  readonly file: FileHandle
  readonly inode: number
  readonly size: number
}

async function openFile(path: string): Promise<Opened> {
  const file = await open(path, constants.O_RDWR | constants.O_APPEND | constants.O_CREAT, 0o600)
  const { ino: inode, size } = await file.stat()
  return { file, inode, size }
}

/** Reads the last whole line and its end position. */
async function readTail(
  file: FileHandle,
  size: number,
): Promise<{ readonly line: string | undefined; readonly end: number }> {
  if (size === 0) return { line: undefined, end: 0 }
  const start = Math.max(0, size - tailBytes)
  const { buffer, bytesRead } = await file.read(Buffer.alloc(size - start), 0, size - start, start)
  const bytes = buffer.subarray(0, bytesRead)
  const last = bytes.lastIndexOf(newline)
  if (last === -1) return start === 0 ? { line: undefined, end: 0 } : { line: '', end: size }
  const before = last === 0 ? -1 : bytes.lastIndexOf(newline, last - 1)
  return { line: bytes.subarray(before + 1, last).toString(), end: start + last + 1 }
}

function seqOf(line: string | undefined): number {
  return Number(/^\{"seq":(\d+)/.exec(line ?? '')?.[1])
}

function headOf(line: string | undefined): ChainHead | undefined {
  if (line === undefined) return undefined
  try {
    const { seq, hash } = readLine(line)
    return { seq, hash }
  } catch {
    return undefined
  }
}

/** The archived files of a log, oldest first. */
export async function archivesOf(path: string): Promise<string[]> {
  const prefix = `${basename(path)}.`
  const names = await readdir(dirname(path))
  return names
    .filter((name) => name.startsWith(prefix) && /^\d{12,}$/.test(name.slice(prefix.length)))
    .toSorted()
    .map((name) => join(dirname(path), name))
}

/** The end of the chain in the newest archive, for a process that ended just after the rename. */
async function headOfArchives(path: string): Promise<ChainHead | undefined> {
  const last = (await archivesOf(path)).at(-1)
  if (last === undefined) return undefined
  const file = await open(last, 'r')
  try {
    return headOf((await readTail(file, (await file.stat()).size)).line)
  } finally {
    await file.close()
  }
}
