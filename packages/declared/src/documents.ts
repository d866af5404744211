import { isMap, isScalar, LineCounter, parseAllDocuments, visit, type Document } from 'yaml'

export type DeclaredKind = 'adapter' | 'tool'

/** The place where a document begins. */
export interface Place {
  /** Relative to the folder, with slashes. */
  readonly file: string
  /** The first line is 1. */
  readonly line: number
}

/** One resource that a file declares. */
export interface Declaration extends Place {
  readonly kind: DeclaredKind
  readonly name: string
  /** The body of `POST /adapters` or `POST /tools`. */
  readonly body: Readonly<Record<string, unknown>>
  /** True if the document takes over a resource of this name that the REST API has made. */
  readonly adopt: boolean
}

/** A document that declares nothing, and the reason. */
export interface DocumentMistake extends Place {
  readonly detail: string
}

export interface DeclaredFile {
  /** Relative to the folder, with slashes. */
  readonly path: string
  readonly text: string
}

export interface Declarations {
  readonly declarations: readonly Declaration[]
  readonly mistakes: readonly DocumentMistake[]
}

/** The only version of this format so far. */
export const declaredVersion = 'mcp-gateway/v1'

const kinds: ReadonlyMap<unknown, DeclaredKind> = new Map([
  ['adapter', 'adapter'],
  ['tool', 'tool'],
])

/**
 * Reads the documents of YAML or JSON files. A name in two documents declares nothing, because the
 * order of files must not decide what runs.
 */
export function readDeclarations(files: readonly DeclaredFile[]): Declarations {
  return joined(files.flatMap(readFile))
}

/** As `readDeclarations`, with a pause after each file: reading a megabyte takes a second. */
export async function readDeclarationsInTurns(
  files: readonly DeclaredFile[],
  pause: () => Promise<void>,
): Promise<Declarations> {
  const reads: Read[] = []
  for (const file of files) {
    reads.push(...readFile(file))
    await pause()
  }
  return joined(reads)
}

type Read = Declaration | DocumentMistake

function joined(reads: readonly Read[]): Declarations {
  const found: Declaration[] = []
  const mistakes: DocumentMistake[] = []

  for (const read of reads) {
    if ('detail' in read) mistakes.push(read)
    else found.push(read)
  }

  const first = new Map<string, Declaration>()
  const repeated = new Set<string>()

  for (const declaration of found) {
    const { name, file, line } = declaration
    const other = first.get(name)
    if (other === undefined) first.set(name, declaration)
    else {
      repeated.add(name)
      mistakes.push({
        file,
        line,
        detail: `'${name}' is declared in ${other.file}:${other.line} too. Keep one of the two.`,
      })
    }
  }

  return { declarations: found.filter(({ name }) => !repeated.has(name)), mistakes }
}

function readFile({ path: file, text }: DeclaredFile): Read[] {
  const lines = new LineCounter()
  // The parser would compare each key with all earlier keys: a minute for a megabyte of keys.
  const options = { lineCounter: lines, prettyErrors: false, uniqueKeys: false }

  const documents = parseAllDocuments(text, options)
  if ('empty' in documents) return []

  return documents.flatMap((document) => {
    const [error] = document.errors
    const wrong =
      error === undefined ? nodeMistake(document) : { at: error.pos[0], message: error.message }
    if (wrong !== undefined)
      return [{ file, line: lines.linePos(wrong.at).line, detail: wrong.message }]

    const { contents } = document
    if (contents === null || (isScalar(contents) && contents.value === null)) return []

    const line = lines.linePos(contents.range[0]).line
    const read = declarationOf(document)
    return [typeof read === 'string' ? { file, line, detail: read } : { ...read, file, line }]
  })
}

/** A limit, because the parser searches all anchors for each alias. */
const mostAliases = 100

/** Finds a key that stands twice, too many aliases, or nesting that is too deep. */
function nodeMistake(
  document: Document.Parsed,
): { readonly at: number; readonly message: string } | undefined {
  let found: { at: number; message: string } | undefined
  let aliases = 0

  const mistake = (at: number | undefined, message: string): symbol => {
    found = { at: at ?? 0, message }
    return visit.BREAK
  }

  try {
    visit(document, {
      Alias: (_key, alias) =>
        (aliases += 1) > mostAliases
          ? mistake(alias.range?.[0], `A document must not hold more than ${mostAliases} aliases.`)
          : undefined,
      Map: (_key, { items }) => {
        const keys = new Set<unknown>()
        for (const { key } of items) {
          if (!isScalar(key)) continue
          if (keys.has(key.value)) return mistake(key.range?.[0], 'Map keys must be unique.')
          keys.add(key.value)
        }

        return undefined
      },
    })
  } catch (error) {
    // The document is nested deeper than the stack.
    mistake(document.contents?.range[0], error instanceof Error ? error.message : String(error))
  }

  return found
}

/** The declaration of a document, or the reason why it declares nothing. */
function declarationOf(document: Document.Parsed): Omit<Declaration, keyof Place> | string {
  if (!isMap(document.contents)) return 'A document must be a map with kind and name.'

  const value = valueOf(document)
  if (typeof value === 'string') return value

  const { apiVersion = declaredVersion, kind, adopt = false, ...body } = value
  if (apiVersion !== declaredVersion) return `apiVersion must be '${declaredVersion}'.`

  const known = typeof kind === 'string' ? kinds.get(kind.toLowerCase()) : undefined
  if (known === undefined) return "kind must be 'Adapter' or 'Tool'."
  if (typeof adopt !== 'boolean') return 'adopt must be true or false.'

  const { name } = body
  if (typeof name !== 'string' || name === '') return 'name must be the name of the resource.'
  return { kind: known, name, body, adopt }
}

function valueOf(document: Document.Parsed): Record<string, unknown> | string {
  try {
    return document.toJS() as Record<string, unknown>
  } catch (error) {
    // Anchors expand to too much, or are missing.
    return error instanceof Error ? error.message : String(error)
  }
}
