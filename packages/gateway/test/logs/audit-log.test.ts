import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  appendFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { FileSink, type FileSinkOptions } from '../../src/audit/file-sink.ts'
import { Journal, type AuditSink } from '../../src/audit/journal.ts'
import { OtlpSink } from '../../src/audit/otlp-sink.ts'
import { verifyLog } from '../../src/audit/verify.ts'
import { smallDisk } from '../fixtures/small-disk.ts'

const folder = mkdtempSync(join(tmpdir(), 'mcpgw-audit-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const newFile = (): string => join(mkdtempSync(join(folder, 'f-')), 'audit.log')
const linesOf = (file: string): string[] => readFileSync(file, 'utf8').split('\n').slice(0, -1)

function journalOf(sink: AuditSink, capacity = 10_000): Journal {
  const journal = new Journal({
    sink,
    capacity,
    now: () => new Date(),
    troubled: () => undefined,
    recovered: () => undefined,
    losing: () => undefined,
    retry: { firstMs: 1, maxMs: 20 },
    flushMs: 5000,
  })
  journal.add({ type: 'start', ...sink.found })
  return journal
}

/** Appends records as a separate process would. */
async function write(
  path: string,
  count: number,
  options: Partial<FileSinkOptions> = {},
): Promise<void> {
  const sink = await FileSink.open({
    path,
    maxBytes: 64 * 1024 * 1024,
    keep: 0,
    fsync: 'second',
    ...options,
  })
  await using journal = journalOf(sink)
  for (let index = 0; index < count; index += 1) {
    journal.add({
      action: `act-${index}`,
      outcome: 'allowed',
      requestId: `r${index}`,
      client: '127.0.0.1',
    })
    // Separate batches fill files in steps.
    if (index % 10 === 9) await new Promise((resolve) => setImmediate(resolve))
  }
  journal.add({ type: 'stop' })
}

describe('a log in a file', () => {
  test('the log is one chain over restarts, and other users cannot read it', async () => {
    const file = newFile()
    for (let round = 0; round < 3; round += 1) await write(file, 5)
    const found = await verifyLog(file)
    expect(found).toMatchObject({ records: 21, first: 1, head: { seq: 21 }, faults: [], notes: [] })
    expect(statSync(file).mode & 0o777).toBe(0o600)
  })

  test('the log continues cleanly after kill -9 in mid-write, again and again', async () => {
    const file = newFile()
    for (let round = 0; round < 5; round += 1) {
      const before = round === 0 ? 0 : statSync(file).size
      const child = spawn(process.execPath, [
        fileURLToPath(new URL('../fixtures/audit-writer.js', import.meta.url)),
        file,
      ])
      await expect
        .poll(() => statSync(file, { throwIfNoEntry: false })?.size ?? 0, { interval: 1 })
        .toBeGreaterThan(before + 50_000)
      child.kill('SIGKILL')
      await once(child, 'close')
    }
    await write(file, 1)
    const { faults, notes, records } = await verifyLog(file)
    expect(faults).toEqual([])
    expect(notes.filter((note) => note.includes('ended outright'))).toHaveLength(5)
    expect(records).toBeGreaterThan(100)
  })

  test('the log is cut back to its last whole record after a crash, and says so', async () => {
    const file = newFile()
    await write(file, 1)
    const whole = readFileSync(file)
    const start = whole.lastIndexOf(10, whole.length - 2) + 1
    for (let end = start; end < whole.length; end += 13) {
      writeFileSync(file, whole.subarray(0, end))
      await write(file, 1)
      const { faults, notes } = await verifyLog(file)
      expect(faults).toEqual([])
      expect(notes.filter((note) => note.includes('half written'))).toHaveLength(
        end === start ? 0 : 1,
      )
    }
  })

  test('a log with a foreign end is put aside, and a new one begins', async () => {
    const file = newFile()
    await write(file, 3)
    appendFileSync(file, 'something else\n')
    await write(file, 3)
    expect(readdirSync(join(file, '..')).filter((name) => name.includes('.damaged-'))).toHaveLength(
      1,
    )
    expect(linesOf(file)[0]).toContain('"damaged":"audit.log.damaged-')
    expect((await verifyLog(file)).faults).toEqual([])
  })

  test('a large log is put aside, the chain continues, and old files are deleted', async () => {
    const file = newFile()
    await write(file, 2000, { maxBytes: 64 * 1024 })
    const all = await verifyLog(file)
    expect(all.files.length).toBeGreaterThan(4)
    expect(all).toMatchObject({ records: 2002, first: 1, faults: [], notes: [] })
    for (const each of all.files) expect(statSync(each).size).toBeLessThanOrEqual(64 * 1024)

    await write(file, 1000, { maxBytes: 64 * 1024, keep: 2 })
    const kept = await verifyLog(file)
    expect(kept.files).toHaveLength(3)
    expect(kept.faults).toEqual([])
    expect(kept.notes).toEqual([expect.stringContaining('what was before is not here')])
  })

  test('the log continues after a crash between putting aside and creating a file', async () => {
    const file = newFile()
    await write(file, 5)
    renameSync(file, `${file}.000000000007`)
    await write(file, 5)
    expect(await verifyLog(file)).toMatchObject({ records: 14, first: 1, faults: [] })
  })

  test('the log is created again when somebody removes it, which shows', async () => {
    const file = newFile()
    const sink = await FileSink.open({
      path: file,
      maxBytes: 64 * 1024 * 1024,
      keep: 0,
      fsync: 'always',
    })
    await using journal = journalOf(sink)
    await expect.poll(() => linesOf(file)).toHaveLength(1)
    rmSync(file)
    journal.add({ action: 'after', outcome: 'allowed', requestId: 'r', client: 'c' })
    await expect.poll(() => statSync(file, { throwIfNoEntry: false })?.size ?? 0).toBeGreaterThan(0)
    expect((await verifyLog(file)).notes).toEqual([expect.stringContaining('begins with record 2')])
  })

  test('the log keeps whole records on a full disk, and reports lost ones', async (context) => {
    const disk = smallDisk(context, 256)
    const file = join(disk, 'audit.log')
    const filler = join(disk, 'filler')
    writeFileSync(filler, Buffer.alloc(200 * 1024))
    const sink = await FileSink.open({
      path: file,
      maxBytes: 64 * 1024 * 1024,
      keep: 0,
      fsync: 'second',
    })
    const journal = journalOf(sink, 300)
    const add = (): void =>
      journal.add({ action: 'x'.repeat(200), outcome: 'allowed', requestId: 'r', client: 'c' })
    await expect
      .poll(() => {
        for (let index = 0; index < 50; index += 1) add()
        return journal.lost
      })
      .toBeGreaterThan(100)
    // The writer takes back the partial write of a failed try.
    await expect.poll(async () => (await verifyLog(file)).faults).toEqual([])

    rmSync(filler)
    await expect.poll(() => readFileSync(file, 'utf8')).toContain('"type":"gap"')

    add()
    await journal[Symbol.asyncDispose]()
    const { faults, notes } = await verifyLog(file)
    expect(faults).toEqual([])

    const told = notes
      .map((note) => Number(/(\d+) records were lost/.exec(note)?.[1] ?? 0))
      .reduce((sum, each) => sum + each, 0)
    expect(told).toBe(journal.lost)
  })
})

describe('what verification finds', () => {
  const changes: readonly [string, (lines: string[]) => string[]][] = [
    [
      'a record that was changed',
      (lines) => lines.map((line, at) => (at === 4 ? line.replace('allowed', 'denied') : line)),
    ],
    [
      'a record that was changed and given another hash',
      (lines) =>
        lines.map((line, at) =>
          at === 4
            ? line.replace(
                /"hash":"./,
                (part) => `${part.slice(0, -1)}${part.endsWith('0') ? '1' : '0'}`,
              )
            : line,
        ),
    ],
    ['a record that was removed', (lines) => lines.filter((_, at) => at !== 4)],
    ['a record that was put in', (lines) => lines.toSpliced(4, 0, lines[2] as string)],
    [
      'records that changed places',
      (lines) => lines.with(4, lines[5] as string).with(5, lines[4] as string),
    ],
    [
      'a record that was cut off',
      (lines) => [...lines.slice(0, -1), (lines.at(-1) as string).slice(0, 40)],
    ],
    ['an empty line', (lines) => lines.toSpliced(4, 0, '')],
    ['a forged gap in place of records', (lines) => [...lines.slice(0, 4), ...lines.slice(7)]],
  ]

  test.each(changes)('verification finds %s', async (_name, change) => {
    const file = newFile()
    await write(file, 10)
    writeFileSync(file, `${change(linesOf(file)).join('\n')}\n`)
    expect((await verifyLog(file)).faults.length).toBeGreaterThan(0)
  })

  test('verification finds a missing end by a hash noted elsewhere', async () => {
    const file = newFile()
    await write(file, 10)
    const { head } = await verifyLog(file)
    expect((await verifyLog(file, head.hash)).faults).toEqual([])
    writeFileSync(file, `${linesOf(file).slice(0, -3).join('\n')}\n`)
    expect((await verifyLog(file)).faults).toEqual([])
    expect((await verifyLog(file, head.hash)).faults).toEqual([expect.stringContaining(head.hash)])
  })

  test('verification accepts a clock that was set back, but says so', async () => {
    const file = newFile()
    const sink = await FileSink.open({
      path: file,
      maxBytes: 64 * 1024 * 1024,
      keep: 0,
      fsync: 'second',
    })
    const times = [Date.parse('2026-01-02'), Date.parse('2026-01-01')]
    const journal = new Journal({
      sink,
      capacity: 10,
      now: () => new Date(times.shift() ?? 0),
      troubled: () => undefined,
      recovered: () => undefined,
      losing: () => undefined,
      retry: { firstMs: 1, maxMs: 20 },
      flushMs: 5000,
    })
    for (let index = 0; index < 2; index += 1)
      journal.add({ action: 'a', outcome: 'allowed', requestId: 'r', client: 'c' })
    await journal[Symbol.asyncDispose]()
    expect(await verifyLog(file)).toMatchObject({
      faults: [],
      notes: [expect.stringContaining('the clock was set back')],
    })
  })
})

describe('a log to a collector (OTLP)', () => {
  interface LogRecord {
    readonly timeUnixNano: string
    readonly severityText: string
    readonly body: { readonly stringValue: string }
  }

  test('the sender waits for the collector, repeats nothing and reports losses', async () => {
    const taken: LogRecord[] = []
    let behaviour: 'refuse' | 'reject' | 'take' = 'refuse'
    const requests: IncomingMessage[] = []
    const collector = createServer((request, response) => {
      let text = ''
      request.setEncoding('utf8').on('data', (part: string) => (text += part))
      request.on('end', () => {
        requests.push(request)
        if (behaviour === 'refuse') return void response.writeHead(503).end()
        if (behaviour === 'reject')
          return void response.writeHead(200).end('{"partialSuccess":{"rejectedLogRecords":"1"}}')
        const message = JSON.parse(text) as {
          resourceLogs: { scopeLogs: { logRecords: LogRecord[] }[] }[]
        }
        taken.push(
          ...message.resourceLogs.flatMap(({ scopeLogs }) =>
            scopeLogs.flatMap(({ logRecords }) => logRecords),
          ),
        )
        response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
      })
    })
    await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve))
    const endpoint = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`
    const sink = new OtlpSink({
      endpoint,
      headers: { 'x-key': 'secret' },
      instance: 'one',
      version: '1',
    })
    const journal = journalOf(sink, 5)
    for (let index = 0; index < 9; index += 1)
      journal.add({ action: `act-${index}`, outcome: 'denied', requestId: 'r', client: 'c' })
    await expect.poll(() => requests.length).toBeGreaterThan(1)

    behaviour = 'reject'
    const before = requests.length
    await expect.poll(() => requests.length).toBeGreaterThan(before)

    behaviour = 'take'
    await expect.poll(() => taken.length).toBe(6)

    await journal[Symbol.asyncDispose]()
    collector.closeAllConnections()
    collector.close()
    const records = taken.map(
      ({ body }) => JSON.parse(body.stringValue) as { type: string; seq: number },
    )
    expect(records.map(({ type, seq }) => [type, seq])).toEqual([
      ['start', 1],
      ...[2, 3, 4, 5].map((seq) => ['event', seq]),
      ['gap', 11],
    ])
    expect(taken.map(({ severityText }) => severityText)).toEqual([
      'INFO',
      'WARN',
      'WARN',
      'WARN',
      'WARN',
      'WARN',
    ])
    expect([requests[0]?.url, requests[0]?.headers['x-key']]).toEqual(['/v1/logs', 'secret'])

    // The copy at a collector is a chain like the file.
    const file = newFile()
    writeFileSync(file, taken.map(({ body }) => `${body.stringValue}\n`).join(''))
    expect((await verifyLog(file)).faults).toEqual([])
  })
})
