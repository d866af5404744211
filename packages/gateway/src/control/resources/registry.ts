import { checkQuotas, checkSpace, type Holdings } from '../../core/access.ts'
import { GatewayError } from '../../core/errors.ts'
import { authorizeLogs, checkCreate, type Permit } from '../../core/permission.ts'
import { hasRole, samePrincipal, type Principal } from '../../core/principal.ts'
import type { DeclaredIn, Resource } from '../../core/resource.ts'
import { checkWriter, type SourceWriter } from '../../core/writer.ts'
import { alike } from '../../lib/json/alike.ts'
import { without } from '../../lib/without.ts'
import type { PermittedStore } from '../../store/permitted.ts'
import type { Admit, Store } from '../../store/store.ts'
import { BodyReader, givesCode, type ReadBody } from './body-reader.ts'
import { CodeRules, type CodeRulesOptions } from './code-rules.ts'
import { listOfKind, ofKind, type Kind } from '../kinds/kind.ts'
import { OwnedRecords, type RecordRequest, type Written } from '../owned/owned-records.ts'
import { Ownership } from '../owned/ownership.ts'

export interface RegistryOptions extends CodeRulesOptions {
  readonly store: PermittedStore
  /** The store with sealed secrets. Lists show no secrets, and read far more than they show. */
  readonly sealedResources: Pick<Store, 'list'>
  /** Tells the reconciler that a name has changed. */
  readonly nudge: (name: string) => void
  /** Names of the configured sources of files. */
  readonly sources: ReadonlySet<string>
  readonly now: () => Date
  readonly newUid: () => string
}

/**
 * Validate → authorize → store → nudge: the rules of the control plane for one kind of resources,
 * without HTTP. `by` names the source of files that writes; absent for callers.
 */
export class Registry<R extends Resource, Input extends { readonly name: string }> {
  readonly records: OwnedRecords<R, Holdings>
  readonly ownership: Ownership<R, Holdings>
  readonly #kind: Kind<R, Input>
  readonly #code: CodeRules<R>
  readonly #bodies: BodyReader<R, Input>
  readonly #options: RegistryOptions

  constructor(kind: Kind<R, Input>, options: RegistryOptions) {
    this.#kind = kind
    this.#options = options
    this.#code = new CodeRules(kind, options)
    this.#bodies = new BodyReader(kind, this.#code)
    this.records = new OwnedRecords({
      ...options,
      stored: ofKind(options.store, kind),
      listed: listOfKind(options.sealedResources, kind),
      view: (resource) => kind.view(resource, []),
      matches: (resource, { name = '', q }) =>
        resource.name.startsWith(name) &&
        (q === undefined || kind.contains(resource, q.toLowerCase())),
    })
    this.ownership = new Ownership(this.records, {
      checkWriter: (resource) => this.#checkWriter(resource),
      admitNewOwner: (principal, resource) =>
        this.#admit(principal, resource, whole(resource), true),
    })
  }

