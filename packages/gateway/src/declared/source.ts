import { setImmediate as turn } from 'node:timers/promises'
import type { DeclaredSourceStatus } from '@mcp-gateway/contract'
import {
  converge,
  readDeclarationsInTurns,
  type Declarations,
  type Outcome,
  type Target,
} from '@mcp-gateway/declared'
import { monotonicNow } from '../lib/clock.ts'
import { defined } from '../lib/defined.ts'
import { readFolder, type FolderContent } from './folder.ts'

export interface SourceSettings {
  readonly folder: string
  readonly prune: boolean
  readonly emptyPrunes: boolean
  readonly pollSeconds: number
}

export interface SourceOptions {
  readonly settings: SourceSettings
  /** Applies the documents. */
  readonly target: Target
  /** Reports the changes that `target` would make. */
  readonly trial: Target
  /** The problem of one resource as reported by the gateway that writes, if another one does. */
  readonly problemOf: (name: string) => string | undefined
  /** Hears of each change and each new problem, and of nothing else. */
  readonly report: (news: News) => void
  readonly now: () => Date
}

/** An event that observers of a source should hear once. */
export type News =
  | { readonly kind: 'changed'; readonly outcome: Outcome }
  | { readonly kind: 'failed'; readonly outcome: Outcome }
  | { readonly kind: 'problem'; readonly problem: string }

type DocumentStatus = NonNullable<DeclaredSourceStatus['documents']>[number]

/** Milliseconds until an unchanged folder is compared again, because the store may have changed. */
const resyncMs = 60_000

/** Milliseconds until a failed document is tried again. Its cause may lie outside the folder. */
const retryMs = 15_000

/**
 * One folder, and the outcomes of its documents. A look reads the folder and compares all
 * documents.
 */
export class Source {
  readonly #options: SourceOptions
  #status: DeclaredSourceStatus
  #outcomes: readonly Outcome[] = []
  /** Problems already reported, so that each is reported only once. */
  #told = new Set<string>()
  #lastLook = { at: -Infinity, revision: '', wrote: false, failed: false }

  constructor(options: SourceOptions) {
    this.#options = options
    const { folder } = options.settings
    this.#status = { folder, phase: 'Pending', problems: [], counts: {} }
  }

  /** Milliseconds between two looks. */
  get pollMs(): number {
    return this.#options.settings.pollSeconds * 1000
  }

  get status(): DeclaredSourceStatus {
    return this.#status
  }

  /** Failures by resource name, for the other gateways. */
  get problems(): ReadonlyMap<string, string> {
    return new Map(
      this.#outcomes.flatMap(({ name, state, reason }) =>
        state === 'failed' ? [[name, reason ?? 'It failed.'] as const] : [],
      ),
    )
  }

  /**
   * Reads the folder, and compares it if something may have changed. Writes only while `term`
   * lasts.
   */
  async look(term: AbortSignal | undefined): Promise<void> {
    const { settings } = this.#options
    let content: FolderContent

    try {
      content = await readFolder(settings.folder)
    } catch (error) {
      const problem = error instanceof Error ? error.message : String(error)
      this.#tell([problem])
      // Keep everything. A folder that is missing for a moment must not remove resources.
      this.#status = { ...this.#status, phase: 'Unavailable', problems: [problem] }
      this.#lastLook = { ...this.#lastLook, at: -Infinity }

      return
    }

    const writes = term !== undefined && !term.aborted
    if (this.#isCurrent(content.revision, writes)) return

    const declarations = await readDeclarationsInTurns(content.files, turn)
    const { target, trial } = this.#options
    const outcomes = await converge(declarations, writes ? target : trial, {
      ...settings,
      ...defined({ signal: writes ? term : undefined }),
    })
    if (writes && term.aborted) return

    this.#conclude(content.revision, declarations, outcomes, writes)
  }

  #isCurrent(revision: string, writes: boolean): boolean {
    const last = this.#lastLook
    if (last.revision !== revision || last.wrote !== writes) return false
    return monotonicNow() - last.at < (last.failed ? retryMs : resyncMs)
  }

  #conclude(
    revision: string,
    { mistakes }: Declarations,
    outcomes: readonly Outcome[],
    wrote: boolean,
  ): void {
    const { settings, now, report } = this.#options
    const problems = mistakes.map(({ file, line, detail }) => `${file}:${line}: ${detail}`)

    if (wrote)
      for (const outcome of outcomes)
        if (['created', 'changed', 'removed'].includes(outcome.state))
          report({ kind: 'changed', outcome })

    this.#tell(problems, wrote ? outcomes : [])

    const documents = outcomes.flatMap((outcome) => this.#shown(outcome, wrote) ?? [])
    const failed = problems.length > 0 || documents.some(({ state }) => state === 'failed')
    const pending = documents.some(({ state }) => state === 'pending')
    const counts: Record<string, number> = {}

    for (const { state } of documents) counts[state] = (counts[state] ?? 0) + 1

    this.#outcomes = outcomes
    // A short interval, so that a gateway that does not write soon sees the writer's results.
    this.#lastLook = { at: monotonicNow(), revision, wrote, failed: failed || pending }

    this.#status = {
      folder: settings.folder,
      phase: phaseOf({ failed, pending }),
      revision,
      checkedAt: now().toISOString(),
      problems,
      counts,
      documents,
    }
  }

  /** The status of one document; undefined for a removed resource. */
  #shown(outcome: Outcome, wrote: boolean): DocumentStatus | undefined {
    const { state, ...rest } = outcome
    if (state === 'failed' || state === 'kept') return { ...rest, state }
    if (state === 'unchanged') return { ...rest, state: 'applied' }
    if (wrote) return state === 'removed' ? undefined : { ...rest, state: 'applied' }

    const problem = this.#options.problemOf(outcome.name)
    return problem === undefined
      ? { ...rest, state: 'pending' }
      : { ...rest, state: 'failed', reason: problem }
  }

  /** Reports each problem on its first appearance. */
  #tell(problems: readonly string[], outcomes: readonly Outcome[] = []): void {
    const told = new Set<string>()
    for (const problem of problems) {
      told.add(problem)
      if (!this.#told.has(problem)) this.#options.report({ kind: 'problem', problem })
    }
    for (const outcome of outcomes) {
      if (outcome.state !== 'failed') continue
      const key = JSON.stringify([outcome.name, outcome.reason])
      told.add(key)
      if (!this.#told.has(key)) this.#options.report({ kind: 'failed', outcome })
    }
    this.#told = told
  }
}

function phaseOf(documents: {
  readonly failed: boolean
  readonly pending: boolean
}): DeclaredSourceStatus['phase'] {
  if (documents.failed) return 'Degraded'
  return documents.pending ? 'Pending' : 'Applied'
}
