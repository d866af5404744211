import { fork, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import { cpus, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { programs } from '@mcp-gateway/testkit'
import type { LoadOptions, LoadResult } from './load.ts'
import { childrenOf, cpuMicros, freePort, Measured, rssMb } from './processes.ts'
import { report, type Figures, type Samples } from './report.ts'

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string' },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    levels: { type: 'string', default: '1,8,32' },
    out: { type: 'string', default: fileURLToPath(new URL('../../docs/benchmarks.md', import.meta.url)) },
  },
})
const rounds = Number(values.rounds ?? (values.quick ? 1 : 3))
const seconds = Number(values.seconds ?? (values.quick ? 1.5 : 3))
const only = values.only?.split(',')
const levels = values.levels.split(',').map(Number)
const folder = mkdtempSync(join(tmpdir(), 'mcpgw-bench-'))
const say = (line: string): void => void process.stdout.write(`${line}\n`)

/** Something that answers MCP at a URL, and the process whose processor time counts. */
interface Subject {
  readonly url: string
  readonly pid: number
  readonly parts: readonly Measured[]
  /** Processes beside `pid` whose time counts too. */
  readonly also?: readonly number[]
  /** Which clients it is measured with. */
  readonly era?: 'legacy' | 'modern'
}

const node = process.execPath
const stdioEcho = `'${programs.echoStdio}'`
const gatewayConfig = join(folder, 'gateway.yaml')
writeFileSync(gatewayConfig, JSON.stringify({ runtime: { images: { echo: { command: [node, programs.echoHttp] } } } }))

async function start(command: readonly string[], environment: Record<string, string>, port: number): Promise<Measured> {
  const process = new Measured(command, environment)
  await process.untilListening(port)
  return process
}

async function startEcho(): Promise<{ echo: Measured; port: number }> {
  const port = await freePort()
  return { echo: await start([node, programs.echoHttp], { PORT: String(port) }, port), port }
}

async function startGateway(adapter: unknown): Promise<Subject> {
  const port = await freePort()
  const gateway = await start(
    [node, programs.gateway],
    { MCPGW_PORT: String(port), MCPGW_DATA_DIR: mkdtempSync(join(folder, 'data-')), MCPGW_CONFIG: gatewayConfig },
    port,
  )
  if (adapter !== undefined) {
    const answer = await fetch(`http://127.0.0.1:${port}/adapters`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(adapter),
    })
    if (answer.status !== 201) throw new Error(await answer.text())
  }
  return { url: `http://127.0.0.1:${port}/adapters/echo/mcp`, pid: gateway.pid, parts: [gateway] }
}

const echoAdapter = { name: 'echo', imageName: 'echo', imageVersion: '1.0.0' }
const bridgedAdapter = {
  name: 'echo',
  imageName: 'mcp-proxy',
  imageVersion: '1.0.0',
  environmentVariables: { MCP_COMMAND: node, MCP_ARGS: stdioEcho },
}

/** Peers come from npm, outside of the main tree. */
function peer(name: string, version: string, bin: string): string {
  const prefix = fileURLToPath(new URL('../../.cache/bench', import.meta.url))
  const file = join(prefix, 'node_modules', name, bin)
  if (existsSync(file)) return file
  const installed = spawnSync(
    'npm',
    ['install', '--no-save', '--no-audit', '--no-fund', '--prefix', prefix, 'mcp-proxy@6.7.19', 'supergateway@4.0.0'],
    { encoding: 'utf8' },
  )
  if (installed.status !== 0) throw new Error(`${name}@${version} can not be installed: ${installed.stderr}`)
  return file
}

