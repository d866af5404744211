import { declaredHeaders, type DeclaredHeader, findDuplicateKey } from '@mcp-gateway/protocol'
import { authorize, mayUse, type Permit } from '../core/permission.ts'
import { partyOf, type Principal } from '../core/principal.ts'
import {
  isTool,
  withoutWorkload,
  type McpTool,
  type Resource,
  type Tool,
  type ToolDefinition,
  type ToolSpec,
} from '../core/resource.ts'
import { Listeners } from '../lib/async/listeners.ts'
import { BoundedCache } from '../lib/bounded-cache.ts'
import { defined } from '../lib/defined.ts'
import type { ValueMistake } from '../lib/json/json-schema.ts'
import type { CheckedSchema, SchemaChecks } from '../lib/json/schema-checks.ts'
import { follow } from '../store/follow.ts'
import type { Change, Store } from '../store/store.ts'
import { invalidArguments } from './failure.ts'
import type {
  CallResult,
  Invocation,
  ListedTool,
  OfferedTool,
  Seen,
  SourceChange,
  ToolSource,
} from './source.ts'

/** Checks a tool's answer. Undefined if the tool declares no outputSchema. */
export type OutputCheck =
  | ((json: string) => readonly ValueMistake[] | Promise<readonly ValueMistake[]>)
  | undefined

/** A tool without the parts of its definition that only clients and checks read. */
export type CalledTool = Resource<
  Omit<ToolSpec, 'toolDefinition'> & {
    readonly toolDefinition: Omit<ToolDefinition, 'tool'> & {
      readonly tool: Pick<McpTool, 'name' | 'annotations'>
    }
  },
  'tool'
>

/** Sends a call whose arguments are in order. */
export type SendCall = (
  permit: Permit<'use', CalledTool>,
  invocation: Invocation,
  output: OutputCheck,
  /** The arguments that headers repeat, if MCP carries the call. */
  declaredHeaders: readonly DeclaredHeader[],
) => Promise<CallResult>

/**
 * The table's entry for a tool. The definition stays text until the tool is called, because
 * definitions take several times the memory as objects.
 */
interface Entry extends ListedTool {
  readonly tool: CalledTool
}

/** The parts of a definition that the first call prepares. */
interface Prepared {
  readonly input: CheckedSchema
  readonly output: CheckedSchema | undefined
  readonly headers: readonly DeclaredHeader[]
}

/** The tools of `/tools`, which follow the store. If the store fails, the known tools stay. */
export class RegisteredTools implements ToolSource, AsyncDisposable {
  readonly #send: SendCall
  readonly #checks: SchemaChecks
  readonly #byName = new Map<string, Entry>()
  /** MCP tool names by resource names. */
  readonly #toolNames = new Map<string, string>()
  /** Sorted. */
  #names: string[] = []
  readonly #prepared = new BoundedCache<Entry, Prepared>(1000)
  readonly #listeners = new Listeners<SourceChange>()
  #following: AsyncDisposable | undefined

  private constructor(checks: SchemaChecks, send: SendCall) {
    this.#checks = checks
    this.#send = send
  }

