import { mkdtempSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePort } from '@mcp-gateway/testkit'
import { folder, node, start, startEcho, type Subject } from './gateways.ts'
import { measure, warm } from './measure.ts'
import { median } from './median.ts'
import { register, untilAnswers } from './requests.ts'

/**
 * Compares this checkout with another built one, whose folder is the argument: the processor time
 * per call of both gateways, in turns of a second, as the median of the ratios of all rounds.
 */
const other = process.argv[2]
if (other === undefined)
  throw new Error('Name the folder of another checkout, in which npm run build has run.')

const roots = {
  here: fileURLToPath(new URL('../..', import.meta.url)),
  there: resolve(other),
}
const rounds = 25
const connections = 32

const { echo, port: echoPort } = await startEcho()
const subjects: { readonly name: keyof typeof roots; readonly kind: string; subject: Subject }[] =
  []
for (const name of ['there', 'here'] as const) {
  const port = await freePort()
  const gateway = await start(
    [node, `${roots[name]}/packages/gateway/dist/main.js`],
    { MCPGW_PORT: String(port), MCPGW_DATA_DIR: mkdtempSync(join(folder, 'data-')) },
    port,
  )
  const url = `http://127.0.0.1:${port}/adapters/echo/mcp`
  const endpoint = `http://127.0.0.1:${echoPort}/mcp`
  await register(url, '/adapters', { name: 'echo', endpoint }, {})
  await untilAnswers(url)

  const passed = { url, pid: gateway.pid, parts: [gateway] }
  subjects.push({ name, kind: 'passed', subject: passed })
  subjects.push({ name, kind: 'translated', subject: { ...passed, client: { era: 'modern' } } })
}

try {
  for (const { subject } of subjects) await warm(subject, connections, 7)

  const samples = new Map<string, number[]>()
  for (let round = 0; round < rounds; round += 1)
    for (const { name, kind, subject } of round % 2 === 0 ? subjects : subjects.toReversed()) {
      const { cpu } = await measure(`${kind} ${name}`, subject, connections, 1)
      samples.set(`${kind} ${name}`, [...(samples.get(`${kind} ${name}`) ?? []), cpu])
    }

  process.stdout.write('\n| call | there, CPU µs | here, CPU µs | ratio |\n|---|--:|--:|--:|\n')
  for (const kind of ['passed', 'translated']) {
    const there = samples.get(`${kind} there`) ?? []
    const here = samples.get(`${kind} here`) ?? []
    const ratio = median(here.map((cpu, round) => cpu / (there[round] ?? Number.NaN)))
    const row = [kind, median(there).toFixed(0), median(here).toFixed(0), ratio.toFixed(2)]
    process.stdout.write(`| ${row.join(' | ')} |\n`)
  }
} finally {
  for (const { subject } of subjects) for (const part of subject.parts) await part.end()
  await echo.end()
  rmSync(folder, { recursive: true, force: true })
}
