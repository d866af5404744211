import { CORE_SCHEMA, load, Type } from 'js-yaml'
import { tableOf } from '../../../lib/json/table-of.ts'

type Table = Readonly<Record<string, unknown>>

/** The text is no OpenAPI document that the gateway reads. */
export class NoDocument extends Error {
  override readonly name = 'NoDocument'
}

/** YAML 1.2 with merge keys, which documents use. Dates stay text. */
const schema = CORE_SCHEMA.extend({
  implicit: [
    new Type('tag:yaml.org,2002:merge', { kind: 'scalar', resolve: (text) => text === '<<' }),
  ],
})

/** @throws NoDocument */
export function readDocument(text: string): Table {
  const document = tableOf(parsed(text))
  const { openapi, swagger } = document
  if (typeof openapi === 'string' && /^3\.\d/.test(openapi)) return document
  throw new NoDocument(
    swagger === undefined
      ? "must be an OpenAPI document of version 3, with a member 'openapi' such as '3.1.0'"
      : 'must be an OpenAPI document of version 3: convert this one of version 2 (Swagger) first',
  )
}

function parsed(text: string): unknown {
  try {
    return /^\s*\{/.test(text) ? parsedJson(text) : load(text, { schema })
  } catch (error) {
    const [reason = ''] = String((error as Error).message).split('\n')
    throw new NoDocument(`must be JSON or YAML: ${reason.slice(0, 200)}`, { cause: error })
  }
}

/** A text that begins with a brace may also be YAML. */
function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return load(text, { schema })
  }
}