  /** Fills the table and follows the store from then on. */
  static async open(
    store: Pick<Store, 'list' | 'watch'>,
    checks: SchemaChecks,
    send: SendCall,
    failed?: (error: unknown) => void,
  ): Promise<RegisteredTools> {
    const table = new RegisteredTools(checks, send)
    table.#following = await follow(
      store,
      { kind: 'tool' },
      (change) => table.#take(change),
      failed,
    )
    return table
  }

  *list(principal: Principal, after: string): Iterable<ListedTool> {
    for (let index = this.#place(after); index < this.#names.length; index += 1) {
      const name = this.#names[index] as string
      const entry = this.#byName.get(name)
      if (name !== after && entry !== undefined && mayUse(principal, entry.tool)) yield entry
    }
  }

  /** All tools, whoever may use them, sorted by name. */
  *entries(): Iterable<ListedTool & { readonly tool: CalledTool }> {
    for (const name of this.#names) {
      const entry = this.#byName.get(name)
      if (entry !== undefined) yield entry
    }
  }

  /** A tool by the name of its resource, as lists show it. */
  entryOf(name: string): ListedTool | undefined {
    const entry = this.#byName.get(this.#toolNames.get(name) ?? '')
    return entry?.tool.name === name ? entry : undefined
  }

  /** A tool by the name of its resource. */
  byResource(name: string): CalledTool | undefined {
    const tool = this.get(this.#toolNames.get(name) ?? '')
    return tool?.name === name ? tool : undefined
  }

  /** The resource of an MCP tool. */
  get(name: string): CalledTool | undefined {
    return this.#byName.get(name)?.tool
  }

  find(principal: Principal, name: string, seen?: Seen): OfferedTool | undefined {
    const entry = this.#byName.get(name)
    if (entry === undefined) return undefined

    const allowed = mayUse(principal, entry.tool)
    seen?.(entry.tool, allowed)
    if (!allowed) return undefined

    const permit = authorize(principal, 'use', entry.tool)
    const prepared = this.#prepare(entry)
    return {
      declaredHeaders: prepared.headers,
      call: async (invocation) => {
        const mistakes = await argumentMistakes(prepared.input, invocation)
        if (mistakes.length > 0) return invalidArguments(mistakes)

        const { output } = prepared
        return this.#send(
          permit,
          invocation,
          output === undefined
            ? undefined
            : (json) => output.mistakes(json, invocation.cancellation),
          prepared.headers,
        )
      },
    }
  }

  onChange(listener: (change: SourceChange) => void): () => void {
    return this.#listeners.add(listener)
  }

  #prepare(entry: Entry): Prepared {
    let prepared = this.#prepared.get(entry)
    if (prepared === undefined) {
      const { inputSchema, outputSchema } = JSON.parse(entry.json) as McpTool
      const party = partyOf(entry.tool.owner)
      prepared = {
        input: this.#checks.schema(inputSchema, party),
        output: outputSchema === undefined ? undefined : this.#checks.schema(outputSchema, party),
        headers: declaredHeaders(JSON.stringify(inputSchema)),
      }
      this.#prepared.set(entry, prepared)
    }
    return prepared
  }

  #take({ name, resource }: Change): void {
    const after = resource !== undefined && isTool(resource) ? entryOf(resource) : undefined
    const oldName = this.#toolNames.get(name)
    const before = oldName === undefined ? undefined : this.#byName.get(oldName)

    const newName = after?.name
    if (oldName !== undefined && oldName !== newName) {
      this.#toolNames.delete(name)
      // Another tool may have taken the name by now.
      if (before?.tool.name === name) {
        this.#byName.delete(oldName)
        const place = this.#place(oldName)
        if (this.#names[place] === oldName) this.#names.splice(place, 1)
      }
    }

    if (after !== undefined && newName !== undefined) {
      this.#toolNames.set(name, newName)
      if (!this.#byName.has(newName)) this.#names.splice(this.#place(newName), 0, newName)
      this.#byName.set(newName, after)
    }

    this.#tell(before?.tool.name === name ? before : undefined, after)
  }

  #tell(before: Entry | undefined, after: Entry | undefined): void {
    if (before === undefined && after === undefined) return
    const change: SourceChange = {
      concerns(principal) {
        const saw = before !== undefined && mayUse(principal, before.tool)
        const sees = after !== undefined && mayUse(principal, after.tool)
        return saw !== sees || (sees && before?.json !== after.json)
      },
    }
    this.#listeners.tell(change)
  }

  /** The place of a name in the sorted list, present or not. */
  #place(name: string): number {
    let low = 0
    let high = this.#names.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.#names[middle] as string) < name) low = middle + 1
      else high = middle
    }
    return low
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#following?.[Symbol.asyncDispose]()
  }
}

function entryOf(stored: Tool): Entry {
  const resource = withoutWorkload(stored)
  const { toolDefinition } = resource.spec
  const { name, annotations } = toolDefinition.tool
  const tool = defined({ name, annotations })
  return {
    name,
    json: JSON.stringify(toolDefinition.tool),
    tool: { ...resource, spec: { ...resource.spec, toolDefinition: { ...toolDefinition, tool } } },
  }
}

function argumentMistakes(
  schema: CheckedSchema,
  { arguments: text, cancellation }: Invocation,
): readonly ValueMistake[] | Promise<readonly ValueMistake[]> {
  // Tool and gateway might each read another one of two equal names.
  const twice = findDuplicateKey(text)
  if (twice !== undefined) return [{ pointer: twice, detail: 'stands more than once' }]
  return schema.mistakes(text, cancellation)
}
