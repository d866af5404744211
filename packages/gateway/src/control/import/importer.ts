import type { AdapterInput, ImportEntry, ImportInput, ImportNeed } from '@mcp-gateway/contract'
import { findDuplicateKey } from '@mcp-gateway/protocol'
import { GatewayError, toGatewayError } from '../../core/errors.ts'
import { mayRead } from '../../core/permission.ts'
import type { Principal } from '../../core/principal.ts'
import type { Adapter } from '../../core/resource.ts'
import { plainJson } from '../../lib/json/jsonc.ts'
import type { Kind } from '../kinds/kind.ts'
import { Registry, type RegistryOptions } from '../resources/registry.ts'
import { boundMistake } from '../validation.ts'
import { planOf, type Plan } from './adapter-body.ts'
import { isObject, sourcesOf } from './client-file.ts'
import { answerTo, type Answers, type Source } from './source.ts'

export interface ImporterOptions extends RegistryOptions {
  readonly adapter: Kind<Adapter, AdapterInput>
}

/** Reports each adapter that an import registers, or fails to register. */
export type Told = (name: string, result: Adapter | GatewayError) => void

/** Registers the servers of a file as adapters, by the rules of POST /adapters. */
export class Importer {
  readonly #options: ImporterOptions
  readonly #registry: Registry<Adapter, AdapterInput>
  /** Checks all that registering checks, except the quotas, and stores nothing. */
  readonly #rehearsal: Registry<Adapter, AdapterInput>

  constructor(options: ImporterOptions) {
    const store = { ...options.store, create: async () => undefined }
    this.#options = options
    this.#registry = new Registry(options.adapter, options)
    this.#rehearsal = new Registry(options.adapter, { ...options, store, nudge: () => undefined })
  }

  /** @throws GatewayError as `Registry.checkCreate` */
  checkCreate(principal: Principal): void {
    this.#registry.checkCreate(principal)
  }

  /**
   * Imports each entry of a file that has no open question and no mistake.
   * @throws GatewayError `invalid_json`, `validation_failed` for a file that cannot be read
   */
  async run(
    principal: Principal,
    input: ImportInput,
    dryRun: boolean,
    told: Told,
  ): Promise<ImportEntry[]> {
    const answers = input.inputs as Answers
    const all = sourcesOf(fileOf(input.file), answers)
    const { only } = input
    const wanted = only === undefined ? all : all.filter(({ entry }) => only.includes(entry))
    checkNames(wanted, [...(only ?? []), ...Object.keys(input.names)])

    const names = wanted.map(({ entry }) => answerTo(input.names, entry) ?? slugOf(entry))
    const entries: ImportEntry[] = []
    for (const [index, source] of wanted.entries()) {
      const name = names[index] ?? ''
      const clashes = names.filter((other) => other === name).length > 1
      const plan = planOf(source, { answers, envFiles: input.envFiles })
      const needs = [...plan.needs, ...nameNeed(source, name, clashes)]
      const entry = { source, name, plan: { ...plan, needs } }
      entries.push(await this.#import(principal, entry, dryRun, told))
    }
    return entries
  }

  async #import(
    principal: Principal,
    { name, plan, source }: { readonly name: string; readonly plan: Plan; readonly source: Source },
    dryRun: boolean,
    told: Told,
  ): Promise<ImportEntry> {
    const { body, mistakes, needs, warnings } = plan
    const entry = {
      entry: source.entry,
      ...(name === '' ? {} : { name }),
      ...(warnings.length === 0 ? {} : { warnings: [...warnings] }),
    }
    if (mistakes.length > 0)
      return refused(entry, new GatewayError('validation_failed', { mistakes }))
    if (needs.length > 0) return { ...entry, outcome: 'needs', needs: [...needs] }

    try {
      if (await this.#exists(principal, name)) return { ...entry, outcome: 'exists' }
      const registry = dryRun ? this.#rehearsal : this.#registry
      const written = await registry.create(principal, { name, ...body })
      if (!dryRun) told(name, written.resource)
      const adapter = this.#options.adapter.view(written.resource, written.warnings)
      return {
        ...entry,
        outcome: dryRun ? 'wouldCreate' : 'created',
        adapter: adapter as NonNullable<ImportEntry['adapter']>,
      }
    } catch (thrown) {
      const error = toGatewayError(thrown)
      if (!dryRun) told(name, error)
      return refused(entry, error)
    }
  }

  /** @throws GatewayError `name_taken` if something else has the name */
  async #exists(principal: Principal, name: string): Promise<boolean> {
    const found = await this.#options.store.get(name)
    if (found === undefined) return false
    if (found.kind === 'adapter' && mayRead(principal, found)) return true
    throw new GatewayError('name_taken')
  }
}

/** @throws GatewayError `invalid_json`, `validation_failed` */
function fileOf(file: ImportInput['file']): object {
  if (typeof file !== 'string') return file
  const text = plainJson(file)
  const read = parsed(text)
  const mistake = isObject(read)
    ? boundMistake(read)
    : ({ pointer: '', code: 'invalid_type', detail: 'must be an object' } as const)
  const twice = findDuplicateKey(text)
  const mistakes = [
    ...(mistake === undefined ? [] : [{ ...mistake, pointer: '/file' }]),
    ...(twice === undefined
      ? []
      : [{ pointer: twice, code: 'duplicate_key', detail: 'stands more than once' } as const]),
  ]
  if (mistakes.length > 0) throw new GatewayError('validation_failed', { mistakes })
  return read as object
}

/** @throws GatewayError `invalid_json` */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new GatewayError('invalid_json', {
      detail: `The file is no JSON: ${(cause as Error).message.slice(0, 200)}`,
      cause,
    })
  }
}

/** @throws GatewayError `validation_failed` for names that the file does not have */
function checkNames(sources: readonly Source[], names: readonly string[]): void {
  const known = new Set(sources.map(({ entry }) => entry))
  const missing = names.find((name) => !known.has(name))
  if (missing !== undefined)
    throw new GatewayError('validation_failed', {
      mistakes: [
        {
          pointer: '/file',
          code: 'invalid_value',
          detail: `has no entry '${missing.slice(0, 100)}' to import`,
        },
      ],
    })
}

/** The name of an adapter for an entry; empty if none can be made from it. */
function slugOf(entry: string): string {
  const slug = entry
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-|-$/g, '')
  return /^[a-z]/.test(slug) && slug.length <= 52 ? slug : ''
}

/** Asks for a name where none can be made, or two entries would get the same. */
function nameNeed({ entry }: Source, name: string, clashes: boolean): ImportNeed[] {
  if (name !== '' && !clashes) return []
  const description =
    name === ''
      ? 'A name for the adapter: lower case letters, digits and -, a letter first.'
      : `A name for the adapter: another entry would also be '${name}'.`
  return [{ id: entry, of: 'names', description, secret: false }]
}

function refused(
  entry: Pick<ImportEntry, 'entry' | 'name' | 'warnings'>,
  { code, detail, mistakes, status, title }: GatewayError,
): ImportEntry {
  const errors = mistakes.length === 0 ? {} : { errors: [...mistakes] }
  return { ...entry, outcome: 'refused', problem: { title, status, detail, code, ...errors } }
}
