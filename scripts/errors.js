// Writes docs/errors.md from the built tables; with --check, fails when the file is stale.
import { errorTable } from '../packages/gateway/dist/core/error-table.js'
import {
  importRefusalTable,
  mistakeTable,
  warningTable,
} from '../packages/gateway/dist/core/mistakes.js'
import { failureTable } from '../packages/gateway/dist/tools/failure.js'
import { writeGenerated } from './generated.js'
import { markdownTable } from './markdown-table.js'

const yes = (flag) => (flag ? 'yes' : 'no')
const sentences = (table) =>
  markdownTable(
    ['code', 'meaning'],
    Object.entries(table)
      .toSorted(([one], [other]) => (one < other ? -1 : 1))
      .map(([code, text]) => [`\`${code}\``, text]),
  )

const text = `# Errors

\`npm run errors\` writes this page from the tables in the source. Codes are stable. Titles and
details are for people, and may change.

## Errors of requests

The REST API answers with an RFC 9457 problem (\`application/problem+json\`). Its \`code\` is one of
these, \`requestId\` finds the line in the log, and \`retryable\` says whether the same request may
succeed later and cannot run anything twice. \`/adapters/{name}/mcp\` and \`/mcp\` answer with a
JSON-RPC error, whose \`data\` has \`code\`, \`requestId\` and \`retryable\`. An error whose own detail
may not be shown always has the text of this table.

${markdownTable(
  ['status', 'code', 'title', 'detail, where the error has none of its own', 'retry', 'own detail'],
  Object.entries(errorTable).map(([code, { status, title, help, retry, exposeDetail }]) => [
    String(status),
    `\`${code}\``,
    title,
    help,
    yes(retry),
    exposeDetail ? 'shown' : 'hidden',
  ]),
)}

The HTTP server itself refuses some requests before their path counts. Such a refusal is a problem
at MCP paths too: \`host_not_allowed\`, \`origin_not_allowed\`, \`headers_too_large\`,
\`request_timeout\`, and \`invalid_request\` for faulty HTTP.

## Mistakes of a request

\`errors\` of a problem lists every mistake. \`pointer\` is its place: an RFC 6901 pointer into the
body, or \`query:name\`, or \`header:name\`.

${sentences(mistakeTable)}

## Warnings

\`warnings\` of an answer lists the parts of a request that had no effect, or another one than its
sender may expect. The request was carried out.

${sentences(warningTable)}

## Refusals of an import

\`POST /tools/import\` answers with a result for each operation. \`code\` of a refused one is one of
these, or the code of the error that \`POST /tools\` would answer.

${sentences(importRefusalTable)}

## Failures of a tool's call

A call of a tool that fails is a result with \`isError\`. Its \`_meta\` has the code under
\`mcp-gateway/error\`. The code is one of these, or that of an error of the gateway.
[tools.md](tools.md#what-a-tool-answers) says when to call again.

${sentences(failureTable)}
`

writeGenerated('docs/errors.md', text, 'npm run errors')
