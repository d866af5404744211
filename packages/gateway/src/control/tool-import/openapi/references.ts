import { tableOf } from '../../../lib/json/table-of.ts'
import { Unreadable } from './unreadable.ts'

type Table = Readonly<Record<string, unknown>>

/** References that lead from one to the next before a chain counts as a circle. */
const mostHops = 32

/**
 * Reads references within one document (RFC 6901). No other document is ever opened: neither a file
 * nor an address.
 */
export class References {
  readonly #document: Table

  constructor(document: Table) {
    this.#document = document
  }

  /**
   * The object that a value is, or refers to.
   * @throws Unreadable
   */
  follow(value: unknown): Table {
    let found = value
    for (let hops = 0; hops < mostHops; hops += 1) {
      const { $ref: reference } = tableOf(found)
      if (typeof reference !== 'string') return tableOf(found)
      found = this.at(reference)
    }
    throw new Unreadable('reference_loop', 'The references of the operation lead in a circle.')
  }

  /** @throws Unreadable */
  at(reference: string): unknown {
    const shown = reference.slice(0, 200)
    if (!reference.startsWith('#'))
      throw new Unreadable(
        'external_reference',
        `'${shown}' is outside the document, and the gateway reads nothing else. ` +
          'Bundle the document into one file.',
      )

    let found: unknown = this.#document
    for (const step of stepsOf(reference)) {
      const within: unknown = found
      if (typeof within !== 'object' || within === null || !Object.hasOwn(within, step))
        throw new Unreadable('reference_not_found', `The document has nothing at '${shown}'.`)
      found = (within as Table)[step]
    }
    return found
  }
}

function stepsOf(reference: string): string[] {
  const steps = reference.slice(1).split('/').slice(1)
  return steps.map((step) => decoded(step).replaceAll('~1', '/').replaceAll('~0', '~'))
}

function decoded(step: string): string {
  try {
    return decodeURIComponent(step)
  } catch {
    return step
  }
}
