import { createHash, randomUUID } from 'node:crypto'
import type { Declaration, DeclaredResource, Target } from '@mcp-gateway/declared'
import type { Audited } from '../../audit/audit.ts'
import { outcomeOf, resourceOf } from '../../audit/decision.ts'
import { toGatewayError, GatewayError } from '../../core/errors.ts'
import type { Principal } from '../../core/principal.ts'
import type { Resource } from '../../core/resource.ts'
import type { SourceWriter } from '../../core/writer.ts'
import { each } from '../../store/each.ts'
import type { ResourceKinds } from '../kinds/kinds.ts'
import { Registry, type RegistryOptions } from './registry.ts'
import { holdsSecrets } from '../kinds/workload-fields.ts'

export interface DeclaredTargetOptions extends RegistryOptions {
  readonly kinds: ResourceKinds
  /** The source's name. */
  readonly source: string
  /** The principal with whose rights the source acts. */
  readonly principal: Principal
  readonly audited: Audited
}

/**
 * Applies a source of files to the gateway's resources, by the rules of the REST API, with the
 * rights of the source. Each change gets an audit record.
 */
export class DeclaredTarget implements Target {
  readonly #options: DeclaredTargetOptions
  /** The last failure of each name, so that the audit log records each failure once. */
  readonly #failures = new Map<string, string>()

  constructor(options: DeclaredTargetOptions) {
    this.#options = options
  }

  async *declared(): AsyncIterable<DeclaredResource> {
    const { sealedResources, source } = this.#options
    for await (const { kind, name, declared } of each(sealedResources))
      if (declared?.source === source) yield { kind, name, file: declared.file }
  }

  async apply(declaration: Declaration): Promise<'created' | 'changed' | 'unchanged'> {
    const { store, principal } = this.#options
    const { kind, name, body } = declaration
    const by = { source: this.#options.source, file: declaration.file, adopt: declaration.adopt }
    const stored = await store.get(name)
    if (stored !== undefined && stored.kind !== kind)
      throw new GatewayError('name_taken', { detail: `A ${stored.kind} has the name '${name}'.` })

    const digest = holdsSecrets(body)
      ? undefined
      : createHash('sha256').update(JSON.stringify(body)).digest('hex')
    const act = stored === undefined ? 'create' : 'replace'
    const written = await this.#recorded({ kind, name, act, digest }, async () => {
      const registry = this.#registry(kind)
      const { resource } = await (stored === undefined
        ? registry.create(principal, body, by)
        : registry.replace({ principal, name, ifMatch: undefined }, body, by))
      return { resource, changed: resource.version !== stored?.version }
    })
    if (stored === undefined) return 'created'
    return written.changed ? 'changed' : 'unchanged'
  }

  async remove({ kind, name, file }: DeclaredResource): Promise<void> {
    const { principal, source } = this.#options
    const by: SourceWriter = { source, file, adopt: false }
    await this.#recorded({ kind, name, act: 'delete' }, async () => {
      const request = { principal, name, ifMatch: undefined }
      const resource = await this.#registry(kind).delete(request, by)
      return { resource, changed: true }
    })
  }

  #registry(
    kind: Resource['kind'],
  ): Pick<Registry<Resource, { name: string }>, 'create' | 'replace' | 'delete'> {
    const { kinds } = this.#options
    return kind === 'adapter'
      ? new Registry(kinds.adapter, this.#options)
      : new Registry(kinds.tool, this.#options)
  }

  /** Records a change, or its failure. An unchanged resource gets no record. */
  async #recorded(
    { kind, name, act, digest }: RecordedChange,
    write: () => Promise<{ readonly resource: Resource; readonly changed: boolean }>,
  ): Promise<{ readonly resource: Resource; readonly changed: boolean }> {
    const { audited, principal, source } = this.#options
    const event = {
      action: `${kind}.${act}`,
      principal: {
        issuer: principal.issuer,
        id: principal.id,
        name: principal.name,
        method: `declared ${source}`,
      },
      requestId: randomUUID(),
      client: 'local',
      digest,
    }

    try {
      const written = await write()
      this.#failures.delete(name)
      if (written.changed)
        audited({ ...event, outcome: 'allowed', resource: resourceOf(written.resource) })
      return written
    } catch (thrown) {
      const error = toGatewayError(thrown)

      const { outcome, code } = outcomeOf(error)
      const told = explained(error)
      if (this.#failures.get(name) !== told)
        audited({ ...event, outcome, code, resource: { kind, name } })
      this.#failures.set(name, told)
      throw new Error(told, { cause: thrown })
    }
  }
}

/** The change of one resource, as the audit log names it. */
interface RecordedChange {
  readonly kind: Resource['kind']
  readonly name: string
  readonly act: 'create' | 'replace' | 'delete'
  /** Digest of the body, if it holds no secrets. */
  readonly digest?: string | undefined
}

/** The message of an error, with its mistakes or cause, as one text. */
function explained({ message, mistakes, cause }: GatewayError): string {
  if (mistakes.length > 0)
    return mistakes.map(({ pointer, detail }) => `${pointer} ${detail}`.trim()).join('; ')
  // Only logs and administrators see this text, so it may name the cause of an unexpected error.
  return cause instanceof Error ? `${message}: ${cause.message}` : message
}

/** Builds a target that reports changes without writing them. */
export function dryRun(options: DeclaredTargetOptions): DeclaredTarget {
  const nothing = async (): Promise<void> => undefined
  return new DeclaredTarget({
    ...options,
    store: { ...options.store, create: nothing, replace: nothing, delete: nothing },
    nudge: () => undefined,
    audited: () => undefined,
  })
}
