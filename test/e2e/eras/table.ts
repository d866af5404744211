import { dirname } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import type { Outcome } from './behaviours.ts'
import { clients, type ClientKind } from './clients.ts'
import type { Cell } from './matrix.ts'
import { behaviours, type Behaviour, type Server } from './servers.ts'

/** What has to come of a cell, and why where it is not what comes of it without a gateway and in one era. */
export interface Expectation {
  readonly outcome: Outcome
  readonly reason?: string
}

const noWay = 'The command line of the Inspector has no way to do this.'
const notOffered = 'The server does not offer this.'
const noTasks =
  'SDK 2.4 does not run the tasks of 2025-11-25; the server refuses the call as it does without the gateway.'
const sharedState =
  'The server counts what it was told in a session. Modern clients have none, so those of one caller share one: this client finds what the one before it did.'
const askedTooEarly =
  'The server asks for the roots as soon as a session is open, and a modern client can be asked in a call only. What the command line of the server says holds.'

/** What comes of a cell is what comes of it directly, but for these. */
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

/** The matrix as a page: a table for each server, and below them the reasons of all that is not `yes`. */
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
    return `## ${server.title}\n\n${eras[server.era]}\n\n${tableOf(['', ...clients.map(({ title }) => title)], rows)}`
  })
  const list = reasons.map((reason, index) => `- [${index + 1}] ${reason}`)
  return [
    '# Clients and servers of both eras: what was seen to work',
    'Written by `WRITE_DOCS=1 npm run test:e2e`, which fails when it is not so any more. Every client does every thing with every server, through one gateway. `yes`: what came of it equals what came of it without the gateway, with the same client where it speaks what the server speaks, else with one of the same make that does. What crosses between the eras, and why something does not, is in [eras.md](eras.md).',
    ...tables,
    '## Why not',
    `${list.join('\n')}\n`,
  ].join('\n\n')
}

const eras: { readonly [Era in Server['era']]: string } = {
  legacy:
    'Speaks legacy versions only: the gateway translates for clients that speak 2026-07-28, `auto` ones among them.',
  modern: 'Speaks 2026-07-28 only: the gateway translates for legacy clients.',
  dual: 'Speaks both: nothing is translated.',
}

/** As the formatter would write it. */
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
