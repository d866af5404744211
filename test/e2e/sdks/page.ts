import { steps, works, type Cell, type Seen } from './cells.ts'
import type { Sdk } from './languages.ts'

/** The heading of the SDKs' part in the page about the eras. */
export const heading = '# Official SDKs of five languages'

const count = (seen: Seen): number => steps.filter((step) => works(seen, step)).length

/** Gives the sums over all cells, step by step. */
export function figures(cells: readonly Cell[]): Readonly<Record<string, number>> {
  const all = cells.flatMap(({ direct, through }) =>
    steps.map((step) => ({ direct: works(direct, step), through: works(through, step) })),
  )
  return {
    pairs: cells.length,
    cells: all.length,
    direct: all.filter(({ direct }) => direct).length,
    through: all.filter(({ through }) => through).length,
    onlyThrough: all.filter(({ direct, through }) => through && !direct).length,
    worse: all.filter(({ direct, through }) => direct && !through).length,
  }
}

/** Writes the matrix as a part of a page: servers down, clients across. */
export function partOf(
  sdks: readonly Sdk[],
  cells: readonly Cell[],
  reasons: readonly string[],
): string {
  const sum = figures(cells)
  const clients = sdks.flatMap((sdk) => sdk.clients)
  const rows = sdks.flatMap(({ servers }) =>
    servers.map((server) => [
      `${server.title} (${server.speaks})`,
      ...clients.map((client) => {
        const cell = cells.find((each) => each.client === client && each.server === server)
        return cell === undefined ? '–' : `${count(cell.direct)} → ${count(cell.through)}`
      }),
    ]),
  )
  return [
    heading,
    `Each client of the official SDKs in test/e2e/sdks runs with each server. A cell counts the
steps that work, first without the gateway and then through it, of ${steps.length}:
${steps.join(', ')}.
Each client speaks only the era that its test sets.`,
    `${sum['pairs']} pairs run ${sum['cells']} steps: ${sum['direct']} work without the gateway and
${sum['through']} through it. ${sum['onlyThrough']} work only through it, and
${sum['worse']} only without it.`,
    tableOf(['server', ...clients.map(({ title }) => title)], rows),
    ...(reasons.length === 0
      ? ['Every step works through the gateway.\n']
      : [
          'The steps that do not work through the gateway:',
          `${reasons.map((reason) => `- ${reason}`).join('\n')}\n`,
        ]),
  ].join('\n\n')
}

/** Writes a table in the form of the formatter. */
export function tableOf(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) =>
    Math.max(3, title.length, ...rows.map((row) => (row[column] ?? '').length)),
  )
  const line = (row: readonly string[]): string =>
    `| ${row.map((text, column) => text.padEnd(widths[column] ?? 0)).join(' | ')} |`
  return [
    line(head),
    `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`,
    ...rows.map(line),
  ].join('\n')
}
