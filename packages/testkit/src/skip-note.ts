/**
 * Ends the name of a test that cannot run on this machine; the last lines of a run show the note.
 * `missing` says in a few words what the test needs. Undefined if nothing is missing.
 */
export function skipNote(missing: string | undefined): string {
  return missing === undefined ? '' : ` (skipped: ${missing})`
}
