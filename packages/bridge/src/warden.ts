import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'

/**
 * Ends all processes that carry a mark in their environment, and all that descend from them or live in their sessions
 * (a program may overwrite its environment, or leave its parent). It first waits for the end of its standard input: held open by a
 * process, that is the end of this process, however it comes.
 *
 * A shell script rather than a Node program, as one stays beside each gateway and bridge: it takes one megabyte instead of forty.
 * Arguments: mark (NAME=value), seconds between SIGTERM and SIGKILL.
 */
const script = `
trap '' INT TERM HUP PIPE QUIT
while read -r line; do :; done
marked() {
  found=$(grep -lzxF -- "$1" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3 | tr '\\n' ' ')
  [ -n "$found" ] || return 0
  cat /proc/[0-9]*/stat 2>/dev/null | awk -v marked="$found" -v self="$$" '
    BEGIN { count = split(marked, names, " "); for (i = 1; i <= count; i++) ours[names[i]] = 1 }
    { pid = $1; rest = $0; sub(/^.*\\) /, "", rest); split(rest, field, " "); if (field[1] != "Z") { parent[pid] = field[2]; session[pid] = field[4] } }
    END {
      for (pid in ours) if (pid in session && ((session[pid] in ours) || !(session[pid] in parent))) led[session[pid]] = 1
      do { more = 0; for (pid in parent) if (!(pid in ours) && ((parent[pid] in ours) || (session[pid] in led))) { ours[pid] = 1; more = 1 } } while (more)
      for (pid in ours) if (pid in parent && pid != self) print pid
    }'
}
first=$(marked "$1")
[ -n "$first" ] || exit 0
kill -TERM $first 2>/dev/null
waited=0
while [ "$waited" -lt "$(( $2 * 10 ))" ]; do
  left=$(marked "$1")
  [ -n "$left" ] || exit 0
  sleep 0.1
  waited=$((waited + 1))
done
while left=$(marked "$1"); [ -n "$left" ]; do
  kill -KILL $left 2>/dev/null
  sleep 0.1
done
`

/** A mark for the environment of processes, unique to its owner. */
export function newMark(name: string): { readonly name: string; readonly value: string } {
  return { name, value: randomBytes(16).toString('hex') }
}

export interface WardenOptions {
  /** `NAME=value` in the environment of all that is to end. */
  readonly mark: string
  /** Between SIGTERM and SIGKILL. */
  readonly graceSeconds: number
}

/** A process that outlives this one for just as long as it takes to end what this one has started. */
export interface Warden {
  /** Lets it go without waiting; it ends whatever is still marked. */
  release(): void
}

/**
 * Starts the warden. Marked processes end when this process does, be it by `kill -9`.
 * Works where there is `/proc` (Linux); elsewhere processes are ended by their groups alone, while this process lives.
 */
export function startWarden(options: WardenOptions): Warden {
  const child = spawnScript(options, 'pipe')
  child.unref()
  ;(child.stdin as unknown as { unref?(): void } | null)?.unref?.()
  child.stdin?.on('error', () => undefined)
  return { release: () => child.stdin?.end() }
}

/** Ends all marked processes now, and resolves when none is left. */
export function endMarked(options: WardenOptions): Promise<void> {
  return new Promise((resolve) => {
    const child = spawnScript(options, 'ignore')
    child.once('error', () => resolve())
    child.once('exit', () => resolve())
  })
}

function spawnScript({ mark, graceSeconds }: WardenOptions, stdin: 'pipe' | 'ignore') {
  // A session and an environment of its own: it must not end with what it watches, nor be found by its own search.
  return spawn('/bin/sh', ['-c', script, 'mcp-warden', mark, String(Math.ceil(graceSeconds))], {
    detached: true,
    env: { PATH: '/usr/bin:/bin:/usr/sbin:/sbin' },
    stdio: [stdin, 'ignore', 'ignore'],
  })
}