  /**
   * Checks before the body is read that a caller may create at all.
   * @throws GatewayError `forbidden`, `unauthenticated`
   */
  checkCreate(principal: Principal): void {
    checkCreate(principal, this.#options.access, this.#kind.kind)
  }

  async create(principal: Principal, body: unknown, by?: SourceWriter): Promise<Written<R>> {
    this.checkCreate(principal)
    const { name, spec, warnings } = await this.#bodies.created(principal, body)
    const permit = await this.#code.authorizeCreate(principal, spec)
    const chosen = this.#code.chosenBy(principal, spec)
    return { resource: await this.#insert(permit, name, chosen, by), warnings }
  }

  /** @throws GatewayError as `authorizeLogs`, or `runs_elsewhere` */
  async permitLogs(principal: Principal, name: string): Promise<Permit<'logs', R>> {
    const permit = authorizeLogs(principal, await this.records.find(name), this.#options.access)
    checkRunsHere(permit.resource, 'its logs are there')
    return permit
  }

  /** `ifMatch` is the version that the caller has read, if given. */
  async replace(request: RecordRequest, body: unknown, by?: SourceWriter): Promise<Written<R>> {
    return this.#change(request, { by, sendsCode: true }, (stored) =>
      this.#bodies.replaced(request.principal, body, stored),
    )
  }

  async patch(request: RecordRequest, patch: unknown): Promise<Written<R>> {
    return this.#change(request, { sendsCode: givesCode(patch) }, (stored) =>
      this.#bodies.patched(request.principal, patch, stored),
    )
  }

  /**
   * Requests a restart of all replicas, and changes nothing else.
   * @throws GatewayError `runs_elsewhere`
   */
  async restart(request: RecordRequest): Promise<R> {
    return this.records.act(request, 'write', async (permit) => {
      const { resource: stored } = permit
      checkRunsHere(stored, 'there is nothing here to restart')
      return this.#replace(permit, {
        ...stored,
        generation: stored.generation + 1,
        restartedAt: this.#options.now().toISOString(),
      })
    })
  }

  /** Deletes the resource, and returns it. */
  async delete(request: RecordRequest, by?: SourceWriter): Promise<R> {
    return this.records.act(request, 'write', async (permit) => {
      this.#checkWriter(permit.resource, by)
      const deleted = await this.records.delete(permit)
      this.#options.nudge(request.name)
      return deleted
    })
  }

  async #change(
    request: RecordRequest,
    { by, sendsCode }: { readonly by?: SourceWriter | undefined; readonly sendsCode: boolean },
    read: (stored: R) => Promise<ReadBody<R>>,
  ): Promise<Written<R>> {
    const { principal } = request
    return this.records.act(request, 'write', async (permit) => {
      this.#checkWriter(permit.resource, by)
      const before = permit.resource.spec
      const { spec: wanted, warnings } = await read(permit.resource)
      await this.#code.checkChange(principal, before, wanted)
      // A source of files vouches for its declarations with its present roles.
      const spec =
        by === undefined
          ? this.#code.chosen(principal, before, wanted, sendsCode)
          : this.#code.chosenBy(principal, wanted)
      return { resource: await this.#update(permit, spec, by), warnings }
    })
  }

  async #insert(
    permit: Permit<'create', R['kind']>,
    name: string,
    spec: R['spec'],
    by: SourceWriter | undefined,
  ): Promise<R> {
    const { principal } = permit
    const fields = { ...this.records.fresh(principal), name, generation: 1, ...markOf(by) }
    const resource = this.#kind.resource(fields, spec)
    await this.records.create(permit, resource, this.#admit(principal, resource, whole(resource)))
    this.#options.nudge(name)
    return resource
  }

  async #update(
    permit: Permit<'write', R>,
    spec: R['spec'],
    by: SourceWriter | undefined,
  ): Promise<R> {
    const { principal, resource: stored } = permit
    const mark = markOf(by)
    // Without a change, nothing is stored and nothing restarts.
    if (alike(spec, stored.spec) && alike(stored.declared, mark.declared)) return stored

    // Fields that only people and the gateway read restart nothing.
    const restarts = !alike(this.#kind.running(spec), this.#kind.running(stored.spec))
    const changed: R = {
      ...without(stored, 'declared'),
      ...mark,
      generation: stored.generation + (restarts ? 1 : 0),
      spec,
    }
    // A resource that does not grow passes, even if a quota has been lowered since.
    const grows = spec.replicaCount > stored.spec.replicaCount
    const more = grows ? { replicas: spec.replicaCount } : {}
    return this.#replace(permit, changed, this.#admit(principal, changed, more))
  }

  async #replace(permit: Permit<'write', R>, changed: R, admit?: Admit): Promise<R> {
    const resource = await this.records.replace(permit, changed, admit)
    this.#options.nudge(resource.name)
    return resource
  }

  /** Checks the quotas of the owner; undefined if the caller is exempt. */
  #admit(
    principal: Principal,
    { owner }: R,
    more: Partial<Holdings>,
    ofNewOwner = false,
  ): Admit | undefined {
    const { access } = this.#options
    if (access.quotaExemptRoles.some((role) => hasRole(principal, role))) return undefined
    return (held, space) => {
      checkQuotas(access, held, more, samePrincipal(principal, owner))
      checkSpace(access.quotas, spaceSettings, space, ofNewOwner)
    }
  }

  #checkWriter(resource: R, by?: SourceWriter): void {
    checkWriter(resource, by, this.#options.sources)
  }
}

function markOf(by: SourceWriter | undefined): { readonly declared?: DeclaredIn } {
  return by === undefined ? {} : { declared: { source: by.source, file: by.file } }
}

const spaceSettings = { bytes: 'access.quotas.bytes', totalBytes: 'access.quotas.totalBytes' }

/** The amounts that a resource adds to its owner's holdings. */
function whole({ kind, spec }: Resource): Partial<Holdings> {
  return { [kind === 'tool' ? 'tools' : 'adapters']: 1, replicas: spec.replicaCount }
}

function checkRunsHere({ name, spec }: Resource, so: string): void {
  if (spec.endpoint !== undefined)
    throw new GatewayError('runs_elsewhere', {
      detail: `The endpoint of '${name}' serves it elsewhere: ${so}.`,
    })
}
