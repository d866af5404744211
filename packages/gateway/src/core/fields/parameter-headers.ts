import { headerFilter } from '../header-table.ts'
import { canonicalName } from '../../lib/http/header-names.ts'

const passage = headerFilter('server')

/** Headers that the gateway writes itself, or that change how a body is read. */
const own = new RegExp(
  `^(${[
    'accept|accept-encoding|content-.*|expect|range|if-range|user-agent|cdn-loop',
    'mcp-.*|x-mcp-.*|last-event-id|idempotency-key|x-request-id|traceparent|tracestate|baggage',
  ].join('|')})$`,
)

/** Why an argument of a tool may not be this header; undefined if it may. */
export function parameterHeaderMistake(name: string): string | undefined {
  if (!/^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/.test(name))
    return "must be a header name of letters, digits, '-', '_' and '.'"
  if (own.test(canonicalName(name)) || passage(name) === 'never')
    return `must not be '${name}', which HTTP, the gateway or a credential uses`
  return undefined
}
