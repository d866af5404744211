import type { Declaration, Declarations, DeclaredKind } from './documents.ts'

/** A resource that this source has declared before. */
export interface DeclaredResource {
  readonly kind: DeclaredKind
  readonly name: string
  /** The file that declared it last. */
  readonly file: string
}

/** A keeper of resources: a gateway's own store, or a gateway behind its REST API. */
export interface Target {
  /** All resources that this source has declared before. */
  declared(): AsyncIterable<DeclaredResource>
  /** Makes one resource as declared. @throws Error whose message people read */
  apply(declaration: Declaration): Promise<'created' | 'changed' | 'unchanged'>
  /** Removes one resource. @throws Error whose message people read */
  remove(resource: DeclaredResource): Promise<void>
}

export interface ConvergeOptions {
  /** Removes resources that no document declares any more. */
  readonly prune: boolean
  /** Lets a folder without any document remove everything that it has declared. */
  readonly emptyPrunes: boolean
  /** After it has aborted, nothing new begins. */
  readonly signal?: AbortSignal
}

/**
 * The outcome for one resource. `kept`: no document declares the resource, but it was not removed.
 */
export interface Outcome {
  readonly kind: DeclaredKind
  readonly name: string
  readonly file: string
  readonly line?: number
  readonly state: 'created' | 'changed' | 'unchanged' | 'removed' | 'failed' | 'kept'
  /** The reason for `failed` or `kept`. */
  readonly reason?: string
}

/**
 * Makes a target follow the declarations, and may be repeated. A mistake does not stop the rest.
 * Removes nothing while a document is unreadable: that document may declare the resource.
 */
export async function converge(
  { declarations, mistakes }: Declarations,
  target: Target,
  options: ConvergeOptions,
): Promise<Outcome[]> {
  const wanted = new Map(declarations.map((declaration) => [declaration.name, declaration]))
  const surplus: DeclaredResource[] = []
  for await (const resource of target.declared())
    if (wanted.get(resource.name)?.kind !== resource.kind) surplus.push(resource)

  const kept = reasonToKeep(declarations.length, mistakes.length, options)
  const outcomes: Outcome[] = []

  // A name can move to another kind only after its first resource has gone, so remove first.
  for (const resource of surplus) {
    if (options.signal?.aborted) return outcomes
    outcomes.push(
      kept === undefined
        ? await attempt(resource, async () => {
            await target.remove(resource)
            return 'removed'
          })
        : { ...resource, state: 'kept', reason: kept },
    )
  }

  for (const declaration of declarations) {
    if (options.signal?.aborted) return outcomes
    outcomes.push(await attempt(declaration, () => target.apply(declaration)))
  }

  return outcomes
}

function reasonToKeep(
  documents: number,
  mistakes: number,
  { prune, emptyPrunes }: ConvergeOptions,
): string | undefined {
  if (!prune) return 'No document declares it, and prune is off.'
  if (mistakes > 0) return 'No document declares it, but some documents cannot be read.'
  if (documents === 0 && !emptyPrunes)
    return 'The folder holds no document. Set emptyPrunes to remove everything.'
  return undefined
}

async function attempt(
  { kind, name, file, line }: DeclaredResource & { readonly line?: number },
  act: () => Promise<Outcome['state']>,
): Promise<Outcome> {
  const what = { kind, name, file, ...(line === undefined ? {} : { line }) }
  try {
    return { ...what, state: await act() }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    return { ...what, state: 'failed', reason }
  }
}
