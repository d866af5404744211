import {
  ToolImportInput,
  type ImportedTool,
  type ToolBody,
  type ToolImportResult,
  type ToolInput,
} from '@mcp-gateway/contract'
import { GatewayError, toGatewayError, type Mistake } from '../../core/errors.ts'
import type { MistakeCode } from '../../core/mistakes.ts'
import { partyOf, type Principal } from '../../core/principal.ts'
import type { Tool } from '../../core/resource.ts'
import { tableOf } from '../../lib/json/table-of.ts'
import type { Kind } from '../kinds/kind.ts'
import { Registry, type RegistryOptions } from '../resources/registry.ts'
import { validate } from '../validation.ts'
import type { DocumentReader } from './openapi/document-reader.ts'
import type { ImportedOperation, ImportTask } from './openapi/imported.ts'

/** A document at an address, or the reason why there is none. */
export type FetchDocument = (
  url: string,
) => Promise<{ readonly text: string; readonly url: string } | { readonly refusal: string }>

export interface ToolImportOptions extends RegistryOptions {
  readonly fetchDocument: FetchDocument
  readonly documents: Pick<DocumentReader, 'read'>
}

/** Tells the audit log of a tool that an import has registered, or has failed to. */
export type ToldOfTool = (tool: {
  readonly name: string
  readonly resource?: Tool
  readonly error?: GatewayError
}) => void

type Input = ToolImportInput

/** Registers operations of OpenAPI documents as tools, by the rules of `POST /tools`. */
export class ToolImporter {
  readonly #options: ToolImportOptions
  readonly #registry: Registry<Tool, ToolInput>
  /** Checks all that the other one checks, except quotas, and stores nothing. */
  readonly #trial: Registry<Tool, ToolInput>

  constructor(kind: Kind<Tool, ToolInput>, options: ToolImportOptions) {
    const nothing = async (): Promise<void> => undefined
    this.#options = options
    this.#registry = new Registry(kind, options)
    this.#trial = new Registry(kind, {
      ...options,
      store: { ...options.store, create: nothing },
      nudge: () => undefined,
    })
  }

  /** @throws GatewayError as `POST /tools`, before the body is read */
  checkCreate(principal: Principal): void {
    this.#registry.checkCreate(principal)
  }

  /** @throws GatewayError `validation_failed`, `checks_busy` */
  async import(
    principal: Principal,
    body: unknown,
    dryRun: boolean,
    told: ToldOfTool,
  ): Promise<ToolImportResult> {
    const { document, ...rest } = tableOf(body)
    const { value: input, warnings } = await validate(
      ToolImportInput,
      typeof body === 'object' && body !== null && !Array.isArray(body) ? rest : body,
      () => sourceMistakes(document, rest['url']),
    )
    const source = await this.#source(document, input.url)
    const read = await this.#options.documents.read(partyOf(principal), taskOf(input, source))
    if ('mistake' in read) throw refused(input.url, read.mistake.code, read.mistake.detail)
    if (!dryRun && input.operations === undefined && read.remaining.length > 0)
      throw new GatewayError('validation_failed', {
        mistakes: [
          {
            pointer: '/operations',
            code: 'too_many_operations',
            detail: 'must name the operations, because the document has more than 200',
          },
        ],
      })

    const tools: ImportedTool[] = []
    for (const each of read.operations)
      tools.push(await this.#register(principal, input, each, { dryRun, told }))
    return {
      dryRun,
      document: { title: read.title, version: read.version },
      tools,
      remaining: [...read.remaining],
      ...(warnings.length === 0 ? {} : { warnings }),
    }
  }

  async #source(
    document: unknown,
    url: string | undefined,
  ): Promise<Pick<ImportTask, 'text' | 'url'>> {
    if (url === undefined)
      return { text: typeof document === 'string' ? document : JSON.stringify(document) }
    const fetched = await this.#options.fetchDocument(url)
    if ('refusal' in fetched) throw refused(url, 'document_unavailable', fetched.refusal)
    return fetched
  }

  async #register(
    principal: Principal,
    input: Input,
    { outcome, ...known }: ImportedOperation,
    { dryRun, told }: { readonly dryRun: boolean; readonly told: ToldOfTool },
  ): Promise<ImportedTool> {
    if (!('body' in outcome)) return { ...known, result: 'refused', ...outcome }

    const body = { ...outcome.body, ...commonOf(input) }
    const { name, endpoint } = body
    const shown = { ...known, name, toolName: body.toolDefinition.tool.name, ...notesOf(outcome) }
    try {
      const taken = dryRun && (await this.#options.store.get(name)) !== undefined
      if (taken) throw new GatewayError('name_taken')
      const registry = dryRun ? this.#trial : this.#registry
      const { resource } = await registry.create(principal, body)
      if (!dryRun) told({ name, resource })
      const toolDefinition = resource.spec.toolDefinition as ImportedTool['toolDefinition']
      return { ...shown, result: 'created', ...(endpoint && { endpoint }), toolDefinition }
    } catch (thrown) {
      const error = toGatewayError(thrown)
      if (!dryRun) told({ name, error })
      return { ...shown, ...refusalOf(error) }
    }
  }
}

function taskOf(input: Input, source: Pick<ImportTask, 'text' | 'url'>): ImportTask {
  const { server, prefix, operations, credential } = input
  const credentials = credential === undefined ? [] : [credential].flat()
  return {
    ...source,
    server,
    prefix,
    operations,
    credentialHeaders: credentials.map(({ header }) => header),
  }
}

/** The fields that all tools of an import have in common. */
function commonOf(input: Input): Partial<ToolBody> {
  const { requiredRoles, ownerRoles, callerIdentity, credential, labels } = input
  return {
    requiredRoles,
    ownerRoles,
    callerIdentity,
    labels,
    ...(credential === undefined ? {} : { credential }),
  }
}

function sourceMistakes(document: unknown, url: unknown): Mistake[] {
  const usable = typeof document === 'string' || (typeof document === 'object' && document !== null)
  const mistake = (code: MistakeCode, detail: string): Mistake[] => [
    { pointer: '/document', code, detail },
  ]
  if (document === undefined)
    return url === undefined ? mistake('invalid_type', 'is required, unless there is a url') : []
  if (url !== undefined)
    return mistake('ambiguous', 'cannot stand beside a url: remove one of them')
  return usable ? [] : mistake('invalid_type', 'must be an object or a text')
}

function refused(
  url: string | undefined,
  code: 'document_invalid' | 'document_unavailable',
  detail: string,
): GatewayError {
  const pointer = url === undefined ? '/document' : '/url'
  return new GatewayError('validation_failed', { mistakes: [{ pointer, code, detail }] })
}

function notesOf({ notes }: { readonly notes: readonly object[] }): Pick<ImportedTool, 'notes'> {
  return notes.length === 0 ? {} : { notes: [...notes] as NonNullable<ImportedTool['notes']> }
}

function refusalOf(error: GatewayError): Omit<ImportedTool, 'operation'> {
  const { code, detail, mistakes } = error
  return {
    result: code === 'name_taken' ? 'exists' : 'refused',
    code,
    detail,
    ...(mistakes.length === 0 ? {} : { errors: [...mistakes] }),
  }
}