const subjects: Readonly<Record<string, () => Promise<Subject>>> = {
  direct: async () => {
    const { echo, port } = await startEcho()
    return { url: `http://127.0.0.1:${port}/mcp`, pid: echo.pid, parts: [echo] }
  },
  nginx: async () => {
    const { echo, port: upstream } = await startEcho()
    const port = await freePort()
    const file = join(folder, `nginx-${port}.conf`)
    writeFileSync(
      file,
      `daemon off; master_process off; pid ${folder}/nginx-${port}.pid; error_log /dev/null; events {} http { access_log off; client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy; fastcgi_temp_path ${folder}/f; uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s; upstream e { server 127.0.0.1:${upstream}; keepalive 64; } server { listen 127.0.0.1:${port}; keepalive_requests 100000000; location / { proxy_pass http://e; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; } } }`,
    )
    const nginx = await start(['nginx', '-c', file], {}, port)
    return { url: `http://127.0.0.1:${port}/mcp`, pid: nginx.pid, parts: [nginx, echo] }
  },
  'bare forwarder': async () => {
    const { echo, port: upstream } = await startEcho()
    const port = await freePort()
    const forwarder = await start(
      [node, '--import', 'tsx', fileURLToPath(new URL('bare-forwarder.ts', import.meta.url))],
      { PORT: String(port), UPSTREAM: `http://127.0.0.1:${upstream}` },
      port,
    )
    return { url: `http://127.0.0.1:${port}/mcp`, pid: forwarder.pid, parts: [forwarder, echo] }
  },
  gateway: () => startGateway(echoAdapter),
  'gateway (eras off)': () => startGateway({ ...echoAdapter, eras: 'passthrough' }),
  'gateway (translated)': async () => ({ ...(await startGateway(echoAdapter)), era: 'modern' as const }),
  bridge: async () => {
    const port = await freePort()
    const bridge = await start(
      [node, programs.bridge],
      { PORT: String(port), MCP_COMMAND: node, MCP_ARGS: stdioEcho, LOG_LEVEL: 'warn' },
      port,
    )
    return { url: `http://127.0.0.1:${port}/mcp`, pid: bridge.pid, parts: [bridge] }
  },
  'gateway + bridge': async () => {
    const subject = await startGateway(bridgedAdapter)
    await untilAnswers(subject.url)
    return { ...subject, also: childrenOf(subject.pid, programs.bridge) }
  },
  'mcp-proxy': async () => {
    const port = await freePort()
    const proxy = await start(
      [
        node,
        peer('mcp-proxy', '6.7.19', 'dist/bin/mcp-proxy.mjs'),
        '--port',
        String(port),
        '--host',
        '127.0.0.1',
        '--server',
        'stream',
        '--',
        node,
        programs.echoStdio,
      ],
      {},
      port,
    )
    return { url: `http://127.0.0.1:${port}/mcp`, pid: proxy.pid, parts: [proxy] }
  },
  supergateway: async () => {
    const port = await freePort()
    const proxy = await start(
      [
        node,
        peer('supergateway', '4.0.0', 'dist/index.js'),
        '--stdio',
        `${node} ${programs.echoStdio}`,
        '--outputTransport',
        'streamableHttp',
        '--stateful',
        '--port',
        String(port),
        '--logLevel',
        'none',
      ],
      {},
      port,
    )
    return { url: `http://127.0.0.1:${port}/mcp`, pid: proxy.pid, parts: [proxy] }
  },
}

async function untilAnswers(url: string): Promise<void> {
  for (let tries = 0; tries < 200; tries += 1) {
    const answer = await post(url, {
      jsonrpc: '2.0',
      id: 0,
      method: 'initialize',
      params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'b', version: '1' } },
    }).catch(() => undefined)
    if (answer?.status === 200) return
    await sleep(50)
  }
  throw new Error(`${url} does not answer`)
}

function post(url: string, message: unknown, session?: string): Promise<Response> {
  return fetch(url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      ...(session === undefined ? {} : { 'mcp-session-id': session }),
    },
    body: JSON.stringify(message),
  })
}

/** Runs the load in a process of its own. `onStart` and `onEnd` come when the clock does. */
function load<T>(message: object, onStart: () => void = () => undefined, onEnd: () => void = () => undefined): Promise<T> {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(new URL('load.ts', import.meta.url)), { execArgv: ['--import', 'tsx'] })
    child.on('message', (told: 'start' | 'end' | { result?: T; failure?: string }) => {
      if (told === 'start') return onStart()
      if (told === 'end') return onEnd()
      child.kill()
      if (told.failure === undefined) resolve(told.result as T)
      else reject(new Error(told.failure))
    })
    child.on('exit', () => reject(new Error('the load ended')))
    child.send(message)
  })
}

