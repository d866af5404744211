import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { open, readdir, readFile, type FileHandle } from 'node:fs/promises'
import { isIPv4 } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { monotonicNow } from '../clock.ts'

/** Both ends of a TCP connection, as the end that looks sees them. */
export interface Connection {
  readonly localAddress?: string | undefined
  readonly localPort?: number | undefined
  readonly remoteAddress?: string | undefined
  readonly remotePort?: number | undefined
}

/** An end of a connection that a process of this machine holds. */
export interface LocalSocket {
  readonly user: number
  /** Names the socket among all of the machine, also in the descriptors of processes. */
  readonly inode: string
}

/**
 * The other end of a connection within this machine; undefined when no process holds it any more,
 * or it is not of this machine. (Linux: /proc/net/tcp, proc_pid_net(5))
 */
export async function remoteSocket(connection: Connection): Promise<LocalSocket | undefined> {
  const { localAddress, localPort, remoteAddress, remotePort } = connection
  if (localAddress === undefined || remoteAddress === undefined) return undefined

  const own = placesOf(localAddress, localPort ?? 0)
  const theirs = placesOf(remoteAddress, remotePort ?? 0)
  for (const table of await readTables())
    for (const place of theirs)
      for (const other of own)
        for (const line of linesWith(table, ` ${place} ${other} `)) {
          const row = rowOf(line)
          if (row !== undefined) return row.socket
        }
  return undefined
}

const tables = ['/proc/net/tcp', '/proc/net/tcp6']

/** Many connections at once are looked up in one reading. */
const readTables = shared(() => Promise.all(tables.map((file) => readTable(file).catch(() => ''))))

/**
 * All who ask while a reading runs share the next one: this one may have passed what they look for.
 */
function shared<T>(read: () => Promise<T>): () => Promise<T> {
  let running: Promise<unknown> = Promise.resolve()
  let next: Promise<T> | undefined
  return () => {
    next ??= running.then(() => {
      next = undefined
      const reading = read()
      running = reading.then(
        () => undefined,
        () => undefined,
      )
      return reading
    })
    return next
  }
}

/** Few lines are wanted of many, so the others are not taken apart. */
function* linesWith(text: string, mark: string): Generator<string> {
  for (let at = text.indexOf(mark); at !== -1; at = text.indexOf(mark, at + 1)) {
    const end = text.indexOf('\n', at)
    yield text.slice(text.lastIndexOf('\n', at) + 1, end === -1 ? undefined : end)
  }
}

type SocketsByPlace = ReadonlyMap<string, readonly LocalSocket[]>

/**
 * The sockets of this machine that take connections. All who ask share a reading, which takes 80 ms
 * of CPU where the machine has 20,000 connections, and 8 ms where Linux lists those that listen first.
 */
export class ListeningSockets {
  #startedAt = -Infinity
  #latest: Promise<SocketsByPlace> = Promise.resolve(new Map())
  readonly #readAgain = shared(() => {
    this.#startedAt = monotonicNow()
    return (this.#latest = this.#read())
  })
  /** Linux has always done so, and documents it nowhere: the first whole reading tells. */
  #listsThemFirst = false

  /**
   * Those that take connections to an address, as they were at most `maxAgeMs` ago; undefined where
   * the system has no such table. Sockets for all addresses count where none is for this one.
   * @throws Error if the table cannot be read
   */
  async at(
    address: string,
    port: number,
    maxAgeMs: number,
  ): Promise<readonly LocalSocket[] | undefined> {
    if (process.platform !== 'linux') return undefined
    const isRecent = monotonicNow() - this.#startedAt < maxAgeMs
    const found = await (isRecent ? this.#latest : this.#readAgain())
    for (const each of closestFirst(address)) {
      const sockets = placesOf(each, port).flatMap((place) => found.get(place) ?? [])
      if (sockets.length > 0) return sockets
    }
    return []
  }

  async #read(): Promise<SocketsByPlace> {
    const read = this.#listsThemFirst ? readBeginning : readTable
    const texts = await Promise.all(tables.map((file) => read(file)))
    const rows = texts.map((text) => text.split('\n').flatMap((line) => rowOf(line) ?? []))
    this.#listsThemFirst ||= listensFirst(rows)

    const found = new Map<string, LocalSocket[]>()
    for (const { state, local, socket } of rows.flat()) {
      if (state !== listening) continue
      const others = found.get(local)
      if (others === undefined) found.set(local, [socket])
      else others.push(socket)
    }
    return found
  }
}

/**
 * The order in which Linux looks for the socket of a connection. Anybody may listen on `::` for
 * IPv6 alone, where the server of somebody else listens for IPv4, and gets none of its connections.
 */
function closestFirst(address: string): readonly string[] {
  const isV4 = isIPv4(address.replace(/^::ffff:/, ''))
  return isV4 ? [address, '0.0.0.0', '::'] : [address, '::']
}

const listening = '0A'

/** Whether a table with both kinds of rows has those that listen before all others. */
function listensFirst(all: readonly (readonly Row[])[]): boolean {
  const others = all.map((rows) => rows.findIndex(({ state }) => state !== listening))
  return (
    all.some((rows, table) => rows[0]?.state === listening && others[table] !== -1) &&
    all.every(
      (rows, table) =>
        others[table] === -1 || rows.slice(others[table]).every(({ state }) => state !== listening),
    )
  )
}

