/** Most characters that one session or connection keeps about the tools of its server. */
const longestFacts = 256 * 1024

/** Characters counted for each fact besides its text. */
const factCost = 64

/**
 * Facts about the tools of a server, by tool name. The server chooses how many tools it has, so the
 * oldest facts are deleted beyond a bound.
 */
export class ToolFacts<Fact extends object> {
  readonly #facts = new Map<string, { readonly fact: Fact; readonly length: number }>()
  #length = 0

  get size(): number {
    return this.#facts.size
  }

  has(name: string): boolean {
    return this.#facts.has(name)
  }

  get(name: string): Fact | undefined {
    return this.#facts.get(name)?.fact
  }

  set(name: string, fact: Fact): void {
    this.delete(name)
    const length = name.length + JSON.stringify(fact).length + factCost
    this.#facts.set(name, { fact, length })
    this.#length += length
    for (const oldest of this.#facts.keys()) {
      if (this.#length <= longestFacts || oldest === name) return
      this.delete(oldest)
    }
  }

  delete(name: string): void {
    this.#length -= this.#facts.get(name)?.length ?? 0
    this.#facts.delete(name)
  }

  clear(): void {
    this.#facts.clear()
    this.#length = 0
  }
}

/** Most resources that one session may subscribe to, and most characters of their URIs together. */
const mostUris = 1000
const longestUris = 128 * 1024

/**
 * The resources that a session is subscribed to. The client chooses their URIs, so both have
 * bounds.
 */
export class SubscribedUris {
  readonly #uris = new Set<string>()
  #length = 0

  get size(): number {
    return this.#uris.size
  }

  values(): string[] {
    return [...this.#uris]
  }

  /**
   * Adds a URI. Returns why there is no room for it; undefined if it was added or was there before.
   */
  add(uri: string): string | undefined {
    if (this.#uris.has(uri)) return undefined
    if (this.#uris.size === mostUris)
      return `The session is subscribed to ${mostUris} resources, which is the limit.`
    if (this.#length + uri.length > longestUris)
      return (
        `The URIs that the session is subscribed to are longer than ${longestUris} ` +
        'characters ' +
        'together, which is the limit.'
      )
    this.#uris.add(uri)
    this.#length += uri.length
    return undefined
  }

  delete(uri: string): void {
    if (this.#uris.delete(uri)) this.#length -= uri.length
  }
}

/** Most characters that a client may say about itself. A session keeps them. */
const longestIntroduction = 128 * 1024

/** Says why a client's words about itself are too long to keep; undefined if they are kept. */
export function introductionMistake(...texts: (string | undefined)[]): string | undefined {
  const length = texts.reduce((sum, text = '') => sum + text.length, 0)
  return length > longestIntroduction
    ? `Invalid params: capabilities and clientInfo have ${length} characters, ` +
        `where ${longestIntroduction} are the limit.`
    : undefined
}
