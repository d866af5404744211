import { spawn, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'

/**
 * Waits until its standard input ends, then ends marked processes, their descendants and sessions
 * (programs may overwrite their environment or leave their parent). A start time beside each id
 * keeps the signal from a later process with that id.
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
      if tr '\\0' '\\n' 2>/dev/null <"$file" | grep -qxF -- "$1"; then
        echo "$file" | cut -d/ -f3
      fi
    done
  fi
}
# Each as pid:start. Its parent may end first, and the system may give its id to another process,
# which must not get a signal.
known=
left=
look() {
  found="$(marked "$1" | tr '\\n' ' ')$also"
  also=
  left=
  [ -n "$found$known" ] || return 0
  known=$(cat /proc/[0-9]*/stat 2>/dev/null |
    awk -v marked="$found" -v known="$known" -v self="$$" '
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
      for (pid in ours)
        if (pid in session && session[pid] > 1 &&
            ((session[pid] in ours) || !(session[pid] in parent)))
          led[session[pid]] = 1
      do {
        more = 0
        for (pid in parent)
          if (!(pid in ours) && ((parent[pid] in ours) || (session[pid] in led))) {
            ours[pid] = 1; more = 1
          }
      } while (more)
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

/** A variable by which processes are found again. */
export interface Mark {
  readonly name: string
  readonly value: string
  /** `NAME=value`, as in the environment of a process. */
  readonly text: string
}

export function markOf(name: string, value: string): Mark {
  return { name, value, text: `${name}=${value}` }
}

/** A mark for the environment of processes, unique to its owner. */
export function newMark(name: string): Mark {
  return markOf(name, randomBytes(16).toString('hex'))
}

export interface WardenOptions {
  /**
   * `NAME=value` in the environment of the processes to end. A process escapes only if it had
   * cleaned its environment, had its own session and had lost its parent before the end began.
   */
  readonly mark: string
  /** Seconds between SIGTERM and SIGKILL. */
  readonly graceSeconds: number
  /** Folder of a control group of Linux. Processes left in it end at last, marked or not. */
  readonly group?: string | undefined
  /** Id of a running process that counts as marked, as it may have overwritten its environment. */
  readonly pid?: number | undefined
}

/** A process that outlives this one just long enough to end what this one has started. */
export interface Warden {
  /** Lets the warden go without waiting for it. It still ends the marked processes. */
  release(): void
}

/**
 * Starts the warden, and again if it is killed. Marked processes end with this process, even after
 * SIGKILL. Needs `/proc` (Linux); elsewhere, process groups are ended while this process lives.
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

/** Ends all marked processes now. Resolves when none is left, or to false if some remain. */
export function endMarked(options: WardenOptions): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawnScript(options, 'ignore')
    child.once('error', () => resolve(false))
    child.once('exit', (code) => resolve(code === 0))
  })
}

/**
 * Runs the script in a shell, because a warden stays beside each gateway and bridge: it takes one
 * megabyte, a Node program forty. Exit code 1: some process could not be ended.
 */
function spawnScript(
  { mark, graceSeconds, group = '', pid }: WardenOptions,
  stdin: 'pipe' | 'ignore',
): ChildProcess {
  const tenths = String(Math.ceil(graceSeconds * 10))
  // The warden gets its own session and environment, so that it neither ends with the processes
  // that it watches nor finds itself.
  return spawn('/bin/sh', ['-c', script, 'mcp-warden', mark, tenths, group, String(pid ?? '')], {
    detached: true,
    env: { PATH: '/usr/bin:/bin:/usr/sbin:/sbin' },
    stdio: [stdin, 'ignore', 'ignore'],
  })
}