/** Empty where the machine has no IPv6. */
async function readTable(file: string): Promise<string> {
  try {
    return await readFile(file, 'latin1')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return ''
    throw error
  }
}

/** A table until its first rows that do not listen. */
async function readBeginning(file: string): Promise<string> {
  let table: FileHandle
  try {
    table = await open(file)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return ''
    throw error
  }
  try {
    const chunk = Buffer.alloc(16 * 1024)
    for (let text = ''; ;) {
      const { bytesRead } = await table.read(chunk)
      text += chunk.toString('latin1', 0, bytesRead)
      const last = rowOf(text.slice(0, text.lastIndexOf('\n')).split('\n').at(-1) ?? '')
      if (bytesRead === 0 || (last !== undefined && last.state !== listening)) return text
    }
  } finally {
    await table.close()
  }
}

interface Row {
  readonly local: string
  readonly remote: string
  readonly state: string
  readonly socket: LocalSocket
}

/** Undefined for the headline, and for a socket that its process has closed: it has no inode. */
function rowOf(line: string): Row | undefined {
  const [, local = '', remote = '', state = '', , , , uid, , inode] = line.trim().split(/\s+/)
  return inode === undefined || !/^[1-9]/.test(inode)
    ? undefined
    : { local, remote, state, socket: { user: Number(uid), inode } }
}

/**
 * Whether a process outside of all sandboxes, one in the same process namespace as this one, holds
 * a socket. Looks at young processes first, and lets others run between two of them. (12 ms of CPU
 * at 300 processes)
 */
export async function isHeldOutside(inode: string): Promise<boolean> {
  const own = linkOf('/proc/self/ns/pid')
  const look = new Look(`socket:[${inode}]`)
  for (const pid of pids().toSorted((a, b) => Number(b) - Number(a))) {
    if (linkOf(`/proc/${pid}/ns/pid`) === own && (await look.findsAt(pid))) return true
    await turn()
  }
  return false
}

/**
 * Whether a process, or one that descends from it, holds a socket. A server may have any number of
 * processes and descriptors, so others run meanwhile, and it is not searched to the end.
 */
export async function isHeldBelow(root: number, inode: string): Promise<boolean> {
  const parents = new Map<string, string | undefined>()
  for (const [index, pid] of pids().entries()) {
    parents.set(pid, parentOf(pid))
    if (index % atOnce === atOnce - 1) await turn()
  }
  const isBelow = (pid: string | undefined): boolean =>
    pid !== undefined && pid !== '0' && (pid === String(root) || isBelow(parents.get(pid)))

  const look = new Look(`socket:[${inode}]`)
  for (const pid of parents.keys()) {
    if (look.links >= mostLinks) return false
    if (isBelow(pid) && (await look.findsAt(pid))) return true
  }
  return false
}

/** Descriptors that are looked at without a pause, and of one server in all. */
const atOnce = 100
const mostLinks = 50_000

/** A search for a socket among the descriptors of processes. */
class Look {
  readonly #socket: string
  /** Descriptors that it has looked at. */
  links = 0

  constructor(socket: string) {
    this.#socket = socket
  }

  async findsAt(pid: string): Promise<boolean> {
    const folder = `/proc/${pid}/fd`
    // It may have ended, or belong to another user.
    for (const name of await readdir(folder).catch(() => [])) {
      if (linkOf(`${folder}/${name}`) === this.#socket) return true
      this.links += 1
      if (this.links % atOnce === 0) await turn()
    }
    return false
  }
}

function pids(): string[] {
  return readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name))
}

function parentOf(pid: string): string | undefined {
  try {
    // The name in brackets may hold anything. (proc_pid_stat(5))
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[1]
  } catch {
    return undefined
  }
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path)
  } catch {
    return undefined
  }
}

/** An address and port as the two files write them: words of the host's byte order, in capitals. */
function placesOf(address: string, port: number): string[] {
  const plain =
    address.startsWith('::ffff:') && isIPv4(address.slice(7)) ? address.slice(7) : address
  const end = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  if (!isIPv4(plain)) return [wordsOf(bytesOfV6(plain)) + end]

  const bytes = Buffer.from(plain.split('.').map(Number))
  const mapped = Buffer.concat([Buffer.alloc(10), Buffer.from([0xff, 0xff]), bytes])
  return [wordsOf(bytes) + end, wordsOf(mapped) + end]
}

function wordsOf(bytes: Buffer): string {
  let text = ''
  for (let at = 0; at < bytes.length; at += 4)
    text += bytes.readUInt32LE(at).toString(16).toUpperCase().padStart(8, '0')
  return text
}

function bytesOfV6(address: string): Buffer {
  const [head = '', tail] = (address.split('%')[0] ?? '').split('::')
  const groups = (part: string): number[] =>
    part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16))
  const first = groups(head)
  const last = tail === undefined ? [] : groups(tail)
  const zeros = Array.from({ length: 8 - first.length - last.length }, () => 0)
  const bytes = Buffer.alloc(16)
  for (const [index, group] of [...first, ...zeros, ...last].entries())
    bytes.writeUInt16BE(group, index * 2)
  return bytes
}
