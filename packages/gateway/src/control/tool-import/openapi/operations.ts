import { tableOf } from '../../../lib/json/table-of.ts'
import { Names } from './names.ts'
import type { References } from './references.ts'
import { Unreadable } from './unreadable.ts'

type Table = Readonly<Record<string, unknown>>

/** An operation of a document. */
export interface Operation {
  readonly method: string
  readonly path: string
  /** Method and path. */
  readonly key: string
  readonly operationId: string | undefined
  /** The name of its tool. */
  readonly name: string
  readonly item: Table
  readonly operation: Table
}

const methods = ['get', 'put', 'post', 'delete', 'patch', 'head', 'options', 'trace'] as const

/** The operations of a document, in its order. */
export class Operations {
  readonly all: readonly Operation[]
  /** Paths whose operations cannot be read. */
  readonly #unreadable = new Map<string, Unreadable>()

  constructor(document: Table, references: References, prefix = '') {
    const names = new Names()
    this.all = Object.entries(tableOf(document['paths'])).flatMap(([path, given]) =>
      this.#itemOf(path, given, references).map(([method, item]) => {
        const operation = tableOf(item[method])
        const id = operation['operationId']
        const operationId = typeof id === 'string' && id !== '' ? id.slice(0, 256) : undefined
        const plainName = operationId ?? `${method}_${path.replaceAll(/[{}]/g, '')}`
        const name = names.take(prefix === '' ? plainName : `${prefix}_${plainName}`)
        const key = `${method.toUpperCase()} ${path}`
        return { method: method.toUpperCase(), path, key, operationId, name, item, operation }
      }),
    )
  }

  #itemOf(
    path: string,
    given: unknown,
    references: References,
  ): (readonly [method: string, item: Table])[] {
    try {
      const item = { ...references.follow(given), ...without$ref(tableOf(given)) }
      return methods
        .filter((method) => typeof item[method] === 'object' && item[method] !== null)
        .map((method) => [method, item])
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error
      this.#unreadable.set(path, error)
      return []
    }
  }

  /**
   * An operation by its id, or by method and path.
   * @throws Unreadable
   */
  find(wanted: string): Operation {
    const byId = this.all.filter(({ operationId }) => operationId === wanted)
    if (byId.length > 1)
      throw new Unreadable(
        'operation_ambiguous',
        `The document has ${byId.length} operations of this id. Name one by method and path.`,
      )
    const [, method = '', path = ''] = /^(\S+)\s+(\S.*)$/.exec(wanted) ?? []
    const key = `${method.toUpperCase()} ${path}`
    const found = byId[0] ?? this.all.find((operation) => operation.key === key)
    if (found !== undefined) return found

    throw (
      this.#unreadable.get(path) ??
      new Unreadable('operation_not_found', 'The document has no such operation.')
    )
  }
}

function without$ref({ $ref: _reference, ...rest }: Table): Table {
  return rest
}
