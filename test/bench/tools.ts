import { cpSync, mkdtempSync } from 'node:fs'
import { request as httpRequest, Agent } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { folder, startGateway, type Subject } from './gateways.ts'
import type { Client } from './load.ts'
import { rssMb } from './processes.ts'
import { median } from './median.ts'
import { register } from './requests.ts'

/**
 * The tool to call: the plain HTTP side of the echo server, which the gateway runs like the
 * adapter's server.
 */
const echoTool = {
  name: 'echo',
  imageName: 'echo',
  imageVersion: '1.0.0',
  toolDefinition: {
    tool: {
      name: 'echo',
      description: 'Answers what it gets.',
      inputSchema: {
        type: 'object',
        properties: {
          marker: { type: 'string', description: 'To be found again.' },
          text: { type: 'string' },
        },
        required: ['marker'],
      },
    },
  },
}

const manyTools = 10_000
/** Another caller has registered tools for this role. */
const otherRole = 'team'
const other = { 'x-dev-userid': 'other' }
/** Both have the same length, so they differ only in rights. */
const colleague: Client = { era: 'modern', headers: { 'x-dev-roles': `mcp.dev,${otherRole}` } }
const stranger: Client = { era: 'modern', headers: { 'x-dev-roles': 'mcp.dev,none' } }

/**
 * One of many tools: a usual definition of 1 kB, at an endpoint elsewhere, so that nothing has to
 * run for it.
 */
function otherTool(index: number): unknown {
  const name = `report_${String(index).padStart(5, '0')}`
  const text = (what: string): object => ({
    type: 'string',
    description: `The ${what} that the report is about, as it stands in the system of records.`,
  })
  return {
    name: name.replace('_', '-'),
    endpoint: `http://127.0.0.1:9/${name}`,
    requiredRoles: [otherRole],
    description: 'A report of the system of records',
    toolDefinition: {
      tool: {
        name,
        title: `Report ${index}`,
        description:
          'Makes a report of one customer over a span of time, with totals by month and by ' +
          'product. Use it when somebody asks how a customer does.',
        inputSchema: {
          type: 'object',
          properties: {
            customer: text('customer'),
            region: text('region'),
            from: { ...text('first day'), pattern: '^\\d{4}-\\d{2}-\\d{2}$' },
            until: { ...text('last day'), pattern: '^\\d{4}-\\d{2}-\\d{2}$' },
            detail: { type: 'string', enum: ['total', 'month', 'day'], default: 'month' },
          },
          required: ['customer', 'from', 'until'],
          additionalProperties: false,
        },
        annotations: { readOnlyHint: true },
      },
    },
  }
}

interface Prepared {
  readonly dataDir: string
  /** Milliseconds for each 1,000 tools, in turn. */
  readonly thousands: readonly number[]
}

let prepared: Promise<Prepared> | undefined

/** A data folder with all tools, which the API has registered once for all subjects. */
function manyRegistered(): Promise<Prepared> {
  return (prepared ??= (async () => {
    const dataDir = mkdtempSync(join(folder, 'tools-'))
    const gateway = await startGateway(undefined, { dataDir })
    try {
      await register(gateway.url, '/tools', echoTool)
      const thousands: number[] = []
      for (let first = 1; first < manyTools; first += 1000) {
        const start = performance.now()
        for (let index = first; index < Math.min(first + 1000, manyTools); index += 1)
          await register(gateway.url, '/tools', otherTool(index), other)
        thousands.push(performance.now() - start)
      }
      return { dataDir, thousands }
    } finally {
      for (const part of gateway.parts) await part.end()
    }
  })())
}

async function withTools(client: Client, many: boolean): Promise<Subject> {
  let subject: Subject
  if (many) {
    const dataDir = mkdtempSync(join(folder, 'data-'))
    cpSync((await manyRegistered()).dataDir, dataDir, { recursive: true })
    subject = await startGateway(undefined, { dataDir })
  } else {
    subject = await startGateway()
    await register(subject.url, '/tools', echoTool)
  }
  return { ...subject, url: new URL('/mcp', subject.url).href, client }
}

export const toolSubjects: Readonly<Record<string, () => Promise<Subject>>> = {
  'tool call': () => withTools(colleague, false),
  'tool call (session)': () => withTools({ ...colleague, era: 'legacy' }, false),
  'tool call (many tools)': async () => ({ ...(await withTools(colleague, true)), levels: [32] }),
  'tool call (many hidden)': async () => ({ ...(await withTools(stranger, true)), levels: [32] }),
}

const listRequest = JSON.stringify({
  jsonrpc: '2.0',
  id: 1,
  method: 'tools/list',
  params: {
    _meta: {
      'io.modelcontextprotocol/protocolVersion': '2026-07-28',
      'io.modelcontextprotocol/clientCapabilities': {},
    },
  },
})

/** Milliseconds until the first page of the list is whole, and its bytes. */
function listTools(url: string, agent: Agent): Promise<{ ms: number; bytes: number }> {
  return new Promise((resolve, reject) => {
    const start = performance.now()
    const headers = {
      ...colleague.headers,
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
    }
    const request = httpRequest(
      url,
      {
        agent,
        method: 'POST',
        headers: { ...headers, 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/list' },
      },
      (response) => {
        let bytes = 0
        response.on('data', (chunk: Buffer) => (bytes += chunk.length))
        response.on('end', () =>
          response.statusCode === 200
            ? resolve({ ms: performance.now() - start, bytes })
            : reject(new Error(`tools/list was answered with ${response.statusCode}`)),
        )
      },
    )
    request.on('error', reject)
    request.end(listRequest)
  })
}

/** Measures the cost of many registered tools apart from calls. */
export async function toolsOnce(): Promise<Record<string, number>> {
  const found: Record<string, number> = {}
  found['registering 1,000 tools one after the other, ms'] = median(
    (await manyRegistered()).thousands,
  )
  const agent = new Agent({ keepAlive: true })
  const rss: number[] = []
  for (const many of [false, true]) {
    const subject = await withTools(colleague, many)
    await sleep(2000)
    rss.push(rssMb(subject.pid))
    if (many) {
      found['first page of 10,000 tools, right after the start, ms'] = (
        await listTools(subject.url, agent)
      ).ms
      const times: number[] = []
      for (let count = 0; count < 200; count += 1)
        times.push((await listTools(subject.url, agent)).ms)
      found['first page of 10,000 tools, p50 when warm, ms'] =
        times.slice(100).toSorted((a, b) => a - b)[50] ?? Number.NaN
      found['size of that page, kB'] = (await listTools(subject.url, agent)).bytes / 1000
      found['rss of 10,000 tools after 200 first pages, MB'] =
        rssMb(subject.pid) - (rss[0] ?? Number.NaN)
    }
    for (const part of subject.parts) await part.end()
  }
  found['rss of 10,000 tools, MB'] = (rss[1] ?? Number.NaN) - (rss[0] ?? Number.NaN)
  agent.destroy()
  return found
}
