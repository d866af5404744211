import type { ImportNeed } from '@mcp-gateway/contract'
import type { Mistake } from '../../core/errors.ts'
import { answerTo, type Answer, type Answers, type Asked } from './source.ts'

/** `${input:token}`, `${env:TOKEN}`, `${TOKEN:-default}`, `${userHome}`, `$TOKEN`, `%TOKEN%`. */
const placeholder =
  /\$\{([^{}\s]{1,120})\}|(?<![\w$])\$([A-Z_][A-Z0-9_]{1,100})\b|%([A-Z_][A-Z0-9_]{2,100})%/g

/** A filled text. */
export interface Filled {
  readonly text: string
  /** True if a secret answer is part of it. */
  readonly secret: boolean
}

/** Fills the placeholders of one entry with answers, and notes those that have none. */
export class Placeholders {
  readonly #answers: Answers
  readonly #asked: ReadonlyMap<string, Asked>
  readonly needs = new Map<string, ImportNeed>()
  readonly mistakes: Mistake[] = []

  constructor(answers: Answers, asked: ReadonlyMap<string, Asked>) {
    this.#answers = answers
    this.#asked = asked
  }

  /** Fills a text of which a placeholder may be a part. */
  fill(pointer: string, text: string): Filled {
    let secret = false
    const filled = text.replaceAll(placeholder, (found, ...groups: (string | undefined)[]) => {
      const [id, proposed] = idOf(groups)
      const answer = this.#answerTo(id, proposed)
      if (typeof answer === 'object')
        this.mistakes.push({
          pointer,
          code: 'ambiguous',
          detail: `holds '${id}' beside other text, so a secretRef cannot stand for it`,
        })
      secret ||= this.#asked.get(id)?.secret === true
      return typeof answer === 'string' ? answer : found
    })
    return { text: filled, secret }
  }

  /** Fills a text that a single placeholder may be; a reference may then stand for it. */
  fillWhole(pointer: string, text: string): Filled | Exclude<Answer, string> {
    const [only, ...others] = text.matchAll(placeholder)
    if (only !== undefined && others.length === 0 && only[0] === text) {
      const [id, proposed] = idOf(only.slice(1))
      const answer = this.#answerTo(id, proposed)
      if (typeof answer === 'object') return answer
    }
    return this.fill(pointer, text)
  }

  /** Asks for a value, unless there is an answer. */
  ask(id: string, asked: Asked, of: ImportNeed['of'] = 'inputs'): Answer | undefined {
    const answer = of === 'inputs' ? answerTo(this.#answers, id) : undefined
    if (answer === undefined) this.needs.set(`${of} ${id}`, needOf(id, asked, of))
    return answer
  }

  #answerTo(id: string, proposed: string | undefined): Answer | undefined {
    const asked = this.#asked.get(id) ?? { secret: false }
    return this.ask(id, proposed === undefined ? asked : { default: proposed, ...asked })
  }
}

function needOf(id: string, asked: Asked, of: ImportNeed['of']): ImportNeed {
  const { choices, ...rest } = asked
  return { id, of, ...rest, ...(choices === undefined ? {} : { choices: [...choices] }) }
}

/** The id of a placeholder, and the default that it proposes. All forms of a variable share one. */
function idOf(groups: readonly (string | undefined)[]): [id: string, proposed: string | undefined] {
  const [inner, ...bare] = groups
  if (inner === undefined) return [`env:${bare[0] ?? bare[1] ?? ''}`, undefined]
  const [, variable, proposed] = /^(?:env:)?([A-Za-z_]\w*)(?::-(.*))?$/.exec(inner) ?? []
  if (variable === undefined) return [inner, undefined]
  const named = inner.startsWith('env:') || proposed !== undefined || /^[A-Z_]\w*$/.test(variable)
  return [named ? `env:${variable}` : inner, proposed]
}
