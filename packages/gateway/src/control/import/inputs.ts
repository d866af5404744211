import type { Mistake } from '../../core/errors.ts'
import { tableOf } from '../../lib/json/table-of.ts'
import { answerTo, type Answers, type Asked } from './source.ts'

type Table = Readonly<Record<string, unknown>>

export function listOf(value: unknown): Table[] {
  return Array.isArray(value) ? value.map((each) => tableOf(each)) : []
}

/** Turns the inputs of a `server.json` into texts with placeholders, and notes what they ask. */
export class Inputs {
  readonly asked = new Map<string, Asked>()
  readonly mistakes: Mistake[] = []
  readonly #answers: Answers

  constructor(answers: Answers) {
    this.#answers = answers
  }

  /** The text of an input; undefined for an optional one that nobody answers. */
  text(input: Table, id: string, pointer: string): string | undefined {
    const { default: proposed, isRequired, value, variables } = input
    if (typeof value === 'string') return this.withVariables(value, variables)
    if (!/^[^{}\s]{1,100}$/.test(id)) {
      this.mistakes.push({ pointer, code: 'invalid_format', detail: 'has an input without a name' })
      return undefined
    }

    const answered = answerTo(this.#answers, id) !== undefined
    const hasDefault = typeof proposed === 'string'
    if (!answered && hasDefault) return proposed
    if (!answered && isRequired !== true) return undefined
    this.asked.set(id, askedBy(input))
    return `\${${id}}`
  }

  /** A text whose `{variables}` are placeholders, as far as they are described. */
  withVariables(text: string, variables: unknown): string {
    const described = tableOf(variables)
    return text.replaceAll(/\{(\w{1,100})\}/g, (found, name: string) =>
      Object.hasOwn(described, name)
        ? (this.text({ isRequired: true, ...tableOf(described[name]) }, `var:${name}`, '') ?? '')
        : found,
    )
  }
}

function askedBy({ choices, description, isSecret }: Table): Asked {
  return {
    secret: isSecret === true,
    ...(typeof description === 'string' ? { description } : {}),
    ...(Array.isArray(choices)
      ? { choices: choices.filter((each) => typeof each === 'string') }
      : {}),
  }
}
