import { request as httpRequest } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { echoAdapter, startGateway, type Subject } from './gateways.ts'
import type { LoadOptions } from './load.ts'
import { load } from './measure.ts'
import { median } from './median.ts'
import { rssMb, type Measured } from './processes.ts'
import { post, untilAnswers } from './requests.ts'

/**
 * Measures the single figures: memory of idle sessions and of large answers, times of start and
 * end.
 */
export async function once(): Promise<Record<string, number>> {
  const found: Record<string, number> = {}
  const starts: number[] = []
  const ends: number[] = []
  for (let turn = 0; turn < 5; turn += 1) {
    const startedAt = performance.now()
    const empty = await startGateway()
    const ping = await fetch(new URL('/ping', empty.url))
    await ping.text()
    starts.push(performance.now() - startedAt)
    found['rss empty, MB'] = rssMb(empty.pid)
    ends.push(await (empty.parts[0] as Measured).end())
  }
  found['start to first answer, ms'] = median(starts)
  found['SIGTERM to exit when idle, ms'] = median(ends)

  const subject = await startGateway(echoAdapter)
  const registeredAt = performance.now()
  await untilAnswers(subject.url)
  found['registered adapter to first answer, ms'] = performance.now() - registeredAt
  await load({
    url: subject.url,
    connections: 32,
    seconds: 2,
    warmupSeconds: 0,
    sessionGapMs: 0,
    client: { era: 'legacy' },
  } satisfies LoadOptions)
  await sleep(1000)
  const before = rssMb(subject.pid)
  found['idle sessions opened'] = await load<number>({ url: subject.url, open: 10_000 })
  await sleep(1000)
  found['rss of 10,000 idle sessions, MB'] = rssMb(subject.pid) - before

  const base = rssMb(subject.pid)
  const peak = await bigAnswer(subject, 100, 0)
  found['rss while 100 MB stream through, MB'] = peak - base
  const slowBase = rssMb(subject.pid)
  found['rss while a slow reader takes 2 MB/s, MB'] = (await bigAnswer(subject, 100, 3)) - slowBase
  for (const part of subject.parts) await part.end()
  return found
}

/**
 * Reads a large answer, at full speed or slowly for some seconds. Gives the gateway's peak memory
 * meanwhile.
 */
async function bigAnswer(
  subject: Subject,
  megabytes: number,
  slowSeconds: number,
): Promise<number> {
  const opened = await post(subject.url, {
    jsonrpc: '2.0',
    id: 0,
    method: 'initialize',
    params: {},
  })
  const session = opened.headers.get('mcp-session-id') ?? ''
  let peak = 0
  const watch = setInterval(() => (peak = Math.max(peak, rssMb(subject.pid))), 10)
  await new Promise<void>((resolve, reject) => {
    const request = httpRequest(
      subject.url,
      {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'mcp-session-id': session },
      },
      (response) => {
        if (slowSeconds === 0) {
          response.resume()
          response.on('end', resolve)
          return
        }
        const end = Date.now() + slowSeconds * 1000
        const step = (): void => {
          if (Date.now() > end) {
            response.destroy()
            return resolve()
          }
          response.read(Math.min(200_000, response.readableLength))
          setTimeout(step, 100)
        }
        step()
      },
    )
    request.on('error', (error) => (slowSeconds === 0 ? reject(error) : resolve()))
    request.end(
      JSON.stringify({
        jsonrpc: '2.0',
        id: 1,
        method: 'tools/call',
        params: { name: 'big', arguments: { megabytes } },
      }),
    )
  })
  clearInterval(watch)
  return peak
}
