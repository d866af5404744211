import { GatewayError } from './errors.ts'
import type { DeclaredIn, Resource } from './resource.ts'

/** The source of files that writes a resource. */
export interface SourceWriter extends DeclaredIn {
  /** True if the source takes over resources that the REST API made. */
  readonly adopt: boolean
}

/**
 * Keeps files and callers from writing to one resource, as each would undo the other. `by` is
 * absent for callers. A source that is no longer configured protects nothing.
 * @throws GatewayError `declared_in_file`, `name_taken`
 */
export function checkWriter(
  { kind, name, declared }: Pick<Resource, 'kind' | 'name' | 'declared'>,
  by: SourceWriter | undefined,
  sources: ReadonlySet<string>,
): void {
  const holder = declared !== undefined && sources.has(declared.source) ? declared : undefined
  if (holder === undefined && (by === undefined || by.adopt)) return
  if (holder !== undefined && holder.source === by?.source) return

  if (holder !== undefined)
    throw new GatewayError('declared_in_file', {
      detail:
        `The file '${holder.file}' of the source '${holder.source}' declares the ` +
        `${kind} '${name}'. Change that file; the gateway follows it.`,
    })

  throw new GatewayError('name_taken', {
    detail:
      `The REST API made the ${kind} '${name}'. Delete it there, or add 'adopt: true' ` +
      'to the document.',
  })
}
