/** Something that can be killed. Whatever keeps it running starts it again. */
export interface Target {
  readonly kind: string
  readonly name: string
  /** The members that it serves. */
  readonly aliases: readonly string[]
  /** The gateways that lose it. */
  readonly origins: readonly string[]
  /** True if the members answer as others afterwards. */
  readonly replaces: boolean
  /** Kills it, and resolves when it is dead. */
  kill(): Promise<void>
}

/** The gateways and members that the clients of a run reach. */
export interface Site {
  readonly origins: readonly string[]
  readonly path: string
  readonly aliases: readonly string[]
  /** The members that have the resource. */
  readonly counting: readonly string[]
  readonly targets: readonly Target[]
  /** Changes the resource of every member, and gives its new content. */
  increment(): Promise<number>
}
