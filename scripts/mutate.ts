// Tries the bugs of test/mutants/sample.yaml on a copy of this repository, and says which of them
// `npm test` finds. Arguments: the ids to try; none for all. CONTRIBUTING.md says how to read it.
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'

interface Mutant {
  readonly id: string
  readonly file: string
  readonly kind: string
  readonly breaks: string
  readonly old: string
  readonly new: string
  readonly first?: readonly string[]
}

const root = join(import.meta.dirname, '..')
const copy = join(root, '.cache/mutants')
const report = join(copy, 'report.json')

const sample = parse(readFileSync(join(root, 'test/mutants/sample.yaml'), 'utf8')) as Mutant[]
const wanted = process.argv.slice(2)
const chosen = sample.filter(({ id }) => wanted.length === 0 || wanted.includes(id))

makeCopy()
if (!builds()) throw new Error('The repository does not build, so no bug can be tried.')
const verdicts = new Map<string, string>()
for (const mutant of chosen) tell(mutant, tryAlone(mutant))
tryTogether(chosen.filter(({ id }) => !verdicts.has(id)))
summarize()

/** The files as they are, changes that are not committed included. */
function makeCopy(): void {
  const listed = execFileSync('git', ['ls-files', '-z', '-co', '--exclude-standard'], { cwd: root })
  const files = String(listed).split('\0').filter(Boolean)
  rmSync(copy, { recursive: true, force: true })
  for (const file of files)
    if (existsSync(join(root, file))) cpSync(join(root, file), join(copy, file))
  // Links to the workspaces are relative, so the copy has its own packages.
  for (const folder of ['node_modules', 'packages/testkit/node_modules'])
    if (existsSync(join(root, folder)))
      execFileSync('cp', ['-al', join(root, folder), join(copy, folder)])
}

/** Its verdict by the tests that are most likely to find it; undefined when they do not. */
function tryAlone(mutant: Mutant): string | undefined {
  const mutated = apply([mutant])
  if (mutated === undefined) return 'no longer applies: its old text is not there exactly once'
  try {
    if (!builds()) return 'does not compile'
    const { first = [] } = mutant
    const found =
      lasting(['related', mutant.file, '--run', '--bail', '1', '--project', 'unit'])[0] ??
      (first.length === 0 ? undefined : lasting(['run', '--bail', '1', ...first])[0])
    return found === undefined ? undefined : `killed by ${found.name}`
  } finally {
    mutated()
  }
}

/**
 * All that are left in one run of the whole suite: if it passes, all of them survive. Otherwise
 * each is tried with the files that failed, and what survives is tried together again.
 */
function tryTogether(mutants: readonly Mutant[]): void {
  for (let left = mutants; left.length > 0; left = left.filter(({ id }) => !verdicts.has(id))) {
    console.log(`\nThe whole suite with ${left.map(({ id }) => id).join(', ')}`)
    const restore = apply(left)
    if (!builds()) throw new Error('They do not compile together. Try them in smaller groups.')
    const failed = lasting(['run'])
    restore?.()
    if (failed.length === 0) {
      for (const mutant of left) tell(mutant, 'SURVIVED')
      return
    }
    const files = [...new Set(failed.map(({ file }) => file))]
    console.log(failed.map(({ name }) => `  fails: ${name}`).join('\n'))
    for (const mutant of left) tell(mutant, tryAlone({ ...mutant, first: files }))
    if (left.every(({ id }) => !verdicts.has(id)))
      for (const mutant of left)
        tell(mutant, 'SURVIVED (the suite fails with all of them, and with none alone)')
  }
}

function tell({ id }: Mutant, verdict: string | undefined): void {
  if (verdict !== undefined) verdicts.set(id, verdict)
  console.log(`${new Date().toISOString().slice(11, 19)} ${id}: ${verdict ?? 'not found yet'}`)
}

function summarize(): void {
  const killed = [...verdicts.values()].filter((verdict) => verdict.startsWith('killed')).length
  console.log('\n| bug | kind | verdict |\n| --- | --- | --- |')
  for (const { id, kind } of chosen) console.log(`| ${id} | ${kind} | ${verdicts.get(id)} |`)
  console.log(`\n${killed} of ${chosen.length} bugs were found.`)
}

/** Puts bugs into the copy. Gives what takes them out; undefined when one does not apply. */
function apply(mutants: readonly Mutant[]): (() => void) | undefined {
  const before = new Map<string, string>()
  const restore = (): void => {
    for (const [path, text] of before) writeFileSync(path, text)
  }
  for (const mutant of mutants) {
    const path = join(copy, mutant.file)
    const text = existsSync(path) ? readFileSync(path, 'utf8') : ''
    const place = placeOf(mutant.old, text)
    if (place === undefined) {
      restore()
      return undefined
    }
    if (!before.has(path)) before.set(path, text)
    writeFileSync(path, text.slice(0, place.start) + mutant.new + text.slice(place.end))
  }
  return restore
}

/** Where a text stands, whatever its white space is; undefined unless it stands there once. */
function placeOf(wanted: string, text: string): { start: number; end: number } | undefined {
  const places = Array.from({ length: text.length }, (_, index) => index).filter(
    (index) => !/\s/.test(text[index] as string),
  )
  const dense = places.map((index) => text[index]).join('')
  const needle = wanted.replaceAll(/\s/g, '')
  const at = dense.indexOf(needle)
  if (at === -1 || dense.indexOf(needle, at + 1) !== -1) return undefined
  return { start: places[at] as number, end: (places[at + needle.length - 1] as number) + 1 }
}

function builds(): boolean {
  const { status, stdout } = spawnSync('npm', ['run', '--silent', 'build'], { cwd: copy })
  if (status !== 0) console.log(String(stdout))
  return status === 0
}

interface Failure {
  readonly name: string
  readonly file: string
}

interface Report {
  readonly testResults: readonly {
    readonly name: string
    readonly status: string
    readonly assertionResults: readonly { readonly status: string; readonly fullName: string }[]
  }[]
}

/** The tests that fail twice: one that fails now and then has found nothing. */
function lasting(args: readonly string[]): Failure[] {
  const failed = failures(args)
  const files = [...new Set(failed.map(({ file }) => file))].filter(Boolean)
  if (failed.length === 0) return []
  return failures(files.length === 0 ? args : ['run', ...files])
}

/** The tests that fail in the copy. A file that cannot be loaded counts as one. */
function failures(args: readonly string[]): Failure[] {
  rmSync(report, { force: true })
  const { status } = spawnSync(
    'npx',
    ['vitest', ...args, '--passWithNoTests', '--reporter=json', `--outputFile=${report}`],
    { cwd: copy, stdio: 'ignore' },
  )
  const { testResults } = JSON.parse(readFileSync(report, 'utf8')) as Report
  const found = testResults.flatMap(({ name, status: state, assertionResults }) => {
    const file = name.slice(copy.length + 1)
    const failed = assertionResults.filter((each) => each.status === 'failed')
    return state === 'failed' && failed.length === 0
      ? [{ file, name: file }]
      : failed.map(({ fullName }) => ({ file, name: `${file}: ${fullName}` }))
  })
  // Errors outside of tests are in no file's results.
  return status !== 0 && found.length === 0 ? [{ file: '', name: 'the run as a whole' }] : found
}
