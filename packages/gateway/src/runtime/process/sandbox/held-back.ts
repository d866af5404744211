/**
 * Variables that steer `sh`, `setpriv` and `bwrap`, which have more rights than the server: those
 * that glibc and musl drop for set-user-id programs, and those of name services and shells.
 */
const steersPrograms = new RegExp(
  `^(?:${[
    'LD_.*|GCONV_PATH|GETCONF_DIR|GLIBC_TUNABLES|HOSTALIASES|LOCALDOMAIN|LOCPATH|MUSL_LOCPATH',
    'MALLOC_.*|NIS_PATH|NLSPATH|RESOLV_.*|RES_OPTIONS|TZDIR|NSS_.*|SSS_.*|WINBINDD_.*|LIBC_.*',
    'BASH.*|SHELLOPTS|ENV|PS4|IFS|CDPATH|POSIXLY_CORRECT|ASAN_.*|LSAN_.*|UBSAN_.*|TSAN_.*',
  ].join('|')})$`,
)

/**
 * Splits a server's variables into those that the programs before it may have, and a command that
 * sets the rest. That command comes right before the server's own.
 */
export function heldBack(variables: Readonly<Record<string, string>>): {
  readonly environment: Readonly<Record<string, string>>
  readonly giving: readonly string[]
} {
  const entries = Object.entries(variables)
  const held = entries.filter(([name]) => steersPrograms.test(name))
  if (held.length === 0) return { environment: variables, giving: [] }

  return {
    environment: Object.fromEntries(entries.filter(([name]) => !steersPrograms.test(name))),
    giving: ['/usr/bin/env', ...held.map(([name, value]) => `${name}=${value}`)],
  }
}
