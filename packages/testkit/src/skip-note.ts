/**
 * The end of the name of tests that cannot run on this machine: the closing lines of a run show it.
 * `missing` says in a few words what they need; undefined where it is there.
 */
export function skipNote(missing: string | undefined): string {
  return missing === undefined ? '' : ` (skipped: ${missing})`
}
