import type { Mistake } from '../../core/errors.ts'

/** A text, or a reference to a secret, that a caller gave for a need. */
export type Answer = string | { readonly secretRef: { readonly name: string } }

export type Answers = Readonly<Record<string, Answer>>

/** A question that a file itself asks, as its author describes it. */
export interface Asked {
  readonly description?: string
  readonly secret: boolean
  readonly default?: string
  readonly choices?: readonly string[]
}

/** One server of a file, in the form that clients' configuration files have. */
export interface Source {
  readonly entry: string
  /** The place in the file. */
  readonly pointer: string
  readonly fields: Readonly<Record<string, unknown>>
  /** By the id of the placeholder. */
  readonly asked: ReadonlyMap<string, Asked>
  readonly description?: string
  /** Mistakes that leave nothing to import. */
  readonly mistakes?: readonly Mistake[]
}

/** The answer to a need, ignoring inherited members such as `constructor`. */
export function answerTo<T>(answers: Readonly<Record<string, T>>, id: string): T | undefined {
  return Object.hasOwn(answers, id) ? answers[id] : undefined
}

export function pointerTo(...path: readonly string[]): string {
  return path
    .map((part) => `/${part.slice(0, 100).replaceAll('~', '~0').replaceAll('/', '~1')}`)
    .join('')
}
