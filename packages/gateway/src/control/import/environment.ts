import type { AdapterBody } from '@mcp-gateway/contract'
import type { Mistake } from '../../core/errors.ts'
import { looksSecret } from '../../core/fields/looks-secret.ts'
import { isCommandVariable } from '../../core/fields/variables.ts'
import { tableOf } from '../../lib/json/table-of.ts'
import { readEnvFile } from './env-file.ts'
import type { Placeholders } from './placeholders.ts'
import { answerTo, pointerTo, type Source } from './source.ts'

type Variables = NonNullable<AdapterBody['environmentVariables']>
type Variable = Variables[string]

/** The variables of an entry: those of its env file, and its own, which outrank them. */
export function environmentOf(
  { entry, fields, pointer }: Source,
  envFiles: Readonly<Record<string, string>>,
  placeholders: Placeholders,
  mistakes: Mistake[],
): Variables {
  const own = Object.entries(tableOf(fields['env'])).flatMap(([name, given]) => {
    // VS Code removes variables that are null.
    if (given === null) return []
    const at = `${pointer}/env${pointerTo(name)}`
    if (typeof given !== 'string' && typeof given !== 'number' && typeof given !== 'boolean') {
      mistakes.push({ pointer: at, code: 'invalid_type', detail: 'must be a text' })
      return []
    }
    return [[name, valueOf({ entry, name, at }, String(given), placeholders)] as const]
  })
  const all = Object.fromEntries<Variable>([
    ...fromFile(fields['envFile'], envFiles, placeholders),
    ...own,
  ])
  for (const name of Object.keys(all).filter((each) => isCommandVariable(each)))
    mistakes.push({
      pointer: `${pointer}/env${pointerTo(name)}`,
      code: 'ambiguous',
      detail: 'is a variable of the bridge itself',
    })
  return all
}

/** Everything in an env file is secret, because such files are kept for secrets. */
function fromFile(
  path: unknown,
  envFiles: Readonly<Record<string, string>>,
  placeholders: Placeholders,
): (readonly [string, Variable])[] {
  if (typeof path !== 'string') return []
  const text = answerTo(envFiles, path)
  if (text === undefined) {
    const description = 'The text of this env file. The gateway reads no file of yours.'
    placeholders.ask(path, { secret: true, description }, 'envFiles')
    return []
  }
  return readEnvFile(text).map(([name, value]) => [name, { value, secret: true }])
}

/** A text that people put where a secret belongs. */
const standIn =
  /^(\s*|<.*>|\*+|x{3,}|\.{3}|…|(your|my|insert|enter|replace|change|paste)[-_ ].*|changeme|todo)$/i

function valueOf(
  { at, entry, name }: { readonly at: string; readonly entry: string; readonly name: string },
  given: string,
  placeholders: Placeholders,
): Variable {
  if (looksSecret(name, 'unknown') && standIn.test(given)) {
    const answer = placeholders.ask(`${entry}.env.${name}`, { secret: true })
    if (answer === undefined) return ''
    return typeof answer === 'string' ? { value: answer, secret: true } : answer
  }
  const filled = placeholders.fillWhole(at, given)
  if (!('text' in filled)) return filled
  const { secret, text } = filled
  return secret || looksSecret(name, text) ? { value: text, secret: true } : text
}
