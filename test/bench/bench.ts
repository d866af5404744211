import { rmSync, writeFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { aggregatesOnce } from './aggregates.ts'
import { folder, type Subject } from './gateways.ts'
import { measure, warm } from './measure.ts'
import { once } from './once.ts'
import { report, type Samples } from './report.ts'
import { untilAnswers } from './requests.ts'
import { againstHeading, kubernetesHeading, sectionOf } from './section.ts'
import { subjects } from './subjects.ts'
import { tokensOnce } from './tokens.ts'
import { toolsOnce } from './tools.ts'

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string' },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    levels: { type: 'string', default: '1,8,32' },
    out: {
      type: 'string',
      default: fileURLToPath(new URL('../../docs/benchmarks.md', import.meta.url)),
    },
  },
})
const rounds = Number(values.rounds ?? (values.quick ? 2 : 9))
const seconds = Number(values.seconds ?? 1)
/**
 * Most goals concern the highest level, so each round measures that level. Each third round
 * measures the others.
 */
const sparse = 3
/**
 * Goals compare these subjects to a tenth, so they get further rounds alone. On a shared machine
 * nine rounds tell no difference below a fifth.
 */
const close = [
  'gateway',
  'gateway (eras off)',
  'gateway (tokens)',
  'tool call',
  'tool call (many tools)',
  'tool call (many hidden)',
  'member call',
  'aggregate call',
  'member call (session)',
  'aggregate call (session)',
]
const closeRounds = values.quick || values.rounds !== undefined ? 0 : 30
/** The longest time to warm a subject before its rounds. */
const warmSeconds = values.quick ? 2 : 7
const only = values.only?.split(',')
const levels = values.levels.split(',').map(Number)
const say = (line: string): void => void process.stdout.write(`${line}\n`)

/** Starts and warms all subjects. */
async function opened(): Promise<Map<string, Subject>> {
  const found = new Map<string, Subject>()
  for (const [name, open] of Object.entries(subjects)) {
    if (only !== undefined && !only.includes(name)) continue
    try {
      const subject = await open()
      found.set(name, subject)
      await untilAnswers(subject.url, subject.client?.headers)
      await warm(subject, Math.max(...levels), warmSeconds)
    } catch (error) {
      const reason = error instanceof Error ? error.message.slice(0, 300) : String(error)
      say(`${name}: left out: ${reason}`)
      for (const part of found.get(name)?.parts ?? []) await part.end()
      found.delete(name)
    }
  }
  return found
}

async function throughput(): Promise<Samples> {
  const samples: Samples = new Map()
  const chosen = await opened()
  const turn = async (name: string, subject: Subject, connections: number): Promise<void> => {
    if (subject.levels?.includes(connections) === false) return
    const key = `${name}@${connections}`
    samples.set(key, [
      ...(samples.get(key) ?? []),
      await measure(name, subject, connections, seconds),
    ])
  }
  try {
    for (let round = 0; round < rounds; round += 1) {
      const now = levels.filter((level) => level === Math.max(...levels) || round % sparse === 0)
      for (const connections of now)
        for (const [name, subject] of chosen) await turn(name, subject, connections)
    }
    const among = [...chosen].filter(([name]) => close.includes(name))
    for (let round = 0; round < closeRounds; round += 1)
      for (const [name, subject] of round % 2 === 0 ? among : among.toReversed())
        await turn(name, subject, Math.max(...levels))
  } finally {
    for (const { parts } of chosen.values()) for (const part of parts) await part.end()
  }
  return samples
}

const samples = await throughput()
const single = {
  ...(only === undefined || only.includes('once') ? await once() : {}),
  ...(only === undefined || only.includes('tools') ? await toolsOnce() : {}),
  ...(only === undefined || only.includes('tokens') ? await tokensOnce() : {}),
  ...(only === undefined || only.includes('aggregates') ? await aggregatesOnce() : {}),
}
for (const [name, value] of Object.entries(single)) say(`${name}: ${value.toFixed(1)}`)
const machine = [
  cpus()[0]?.model ?? 'unknown processor',
  `${cpus().length} cores`,
  `${Math.round(totalmem() / 2 ** 30)} GB`,
  `Node.js ${process.version}`,
].join(', ')
const text = report({ machine, rounds, closeRounds, seconds, warmSeconds, levels, samples, single })
if (only === undefined)
  writeFileSync(
    values.out,
    `${text}\n${sectionOf(values.out, kubernetesHeading)}${sectionOf(values.out, againstHeading)}`,
  )
say(text)
rmSync(folder, { recursive: true, force: true })