async function measure(name: string, subject: Subject, connections: number): Promise<Figures> {
  const pids = [subject.pid, ...(subject.also ?? [])]
  const cpu = (): number => pids.reduce((sum, pid) => sum + cpuMicros(pid), 0)
  let before = 0
  let after = 0
  const options: LoadOptions = {
    url: subject.url,
    connections,
    seconds,
    warmupSeconds: Math.min(1, seconds / 2),
    sessionGapMs: connections === 8 ? 300 : 30,
    era: subject.era ?? 'legacy',
  }
  const result = await load<LoadResult>(
    options,
    () => (before = cpu()),
    () => (after = cpu()),
  )
  const figures = {
    rps: result.requests / result.seconds,
    p50: result.p50,
    p99: result.p99,
    cpu: (after - before) / result.requests,
    rss: pids.reduce((sum, pid) => sum + rssMb(pid), 0),
    sessionP50: result.sessionP50,
    errors: result.errors,
  }
  say(
    `${name} @${connections}: ${Math.round(figures.rps)} rps, p50 ${figures.p50.toFixed(3)} ms, p99 ${figures.p99.toFixed(2)} ms, cpu ${figures.cpu.toFixed(0)} µs, rss ${figures.rss.toFixed(0)} MB, session ${figures.sessionP50.toFixed(1)} ms, errors ${figures.errors}`,
  )
  return figures
}

async function throughput(): Promise<Samples> {
  const samples: Samples = new Map()
  const chosen = Object.entries(subjects).filter(([name]) => only === undefined || only.includes(name))
  for (let round = 1; round <= rounds; round += 1) {
    for (const [name, open] of chosen) {
      let subject: Subject
      try {
        subject = await open()
      } catch (error) {
        say(`${name}: left out: ${error instanceof Error ? error.message.slice(0, 300) : String(error)}`)
        continue
      }
      try {
        await untilAnswers(subject.url)
        for (const connections of levels) {
          const key = `${name}@${connections}`
          samples.set(key, [...(samples.get(key) ?? []), await measure(name, subject, connections)])
        }
      } finally {
        for (const part of subject.parts) await part.end()
      }
    }
  }
  return samples
}

/** What is measured once: memory of idle sessions and of large answers, times of start and end. */
async function once(): Promise<Record<string, number>> {
  const found: Record<string, number> = {}
  const startedAt = performance.now()
  const empty = await startGateway(undefined)
  const ping = await fetch(new URL('/ping', empty.url))
  await ping.text()
  found['start to first answer, ms'] = performance.now() - startedAt
  found['rss empty, MB'] = rssMb(empty.pid)
  found['SIGTERM to exit when idle, ms'] = await (empty.parts[0] as Measured).end()

  const subject = await startGateway(echoAdapter)
  await untilAnswers(subject.url)
  await load({ url: subject.url, connections: 32, seconds: 2, warmupSeconds: 0, sessionGapMs: 0, era: 'legacy' })
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

/** Reads a large answer, as fast as it comes or slowly for some seconds, and gives the gateway's peak memory meanwhile. */
async function bigAnswer(subject: Subject, megabytes: number, slowSeconds: number): Promise<number> {
  const opened = await post(subject.url, { jsonrpc: '2.0', id: 0, method: 'initialize', params: {} })
  const session = opened.headers.get('mcp-session-id') ?? ''
  let peak = 0
  const watch = setInterval(() => (peak = Math.max(peak, rssMb(subject.pid))), 10)
  await new Promise<void>((resolve, reject) => {
    const request = httpRequest(
      subject.url,
      { method: 'POST', headers: { 'content-type': 'application/json', 'mcp-session-id': session } },
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
    request.end(JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'big', arguments: { megabytes } } }))
  })
  clearInterval(watch)
  return peak
}

const samples = await throughput()
const single = only === undefined || only.includes('once') ? await once() : {}
for (const [name, value] of Object.entries(single)) say(`${name}: ${value.toFixed(1)}`)
const machine = `${cpus()[0]?.model ?? 'unknown processor'}, ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GB, Node.js ${process.version}`
const text = report({ machine, rounds, seconds, levels, samples, single })
if (only === undefined) writeFileSync(values.out, text)
say(text)
rmSync(folder, { recursive: true, force: true })
