import { verifyLog } from '../audit/verify.ts'
import { say, usage } from './say.ts'

/** Exit code 1: something in the log was changed, left out or put in. */
export async function verifyAudit(
  [file, ...more]: readonly string[],
  head: string | undefined,
): Promise<number> {
  if (file === undefined || more.length > 0)
    return say(`audit verify takes one file.\n\n${usage}`, 2)

  const { files, records, first, head: last, faults, notes } = await verifyLog(file, head)
  const summary =
    `${records} records in ${files.length} ` +
    `${files.length === 1 ? 'file' : 'files'}, ` +
    `${first} to ${last.seq}; the last has the hash ${last.hash}`
  const report = [
    ...notes.map((note) => `note   ${note}`),
    ...faults.map((fault) => `FAULT  ${fault}`),
    summary,
  ]

  const inOrder = faults.length === 0
  const verdict = inOrder ? 'The log is in order.' : 'The log is not in order.'
  return say(`${report.join('\n')}\n${verdict}\n`, inOrder ? 0 : 1)
}
