import { Shares, type Share } from '@mcp-gateway/mcp-http'
import { longestName, type ToolHints } from '../core/fields/tool-rules.ts'
import { monotonicNow } from '../lib/clock.ts'
import type { ListedTool } from './ruled-messages.ts'

/** A server's list of tools is valid for so long. */
const knownMs = 30_000
/** If the list lacks a tool, the gateway asks again after so long. */
const unknownMs = 1000
/** Bytes of the longest list that is kept. */
const longestList = 256 * 1024
/** Bytes of all lists that are kept. */
const mostBytes = 32 * 1024 * 1024
/** Bytes of one list, and of one tool, besides their names. */
const sizeOf = { list: 512, tool: 160 }

/**
 * The tools of a server and their hints. A list that becomes too long keeps only the tools that its
 * asker wants.
 */
export class ToolList {
  readonly #wanted: ReadonlySet<string>
  /** Undefined for a name that the server lists twice. */
  readonly #hints = new Map<string, ToolHints | undefined>()
  #bytes = sizeOf.list
  #isWhole = true

  constructor(wanted: readonly string[]) {
    this.#wanted = new Set(wanted)
  }

  get bytes(): number {
    return this.#bytes
  }

  /** True if the list holds every tool that a call can name. */
  get isWhole(): boolean {
    return this.#isWhole
  }

  add({ name, hints }: ListedTool): void {
    // Rules deny such a name without its hints.
    if (name.length > longestName) return
    if (!this.#isWhole && !this.#wanted.has(name)) return
    // Nobody can know which of two equal names the server would call.
    if (this.#hints.has(name)) return void this.#hints.set(name, undefined)

    this.#hints.set(name, hints)
    this.#bytes += sizeOf.tool + 2 * name.length
    if (this.#bytes > longestList) this.#shorten()
  }

  #shorten(): void {
    this.#isWhole = false
    for (const name of this.#hints.keys()) if (!this.#wanted.has(name)) this.#hints.delete(name)
  }

  /** The hints of a tool. Undefined if the server does not list it, or lists it twice. */
  get(name: string): ToolHints | undefined {
    return this.#hints.get(name)
  }
}

interface Known {
  readonly at: number
  readonly list: ToolList
}

interface Kept extends Known {
  readonly share: Share
}

/**
 * The lists that servers have given, for some time. A list that finds no room, or is too long, is
 * asked for again.
 */
export class KnownTools {
  /** The oldest list comes first. */
  readonly #kept = new Map<string, Kept>()
  readonly #asked = new Map<string, Promise<Known>>()
  readonly #shares: Shares

  constructor(most = mostBytes) {
    this.#shares = new Shares(most)
  }

  /** The bytes of the kept lists. */
  get bytes(): number {
    return this.#shares.held
  }

  /** The list of a key, from which the verdicts about the wanted tools follow. */
  async of(
    key: string,
    caller: string,
    wanted: readonly string[],
    ask: () => Promise<ToolList>,
  ): Promise<ToolList> {
    for (;;) {
      const kept = this.#kept.get(key)
      if (kept !== undefined && isFresh(kept, wanted)) return kept.list

      const asked = this.#asked.get(key)
      if (asked === undefined) return (await this.#ask(key, caller, ask)).list
      const known = await asked
      // The other request may have wanted other tools of a list that is too long.
      if (!known.list.isWhole) return ask()
      if (isFresh(known, wanted)) return known.list
    }
  }

  #ask(key: string, caller: string, ask: () => Promise<ToolList>): Promise<Known> {
    const at = monotonicNow()
    const asked = ask()
      .then((list) => {
        const known = { at, list }
        if (list.isWhole) this.#keep(key, caller, known)
        return known
      })
      .finally(() => this.#asked.delete(key))
    this.#asked.set(key, asked)
    return asked
  }

  #keep(key: string, caller: string, known: Known): void {
    this.#drop(key)
    for (const [old, { at }] of this.#kept) {
      if (monotonicNow() - at < knownMs) break
      this.#drop(old)
    }
    const share = this.#shares.open(caller)
    share.spare(() => this.#kept.delete(key))
    while (share.hold(known.list.bytes + 2 * key.length) !== undefined) {
      const oldest = this.#oldestOf(caller) ?? this.#kept.keys().next().value
      if (oldest === undefined) return
      this.#drop(oldest)
    }
    this.#kept.set(key, { ...known, share })
  }

  #oldestOf(caller: string): string | undefined {
    if (this.#shares.heldBy(caller) === 0) return undefined
    for (const [key, { share }] of this.#kept) if (share.caller === caller) return key
    return undefined
  }

  #drop(key: string): void {
    this.#kept.get(key)?.share.release()
    this.#kept.delete(key)
  }
}

function isFresh({ at, list }: Known, wanted: readonly string[]): boolean {
  const lists = wanted.every((tool) => list.get(tool) !== undefined)
  return monotonicNow() - at < (lists ? knownMs : unknownMs)
}
