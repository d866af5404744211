import { readFileSync, writeFileSync } from 'node:fs'

/** Writes a generated file. With --check, fails when the file does not hold this text. */
export function writeGenerated(path, text, command) {
  const file = new URL(`../${path}`, import.meta.url)
  if (!process.argv.includes('--check')) return writeFileSync(file, text)

  if (readFileSync(file, 'utf8') === text) return
  console.error(`${path} is stale: run \`${command}\` and commit it.`)
  process.exitCode = 1
}
