import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { isIPv4 } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'

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
  const [found] = await sockets(
    ({ local, remote }) => theirs.includes(local) && own.includes(remote),
  )
  return found
}

/**
 * The sockets that take connections to an address, also those for all addresses; undefined where
 * that cannot be told.
 */
export async function listeners(
  address: string,
  port: number,
): Promise<readonly LocalSocket[] | undefined> {
  if (!existsSync('/proc/net/tcp')) return undefined
  const places = [address, '0.0.0.0', '::'].flatMap((each) => placesOf(each, port))
  return sockets(({ local, state }) => state === listening && places.includes(local))
}

const listening = '0A'

interface Row {
  readonly local: string
  readonly remote: string
  readonly state: string
}

async function sockets(wanted: (row: Row) => boolean): Promise<LocalSocket[]> {
  const found: LocalSocket[] = []
  for (const file of ['/proc/net/tcp', '/proc/net/tcp6']) {
    const text = await readFile(file, 'latin1').catch(() => '')
    for (const line of text.split('\n').slice(1)) {
      const [, local = '', remote = '', state = '', , , , uid, , inode] = line.trim().split(/\s+/)
      // A socket that its process has closed has no inode, and says user 0.
      if (inode !== undefined && inode !== '0' && wanted({ local, remote, state }))
        found.push({ user: Number(uid), inode })
    }
  }
  return found
}

/**
 * Whether a process outside of all sandboxes, one in the same process namespace as this one, holds
 * a socket. Looks at young processes first, and lets others run between two of them. (12 ms of CPU
 * at 300 processes)
 */
export async function isHeldOutside(inode: string): Promise<boolean> {
  const own = linkOf('/proc/self/ns/pid')
  const pids = readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name))
  for (const pid of pids.toSorted((a, b) => Number(b) - Number(a))) {
    if (linkOf(`/proc/${pid}/ns/pid`) === own && holds(pid, `socket:[${inode}]`)) return true
    await turn()
  }
  return false
}

/** Whether a process, or one that descends from it, holds a socket. */
export function isHeldBelow(root: number, inode: string): boolean {
  const parents = new Map(
    readdirSync('/proc')
      .filter((name) => /^[0-9]+$/.test(name))
      .map((pid) => [pid, parentOf(pid)] as const),
  )
  const isBelow = (pid: string | undefined): boolean =>
    pid !== undefined && pid !== '0' && (pid === String(root) || isBelow(parents.get(pid)))

  return [...parents.keys()].some((pid) => isBelow(pid) && holds(pid, `socket:[${inode}]`))
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

function holds(pid: string, socket: string): boolean {
  try {
    const folder = `/proc/${pid}/fd`
    return readdirSync(folder).some((name) => linkOf(`${folder}/${name}`) === socket)
  } catch {
    // It has ended, or belongs to another user.
    return false
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
