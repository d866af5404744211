// Writes the table of docs/configuration.md from the built schema; with --check, fails when it is
// stale.
import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { z } from 'zod'
import { ConfigSchema } from '../packages/gateway/dist/config/config.js'
import { writeGenerated } from './generated.js'
import { markdownTable } from './markdown-table.js'

const path = 'docs/configuration.md'
const [begin, end] = ['<!-- npm run settings -->\n', '\n<!-- end -->']
const MiB = 1024 * 1024

/** Every setting that is not a section, with its path. */
function* settingsOf(section, prefix) {
  for (const [name, setting] of Object.entries(section.properties)) {
    const path = `${prefix}${name}`
    if (setting.properties !== undefined) yield* settingsOf(setting, `${path}.`)
    else yield { path, setting }
  }
}

/** A link in place of each path of a document. */
function linked(text) {
  return text.replaceAll(/docs\/([\w-]+\.md)(#[\w-]+)?/g, '[$1]($1$2)')
}

function meaningOf({ path, setting: { description, enum: values } }) {
  if (description === undefined) throw new Error(`The setting ${path} has no description.`)
  const choice =
    values === undefined ? '' : ` One of ${values.map((each) => `\`${each}\``).join(', ')}.`
  return linked(description) + choice
}

function defaultOf({ path, setting: { default: value } }) {
  if (value === undefined) return ''
  if (/bytes$/i.test(path) && value % MiB === 0) return `${value / MiB} MiB`
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  return text === '' ? '' : `\`${text.replace(homedir(), '~')}\``
}

const rows = [...settingsOf(z.toJSONSchema(ConfigSchema, { io: 'input' }), '')].map((row) => [
  `\`${row.path}\``,
  defaultOf(row),
  meaningOf(row),
])
const page = readFileSync(new URL(`../${path}`, import.meta.url), 'utf8')
const from = page.indexOf(begin) + begin.length
const table = markdownTable(['setting', 'default', 'meaning'], rows)

writeGenerated(
  path,
  `${page.slice(0, from)}\n${table}\n${page.slice(page.indexOf(end))}`,
  'npm run settings',
)
