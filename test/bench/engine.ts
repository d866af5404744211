import { setImmediate } from 'node:timers/promises'
import {
  classify,
  LegacyToModern,
  metaKey,
  ModernToLegacy,
  type ConnectionListener,
  type Exchange,
  type ModernRequest,
} from '@mcp-gateway/protocol'
import { median } from './median.ts'

/**
 * The speed of the translation in one thread, and the cost of a parked call, without sockets: `node
 * --expose-gc --import tsx test/bench/engine.ts [calls]`. A call is two messages of about 1 kB with
 * arguments of its own, both translated.
 */
const calls = Number(process.argv[2] ?? 50_000)
const rounds = 5
const filling = 'x'.repeat(700)
const content = filling + 'y'.repeat(150)
const result = `"result":{"content":[{"type":"text","text":"${content}"}],"isError":false`
const envelope =
  `"_meta":{"${metaKey.protocolVersion}":"2026-07-28",` +
  `"${metaKey.clientCapabilities}":{"elicitation":{}},` +
  `"${metaKey.clientInfo}":{"name":"bench","version":"1"}}`
const headers = {
  'mcp-protocol-version': '2026-07-28',
  'mcp-method': 'tools/call',
  'mcp-name': 'echo',
}

function call(index: number, meta = ''): string {
  const args = `{"message":"${filling}","index":${index}}`
  return (
    `{"jsonrpc":"2.0","id":${index},"method":"tools/call",` +
    `"params":{"name":"echo","arguments":${args}${meta}}}`
  )
}

function modern(index: number, body = call(index, `,${envelope}`)): ModernRequest {
  const classified = classify(body, headers)
  if (classified.era !== 'modern' || !('request' in classified) || classified.request === undefined)
    throw new Error('not modern')
  return classified.request
}

const idStart = '{"jsonrpc":"2.0","id":'.length

function idOf(text: string): string {
  return text.slice(idStart, text.indexOf(',', idStart))
}

/** A legacy server that answers at once, or asks first. */
function legacyServer(asks: boolean) {
  return (_principal: string, listener: ConnectionListener) => ({
    close: () => undefined,
    send: (text: string) => {
      if (text.includes('"method":"tools/call"')) {
        const id = idOf(text)
        const question =
          `{"jsonrpc":"2.0","id":"q${id}","method":"elicitation/create","params":` +
          '{"message":"Who?","requestedSchema":{"type":"object","properties":{}}}}'
        listener.receive(asks ? question : `{"jsonrpc":"2.0","id":${id},${result}}}`, id)
      } else if (text.includes('"method":"initialize"'))
        listener.receive(
          '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25",' +
            '"capabilities":{"tools":{}},"serverInfo":{"name":"x","version":"1"}}}',
        )
    },
  })
}

function toLegacy(asks: boolean): ModernToLegacy {
  let states = 0
  return new ModernToLegacy(
    {
      connect: legacyServer(asks),
      tellsVia: true,
      now: Date.now,
      newState: () => `${(states += 1)}`.padStart(32, '0'),
    },
    {
      parkMs: 60_000,
      maxParkedPerPrincipal: 10_000,
      maxConnections: 16,
      idleMs: 60_000,
      clientInfo: { name: 'bench', version: '1' },
    },
  )
}

function modernToLegacy(count: number): void {
  const engine = toLegacy(false)
  let answers = 0
  const exchange = (): Exchange => ({ tell: () => undefined, answer: () => void (answers += 1) })
  for (let index = 0; index < count; index += 1) engine.request('ann', modern(index), exchange())
  if (answers !== count) throw new Error(`${answers} answers to ${count} calls`)
}

function legacyToModern(count: number): void {
  let answers = 0
  const engine = new LegacyToModern({
    server: {
      request: ({ id, method }, exchange) => {
        const known =
          method === 'tools/list' ? '"result":{"tools":[{"name":"echo","inputSchema":{}}]' : result
        const answer =
          method === 'server/discover'
            ? '"result":{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}'
            : known
        exchange.answer(
          200,
          `{"jsonrpc":"2.0","id":${id},${answer},"resultType":"complete",` +
            `"_meta":{"${metaKey.serverInfo}":{"name":"x","version":"1"}}}}`,
        )
      },
      gone: () => undefined,
    },
    send: () => undefined,
    answer: () => void (answers += 1),
    newId: () => 'id',
    later: () => undefined,
  })
  engine.receive(
    '{"jsonrpc":"2.0","id":"i","method":"initialize",' +
      '"params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{}}}}',
  )
  for (let index = 0; index < count; index += 1) engine.receive(call(index))
  if (answers !== count + 1) throw new Error(`${answers} answers to ${count} calls`)
}

async function parkedMegabytes(count: number): Promise<number> {
  const engine = toLegacy(true)
  const used = async (): Promise<number> => {
    for (let turn = 0; turn < 3; turn += 1) {
      globalThis.gc?.()
      await setImmediate()
    }
    return process.memoryUsage().heapUsed
  }
  const before = await used()
  for (let index = 0; index < count; index += 1)
    engine.request('ann', modern(index), { tell: () => undefined, answer: () => undefined })
  if (engine.parked !== count) throw new Error(`${engine.parked} of ${count} calls are parked`)
  const after = await used()
  engine.close('The bench is over.')
  return (after - before) / 1024 / 1024
}

for (const [name, run] of [
  ['modern client, legacy server', modernToLegacy],
  ['legacy client, modern server', legacyToModern],
] as const) {
  run(10_000)
  const rates = Array.from({ length: rounds }, () => {
    const before = process.hrtime.bigint()
    run(calls)
    return (2 * calls) / (Number(process.hrtime.bigint() - before) / 1e9)
  })
  const rate = Math.round(median(rates)).toLocaleString('en')
  process.stdout.write(`${name}: ${rate} messages/s (median of ${rounds} rounds)\n`)
}
const parked = await parkedMegabytes(1000)
const note = globalThis.gc === undefined ? ' (with garbage: run with --expose-gc)' : ''
process.stdout.write(`1,000 parked calls: ${parked.toFixed(1)} MB of heap${note}\n`)
