import { setTimeout as sleep } from 'node:timers/promises'
import { request } from 'undici'
import { startGateway, type Subject } from './gateways.ts'
import type { Client } from './load.ts'
import { median } from './median.ts'
import { rssMb } from './processes.ts'
import { register } from './requests.ts'

/** A virtual server of ten members with a hundred tools each, of a kilobyte. */
const memberCount = 10
const toolsOfMember = 100
const aliases = 'abcdefghij'.split('')
const all = '/servers/all/mcp'
const member = '/adapters/member-0/mcp'

/** Each member has a role of its own, so that callers see different members. */
const roles = aliases.map((alias) => `team-${alias}`)
const everybody = { 'x-dev-roles': ['mcp.dev', ...roles].join() }

/** Starts a gateway with the virtual server, whose members have been listed once. */
async function startAll(): Promise<Subject> {
  const subject = await startGateway()
  for (let index = 0; index < memberCount; index += 1)
    await register(subject.url, '/adapters', {
      name: `member-${index}`,
      imageName: 'echo',
      imageVersion: '1.0.0',
      requiredRoles: [roles[index]],
      environmentVariables: { ECHO_TOOLS: String(toolsOfMember) },
    })
  await register(subject.url, '/servers', {
    name: 'all',
    requiredRoles: ['mcp.dev'],
    members: aliases.map((alias, index) => ({ adapter: `member-${index}`, alias })),
  })
  for (let tries = 0; (await countTools(subject.url)) < memberCount * toolsOfMember; tries += 1) {
    if (tries > 600) throw new Error('The members do not list their tools.')
    await sleep(100)
  }
  return subject
}

const client = (era: Client['era'], tool: string): Client => ({ era, tool, headers: everybody })

const subjectOf = async (path: string, caller: Client): Promise<Subject> => {
  const subject = await startAll()
  const url = new URL(path, subject.url).href
  return { ...subject, url, client: caller, levels: [32] }
}

/** The same call at a member's own address, and through the virtual server. */
export const aggregateSubjects: Readonly<Record<string, () => Promise<Subject>>> = {
  'member call': () => subjectOf(member, client('modern', 'echo')),
  'aggregate call': () => subjectOf(all, client('modern', 'a_echo')),
  'member call (session)': () => subjectOf(member, client('legacy', 'echo')),
  'aggregate call (session)': () => subjectOf(all, client('legacy', 'a_echo')),
}

interface Asked {
  readonly ms: number
  readonly bytes: number
  readonly result: Readonly<Record<string, unknown>>
}

async function ask(
  url: string,
  method: string,
  params: object = {},
  headers: Readonly<Record<string, string>> = everybody,
): Promise<Asked> {
  const _meta = {
    'io.modelcontextprotocol/protocolVersion': '2026-07-28',
    'io.modelcontextprotocol/clientCapabilities': {},
    'io.modelcontextprotocol/clientInfo': { name: 'bench', version: '1' },
  }
  const { name } = params as { name?: string }
  const start = performance.now()
  const answer = await request(url, {
    method: 'POST',
    headers: {
      ...headers,
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': '2026-07-28',
      'mcp-method': method,
      ...(name === undefined ? {} : { 'mcp-name': name }),
    },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params: { ...params, _meta } }),
  })
  const text = await answer.body.text()
  const ms = performance.now() - start
  const { result } = JSON.parse(text) as { result?: Asked['result'] }
  if (result === undefined) throw new Error(`${method} was answered with ${text.slice(0, 300)}`)
  return { ms, bytes: text.length, result }
}

interface Listed {
  readonly ms: number
  readonly bytes: number
  readonly tools: number
}

/** Lists all tools, over all pages. */
async function listAll(url: string, headers = everybody): Promise<Listed> {
  let [ms, bytes, tools] = [0, 0, 0]
  let cursor: unknown
  do {
    const params = cursor === undefined ? {} : { cursor }
    const page = await ask(url, 'tools/list', params, headers)
    ms += page.ms
    bytes += page.bytes
    tools += (page.result['tools'] as unknown[]).length
    cursor = page.result['nextCursor']
  } while (cursor !== undefined)
  return { ms, bytes, tools }
}

async function countTools(url: string): Promise<number> {
  return (await listAll(new URL(all, url).href)).tools
}

const questions = ['report of a customer', 'totals by month', 'echo', 'system of records region']

/** The median of the second half of so many times. */
async function p50(count: number, work: (turn: number) => Promise<{ ms: number }>) {
  const times: number[] = []
  for (let turn = 0; turn < count; turn += 1) times.push((await work(turn)).ms)
  return median(times.slice(count / 2))
}

/** Measures a virtual server apart from calls. */
export async function aggregatesOnce(): Promise<Record<string, number>> {
  const found: Record<string, number> = {}
  const subject = await startAll()
  const at = (path: string): string => new URL(path, subject.url).href

  const one = await p50(100, () => listAll(at(member)))
  const whole = await p50(100, () => listAll(at(all)))
  found['full list of one member with 100 tools, p50 ms'] = one
  found['full list of 1,000 tools of ten members, p50 ms'] = whole
  found['full list of ten members, ratio to one'] = whole / one

  const search = at('/servers/all/search/mcp')
  found['search over 1,000 tools, p50 ms'] = await p50(200, (turn) => {
    const query = questions[turn % questions.length]
    return ask(search, 'tools/call', { name: 'search_tools', arguments: { query } })
  })
  const [direct, short] = [await listAll(at(all)), await listAll(search)]
  found['bytes of the search list, % fewer'] = 100 * (1 - short.bytes / direct.bytes)

  await ask(at(all), 'tools/list', {}, everybody)
  const before = rssMb(subject.pid)
  for (let who = 0; who < 100; who += 1) {
    const own = roles.filter((_, index) => index !== who % memberCount)
    const headers = { 'x-dev-userid': `caller-${who}`, 'x-dev-roles': ['mcp.dev', ...own].join() }
    const { tools } = await listAll(at(all), headers)
    if (tools !== (memberCount - 1) * toolsOfMember) throw new Error(`${who} sees ${tools} tools.`)
  }
  await sleep(2000)
  found['rss of 100 callers with ten views of 1,000 tools, MB'] = rssMb(subject.pid) - before

  found['connect to first answer with all members asleep, ms'] = await asleep(subject)
  return found
}

/** Milliseconds of a new client until it has the tools, at a gateway that has just started. */
async function asleep(subject: Subject): Promise<number> {
  for (let index = 0; index < memberCount; index += 1)
    await request(new URL(`/adapters/member-${index}`, subject.url), {
      method: 'PATCH',
      headers: { ...everybody, 'content-type': 'application/merge-patch+json' },
      body: '{"replicaCount":0}',
    }).then(({ body }) => body.dump())
  await sleep(2000)
  const times: number[] = []
  for (let turn = 0; turn < 20; turn += 1) {
    const start = performance.now()
    await ask(new URL(all, subject.url).href, 'server/discover')
    const { tools } = await listAll(new URL(all, subject.url).href)
    if (tools !== memberCount * toolsOfMember) throw new Error(`There are ${tools} tools.`)
    times.push(performance.now() - start)
  }
  for (const part of subject.parts) await part.end()
  return median(times)
}
