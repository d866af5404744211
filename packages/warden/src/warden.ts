import { spawn, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'

/**
 * Ends all processes that carry a mark in their environment, and all that descend from them or live in their sessions
 * (a program may overwrite its environment, or leave its parent). It first waits for the end of its standard input: held open by a
 * process, that is the end of this process, however it comes.
 *
 * Who was found once stays found, by its id and start time: a process with a clean environment is told by its parent alone, and that
 * one may end first. The start time also keeps an id that was given to another process since from being signalled.
 *
 * A shell script rather than a Node program, as one stays beside each gateway and bridge: it takes one megabyte instead of forty.
 * Arguments: mark (NAME=value), tenths of a second between SIGTERM and SIGKILL, folder of a control group or nothing (what is left in the group
 * ends at last), id of a process that counts as marked or nothing. Exit code 1: something could not be ended.
 */
const script = `
trap '' INT TERM HUP PIPE QUIT
group=$3
also=$4
trap 'if [ -n "$group" ]; then echo 1 2>/dev/null >"$group/cgroup.kill"; fi' EXIT
while read -r line; do :; done
marked() {
  # BusyBox has a grep without -z.
  if printf 'a\\0b\\0' | grep -qzx b 2>/dev/null; then
    grep -lzxF -- "$1" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3
  else
    for file in /proc/[0-9]*/environ; do
      if tr '\\0' '\\n' 2>/dev/null <"$file" | grep -qxF -- "$1"; then echo "$file" | cut -d/ -f3; fi
    done
  fi
}
known=
left=
look() {
  found="$(marked "$1" | tr '\\n' ' ')$also"
  also=
  left=
  [ -n "$found$known" ] || return 0
  known=$(cat /proc/[0-9]*/stat 2>/dev/null | awk -v marked="$found" -v known="$known" -v self="$$" '
    BEGIN {
      count = split(marked, word, " "); for (i = 1; i <= count; i++) ours[word[i]] = 1
      count = split(known, word, " "); for (i = 1; i <= count; i++) before[word[i]] = 1
    }
    {
      pid = $1; rest = $0; sub(/^.*\\) /, "", rest); split(rest, field, " ")
      if (field[1] == "Z" || field[1] == "X") next
      parent[pid] = field[2]; session[pid] = field[4]; start[pid] = field[20]
      if ((pid ":" field[20]) in before) ours[pid] = 1
    }
    END {
      for (pid in ours) if (pid in session && session[pid] > 1 && ((session[pid] in ours) || !(session[pid] in parent))) led[session[pid]] = 1
      do { more = 0; for (pid in parent) if (!(pid in ours) && ((parent[pid] in ours) || (session[pid] in led))) { ours[pid] = 1; more = 1 } } while (more)
      for (pid in ours) if (pid in parent && pid != self && pid > 1) print pid ":" start[pid]
    }' | tr '\\n' ' ')
  left=$(echo "$known" | sed 's/:[0-9]*//g')
}
look "$1"
[ -n "$left" ] || exit 0
kill -TERM $left 2>/dev/null
for pause in 0.02 0.04 0.04; do
  look "$1"
  [ -n "$left" ] || exit 0
  sleep "$pause"
done
waited=1
while [ "$waited" -lt "$2" ]; do
  look "$1"
  [ -n "$left" ] || exit 0
  sleep 0.1
  waited=$((waited + 1))
done
tried=0
while look "$1"; [ -n "$left" ]; do
  # Of another user, or stuck in the kernel.
  [ "$tried" -lt 50 ] || exit 1
  kill -KILL $left 2>/dev/null
  sleep 0.1
  tried=$((tried + 1))
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
  /** Folder of a control group of Linux, whose processes end at last, marked or not. */
  readonly group?: string | undefined
  /** A running process that counts as marked: it may have overwritten its environment. */
  readonly pid?: number | undefined
}

/** A process that outlives this one for just as long as it takes to end what this one has started. */
export interface Warden {
  /** Lets it go without waiting; it ends whatever is still marked. */
  release(): void
}

/**
 * Starts the warden. Marked processes end when this process does, be it by `kill -9`. A warden that is killed itself is replaced.
 * Works where there is `/proc` (Linux); elsewhere processes are ended by their groups alone, while this process lives. A process is out of reach
 * only if it had cleaned its environment, had a session of its own, and had lost its parent, all before the end began.
 */
export function startWarden(options: WardenOptions): Warden {
  let released = false
  const start = (): ChildProcess => {
    const child = spawnScript(options, 'pipe')
    child.unref()
    ;(child.stdin as unknown as { unref?(): void } | null)?.unref?.()
    child.stdin?.on('error', () => undefined)
    child.once('error', () => undefined)
    child.once('exit', (_code, killedBy) => {
      if (!released && killedBy !== null) current = start()
    })
    return child
  }
  let current = start()
  return {
    release: () => {
      released = true
      current.stdin?.end()
    },
  }
}

/** Ends all marked processes now, and resolves when none is left: false when some could not be ended. */
export function endMarked(options: WardenOptions): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawnScript(options, 'ignore')
    child.once('error', () => resolve(false))
    child.once('exit', (code) => resolve(code === 0))
  })
}

function spawnScript(
  { mark, graceSeconds, group = '', pid }: WardenOptions,
  stdin: 'pipe' | 'ignore',
): ChildProcess {
  const tenths = String(Math.ceil(graceSeconds * 10))
  // A session and an environment of its own: it must not end with what it watches, nor be found by its own search.
  return spawn('/bin/sh', ['-c', script, 'mcp-warden', mark, tenths, group, String(pid ?? '')], {
    detached: true,
    env: { PATH: '/usr/bin:/bin:/usr/sbin:/sbin' },
    stdio: [stdin, 'ignore', 'ignore'],
  })
}
