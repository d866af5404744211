import { createHash } from 'node:crypto'
import { reservedFor } from '../../../core/fields/naming.ts'

/** Names of tools are at most so long, because some clients put their own prefix before them. */
const longestTool = 64
const longestResource = 52

/** Gives names that are legal and differ from each other. */
export class Names {
  readonly #taken = new Set<string>()
  readonly #longest: number

  constructor(longest = longestTool) {
    this.#longest = longest
  }

  /** A legal name near the given one. The same order of names gives the same names. */
  take(wanted: string): string {
    const legal = wanted.replaceAll(/[^A-Za-z0-9_-]+/g, '_').replaceAll(/^_+|_+$/g, '') || 'value'
    const short = shortened(legal, this.#longest, '_')
    let name = short
    for (let count = 2; this.#taken.has(name.toLowerCase()); count += 1)
      name = `${short.slice(0, this.#longest - String(count).length - 1)}_${count}`
    this.#taken.add(name.toLowerCase())
    return name
  }
}

/** The name of the resource of a tool: a DNS label. Tools that differ get names that differ. */
export function resourceNameOf(tool: string): string {
  const words = tool.replaceAll(/([a-z0-9])([A-Z])/g, '$1-$2').toLowerCase()
  const label = words.replaceAll(/[^a-z0-9]+/g, '-').replaceAll(/^-+|-+$/g, '')
  const named = /^[a-z]/.test(label) ? label : `op-${label}`
  const free = reservedFor(named) === undefined ? named : `${named}-tool`
  return shortened(free.replaceAll(/-+$/g, ''), longestResource, '-')
}

/** The beginning of a name and a digest of all of it, if it is too long. */
function shortened(name: string, longest: number, separator: string): string {
  if (name.length <= longest) return name
  const digest = createHash('sha256').update(name).digest('hex').slice(0, 6)
  return `${name.slice(0, longest - 7)}${separator}${digest}`
}
