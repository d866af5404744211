import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { monotonicNow } from '../../../lib/clock.ts'
import { timeoutOr } from '../../../lib/async/timeout-signal.ts'

export interface HealthSettings {
  readonly periodSeconds: number
  readonly timeoutSeconds: number
  /** Failures in a row until a replica gets no new sessions. */
  readonly unreadyAfter: number
  /** Failures in a row until a replica is restarted; 0 for never. */
  readonly restartAfter: number
}

/** Why a replica must be restarted. */
export type Ailment = 'NotResponding' | 'PortTaken'

/**
 * Checks that the server itself listens: another process may take a port that the server has left.
 */
export interface PortWatch {
  readonly isOwn: () => Promise<boolean>
  readonly periodMs: number
}

/** The place where a server listens. */
export interface Address {
  readonly host: string
  readonly port: number
}

/**
 * Tells whether the port accepts connections before the signal aborts. Polls often at first,
 * because good servers start in a moment.
 */
export async function accepts(address: Address, signal: AbortSignal): Promise<boolean> {
  for (let wait = 10; !signal.aborted; wait = Math.min(wait * 1.3, 250)) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect(address)
      // TCP lets a socket connect to itself when the system assigns it the very port that it calls.
      socket.once('connect', () => resolve(socket.localPort !== address.port))
      socket.once('connect', () => socket.destroy())
      socket.once('error', () => resolve(false))
    })
    if (open) return !signal.aborted
    await sleep(wait, undefined, { signal }).catch(() => undefined)
  }
  return false
}

/**
 * Checks that a server answers, and more often who listens on its port. Returns why it must
 * restart, or undefined on abort. `failing` receives each change of the failures in a row.
 */
export async function watchHealth(
  { address, watch }: { readonly address: Address; readonly watch: PortWatch | undefined },
  { periodSeconds, timeoutSeconds, restartAfter }: HealthSettings,
  signal: AbortSignal,
  failing: (failures: number) => void,
): Promise<Ailment | undefined> {
  const looksMs = watch?.periodMs ?? Infinity
  let next = monotonicNow() + periodSeconds * 1000

  for (let failures = 0; ;) {
    const wait = Math.max(0, Math.min(looksMs, next - monotonicNow()))
    await sleep(wait, undefined, { signal, ref: false }).catch(() => undefined)
    if (signal.aborted) return undefined

    // Check the port first, because another server may also hold back its answer.
    const own = watch === undefined || (await watch.isOwn().catch(() => undefined))
    if (signal.aborted) return undefined
    if (own === false) return 'PortTaken'
    if (monotonicNow() < next) continue

    const alive = own === true && (await answers(address, timeoutOr(signal, timeoutSeconds * 1000)))
    if (signal.aborted) return undefined

    next = monotonicNow() + periodSeconds * 1000

    const before = failures
    failures = alive ? 0 : failures + 1
    if (failures !== before) failing(failures)
    if (restartAfter > 0 && failures >= restartAfter) return 'NotResponding'
  }
}

/**
 * Tells whether a server reacts to a request. A 404 or a closed connection is enough. A connection
 * alone proves nothing: the system accepts it for a stopped process.
 */
export function answers({ host, port }: Address, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port })

    const done = (alive: boolean): void => {
      signal.removeEventListener('abort', late)
      socket.destroy()
      resolve(alive)
    }

    const late = (): void => done(false)
    if (signal.aborted) return done(false)

    signal.addEventListener('abort', late, { once: true })
    let connected = false
    socket.once('connect', () => {
      connected = true
      const authority = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
      socket.write(
        `GET /healthz HTTP/1.1\r\nHost: ${authority}\r\n` +
          'User-Agent: mcp-gateway\r\nConnection: close\r\n\r\n',
      )
    })

    socket.once('data', () => done(true))
    socket.once('end', () => done(true))
    // The server resets an open connection; the system refuses a new one.
    socket.once('error', () => done(connected))
  })
}
