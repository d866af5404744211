import { dirname } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import type { Outcome } from './behaviours.ts'
import { clients, type ClientKind } from './clients.ts'
import type { Cell } from './matrix.ts'
import { behaviours, type Behaviour, type Server } from './servers.ts'

/** The expected result of a cell, and a reason if it differs from the direct result. */
export interface Expectation {
  readonly outcome: Outcome
  readonly reason?: string
}

const noWay = 'The command line of the Inspector has no way to do this.'
const notOffered = 'The server does not offer this.'
const noTasks = [
  'SDK 2.4 does not run the tasks of 2025-11-25. The server refuses the call, as it does',
  'without the gateway.',
].join('\n  ')
const sharedState = [
  'The server counts the thoughts of a session. Modern clients have no session, so the',
  'clients of one caller share one, and this client also sees the thoughts of the client',
  'before it.',
].join('\n  ')
const askedTooEarly = [
  'The server asks for the roots as soon as a session is open, but a modern client can be',
  'asked only during a call. So the folders of the server’s command line count.',
].join('\n  ')

/** A cell has the result of a direct run, with these exceptions. */
export function expectationOf({
  server,
  client,
  behaviour,
  direct,
  translated,
}: Cell): Expectation {
  if (
    server.name === 'sequential-thinking' &&
    behaviour === 'call a tool' &&
    translated &&
    client.eras === 'modern'
  )
    return {
      outcome: JSON.parse(
        JSON.stringify(direct).replace(/(thoughtHistoryLength\D+)1/g, '$12'),
      ) as Outcome,
      reason: sharedState,
    }
  if (server.name === 'filesystem' && behaviour === 'list roots' && translated) {
    const files = server.command.at(-1) ?? ''
    return {
      outcome: JSON.parse(JSON.stringify(direct).replaceAll(dirname(files), files)) as Outcome,
      reason: askedTooEarly,
    }
  }
  if (client.name === 'v2-legacy' && behaviour === 'run a task')
    return { outcome: direct, reason: noTasks }
  return { outcome: direct }
}

/**
 * Writes the matrix as a page: a table for each server, then the reasons of cells other than `yes`.
 */
export function pageOf(servers: readonly Server[], cells: readonly Cell[]): string {
  const reasons: string[] = []
  const mark = (reason: string): string => {
    if (!reasons.includes(reason)) reasons.push(reason)
    return `[${reasons.indexOf(reason) + 1}]`
  }
  const entry = (server: Server, client: ClientKind, behaviour: Behaviour): string => {
    const cell = cells.find(
      (each) => each.server === server && each.client === client && each.behaviour === behaviour,
    )
    if (cell === undefined)
      return mark(
        behaviour === 'list tools' || server.offers[behaviour] !== undefined ? noWay : notOffered,
      )
    const { outcome, reason } = expectationOf(cell)
    if (!isDeepStrictEqual(cell.outcome, outcome)) return 'NO'
    return reason === undefined ? 'yes' : mark(reason)
  }
  const tables = servers.map((server) => {
    const rows = behaviours.map((behaviour) => [
      behaviour,
      ...clients.map((client) => entry(server, client, behaviour)),
    ])
    const table = tableOf(['', ...clients.map(({ title }) => title)], rows)
    return `## ${server.title}\n\n${eras[server.era]}\n\n${table}`
  })
  const list = reasons.map((reason, index) => `- [${index + 1}] ${reason}`)
  return [
    '# Results of clients and servers of both eras',
    [
      '`WRITE_DOCS=1 npm run test:e2e` writes this page, and fails when the results have changed.',
      'Every client tries everything with every server through one gateway. `yes` means that the',
      'result equals the result without the gateway. If the client does not speak the era of the',
      'server, the result without the gateway is that of a client of the same make that does.',
      '[eras.md](eras.md) says which features cross between the eras, and why others do not.',
    ].join('\n'),
    ...tables,
    '## Reasons',
    `${list.join('\n')}\n`,
  ].join('\n\n')
}

const eras: { readonly [Era in Server['era']]: string } = {
  legacy: [
    'Speaks legacy versions only. The gateway translates for clients that speak 2026-07-28,',
    'which includes `auto` clients.',
  ].join('\n'),
  modern: 'Speaks 2026-07-28 only. The gateway translates for legacy clients.',
  dual: 'Speaks both eras. The gateway translates nothing.',
}

/** Writes a table in the form of the formatter. */
function tableOf(head: readonly string[], rows: readonly (readonly string[])[]): string {
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
