import { toLegacyStdioMember } from './baseline.ts'
import type { Difference } from './run-suite.ts'

/** The results of one client with one virtual server. */
export interface AggregateRow {
  readonly client: string
  readonly server: string
  readonly direct: { readonly passed: number; readonly failed: number }
  readonly through: { readonly passed: number; readonly failed: number }
  readonly found: readonly Difference[]
}

/** The heading of the part about virtual servers in the page about conformance. */
export const aggregatesHeading = '## Through virtual servers'

export function aggregatesPart(rows: readonly AggregateRow[]): string {
  const lines = rows.map(({ client, server, direct, through, found }) => {
    const scenarios = [...new Set(found.map(({ scenario }) => scenario))].toSorted().join(', ')
    const figures = [direct, through].map(({ passed, failed }) => `${passed} / ${failed}`)
    return `| ${client} | ${server} | ${figures.join(' | ')} | ${scenarios || 'none'} |`
  })
  return `${aggregatesHeading}

\`aggregates.test.ts\` runs the same suites through virtual servers. \`one-…\` has one member.
\`mixed-…\` has five members of both eras, over HTTP and stdio. They share the tools, prompts and
resources of the fixture in five ways, so every item comes through every member. The suites call
tools by the names that the members use; a relay takes the aliases out of the names in lists.

| client | virtual server | directly | through it | scenarios that differ |
|---|---|---|---|---|
${lines.toSorted().join('\n')}

The checks that differ are those of the table above, where a legacy member serves the tool, and
these where that member is on stdio:

| scenario | check | why |
|---|---|---|
${toLegacyStdioMember.map(({ scenario, check, reason }) => `| ${scenario} | ${check} | ${reason} |`).join('\n')}
`
}
