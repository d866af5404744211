import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { open, readdir, readFile, type FileHandle } from 'node:fs/promises'
import { isIPv4 } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { monotonicNow } from '../clock.ts'

/** Both ends of a TCP connection, as one end sees them. */
export interface Connection {
  readonly localAddress?: string | undefined
  readonly localPort?: number | undefined
  readonly remoteAddress?: string | undefined
  readonly remotePort?: number | undefined
}

/** The end of a connection that a process of this machine holds. */
export interface LocalSocket {
  readonly user: number
  /** The number of the socket on this machine, also in the descriptors of processes. */
  readonly inode: string
}

/**
 * Finds the other end of a connection; undefined when no process holds it any more, or it is on
 * another machine. (Linux: /proc/net/tcp, proc_pid_net(5))
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

/** One reading serves many connections that are looked up at once. */
const readTables = shared(() => Promise.all(tables.map((file) => readTable(file).catch(() => ''))))

/**
 * All callers during a reading share the next one: the present one may have passed their entries.
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

/** Only a few of many lines are wanted, so the others are not parsed. */
function* linesWith(text: string, mark: string): Generator<string> {
  for (let at = text.indexOf(mark); at !== -1; at = text.indexOf(mark, at + 1)) {
    const end = text.indexOf('\n', at)
    yield text.slice(text.lastIndexOf('\n', at) + 1, end === -1 ? undefined : end)
  }
}

type SocketsByPlace = ReadonlyMap<string, readonly LocalSocket[]>

/**
 * The listening sockets of this machine. Callers share a reading, which takes 80 ms of CPU at
 * 20,000 connections, or 8 ms where Linux lists listening sockets first.
 */
export class ListeningSockets {
  #startedAt = -Infinity
  #latest: Promise<SocketsByPlace> = Promise.resolve(new Map())
  readonly #readAgain = shared(() => {
    this.#startedAt = monotonicNow()
    return (this.#latest = this.#read())
  })
  /**
   * Linux has always listed them first, but does not document it, so the first full reading
   * decides.
   */
  #listsThemFirst = false

  /**
   * Sockets that listen on an address, at most `maxAgeMs` old; undefined where the system has no
   * table. Sockets for all addresses count if none is for this one.
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
 * The order in which Linux looks for a connection's socket. Anybody may listen on `::` for IPv6
 * only beside another's IPv4 server, and gets none of its connections.
 */
function closestFirst(address: string): readonly string[] {
  const isV4 = isIPv4(address.replace(/^::ffff:/, ''))
  return isV4 ? [address, '0.0.0.0', '::'] : [address, '::']
}

const listening = '0A'

/** Tells whether all tables list listening sockets first, and at least one holds both kinds. */
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

/** Reads a table. Empty where the machine has no IPv6. */
async function readTable(file: string): Promise<string> {
  try {
    return await readFile(file, 'latin1')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return ''
    throw error
  }
}

/** Reads a table up to its first rows that do not listen. */
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

/** Undefined for the headline, and for a socket without inode, which its process has closed. */
function rowOf(line: string): Row | undefined {
  const [, local = '', remote = '', state = '', , , , uid, , inode] = line.trim().split(/\s+/)
  return inode === undefined || !/^[1-9]/.test(inode)
    ? undefined
    : { local, remote, state, socket: { user: Number(uid), inode } }
}

/**
 * Tells whether a process outside of all sandboxes (in this process's pid namespace) holds a
 * socket. Young processes come first, and others run in between. (12 ms of CPU at 300 processes)
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
 * Tells whether a process or a descendant holds a socket. A server may have any number of
 * descriptors, so others run meanwhile, and the search is bounded.
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

/** Descriptors between two pauses, and in one server in all. */
const atOnce = 100
const mostLinks = 50_000

/** A search for a socket among the descriptors of processes. */
class Look {
  readonly #socket: string
  /** Number of descriptors read so far. */
  links = 0

  constructor(socket: string) {
    this.#socket = socket
  }

  async findsAt(pid: string): Promise<boolean> {
    const folder = `/proc/${pid}/fd`
    // The process may have ended, or belong to another user.
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
    // The name in brackets may hold any character. (proc_pid_stat(5))
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

/** An address and port as the two files write them: words in the host's byte order, in capitals. */
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
