import { GatewayProcess } from '@mcp-gateway/testkit'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { clients as kinds } from './eras/clients.ts'
import { expected, register, run, steps, type Seen } from './sdks/cells.ts'
import { missing, sdks, type SdkClient } from './sdks/languages.ts'

/**
 * The clients of official SDKs at one virtual server, whose five members are servers of both eras,
 * over HTTP and stdio. Each client does everything with each member.
 */
const made = ['typescript1', 'typescript2', 'python1', 'python2', 'go']
const ready = sdks.filter((sdk) => made.includes(sdk.name) && missing(sdk) === undefined)
const clients = ready.flatMap((sdk) => sdk.clients)

/** The members by alias. Python and Go serve where their SDKs are there. */
const wanted: Readonly<Record<string, readonly string[]>> = {
  a: ['typescript1-stdio'],
  b: ['typescript1-http'],
  c: ['python2-stdio', 'typescript2-stdio'],
  d: ['typescript2-http'],
  e: ['go-http-stateless', 'typescript2-http'],
}
const servers = Object.entries(wanted).map(([alias, names]) => {
  const all = ready.flatMap((sdk) => sdk.servers)
  const server = names.flatMap((name) => all.find((each) => each.name === name) ?? [])[0]
  if (server === undefined) throw new Error(`There is no server for ${alias}.`)
  return { alias, server }
})

let gateway: GatewayProcess
let url = ''
beforeAll(async () => {
  const images = servers
    .filter(({ server }) => server.transport === 'HTTP')
    .map(({ server: { name, command } }): [string, object] => [name, { command }])
  const runtime = { images: Object.fromEntries(images), sandbox: 'none' }
  gateway = await GatewayProcess.start({ config: { runtime } })
  const members: object[] = []
  for (const { alias, server } of servers) {
    await register(gateway, server, `member-${alias}`)
    members.push({ adapter: `member-${alias}`, alias })
  }
  const { status } = await gateway.api('PUT', '/servers/mixed', { members })
  expect(status).toBe(201)
  url = `${gateway.origin}/servers/mixed/mcp`
  await vi.waitFor(async () => expect(new Set(await states())).toEqual(new Set(['Ready'])), 90_000)
}, 120_000)
afterAll(() => gateway[Symbol.asyncDispose]())

async function states(): Promise<readonly string[]> {
  const { body } = await gateway.api('GET', '/servers/mixed/status')
  return (body as { members: { state: string }[] }).members.map(({ state }) => state)
}

const tools = servers
  .flatMap(({ alias }) => ['add', 'ask', 'change', 'work'].map((name) => `${alias}_${name}`))
  .join()

/** The expected words of a client about a step with one member. */
function isRight(step: keyof typeof expected, alias: string, seen: Seen): boolean {
  const saw = seen.get(step) ?? ''
  if (step === 'list') return saw === tools
  // The client hears of the address that it subscribed to.
  if (step === 'subscribe') return saw.split(',').every((uri) => uri === `${alias}+note://shared`)
  return expected[step].test(saw)
}

async function wrongSteps(client: SdkClient): Promise<readonly string[]> {
  const seen = await run(
    client,
    servers.map(({ alias }) => ({ url, alias })),
  )
  return servers.flatMap(({ alias, server }, index) => {
    const of = seen[index] ?? new Map()
    return steps
      .filter((step) => !isRight(step, alias, of))
      .map((step) => `${step} with ${server.name}: ${of.get(step) ?? 'nothing'}`)
  })
}

describe('one virtual server of five members', () => {
  test.for(sdks.filter(({ name }) => made.includes(name)))(
    'the SDK exists for the tests of virtual servers: $title',
    (sdk, { skip }) => {
      const reason = missing(sdk)
      skip(reason !== undefined, reason)
      expect(reason).toBeUndefined()
    },
  )

  test.for(clients)(
    'the client of $title does every step with every member',
    { timeout: 180_000 },
    async (client) => {
      expect(await wrongSteps(client)).toEqual([])
    },
  )

  test.for(kinds.filter(({ name }) => name.startsWith('inspector')))(
    '$title lists, calls, reads and gets prompts at every member',
    { timeout: 180_000 },
    async (kind) => {
      const peer = await kind.connect({ url }, '')
      const listed = (await peer.listTools()) as { tools: { name: string }[] }
      expect(listed.tools.map(({ name }) => name).join()).toBe(tools)
      for (const { alias } of servers) {
        const sum = await peer.call({ tool: `${alias}_add`, args: { a: 2, b: 3 } })
        expect(sum).toMatchObject({ content: [{ text: '5' }] })
        const uri = `${alias}+note://shared`
        expect(await peer.read(uri)).toMatchObject({ contents: [{ uri, text: 'a note' }] })
        const prompt = await peer.prompt({ name: `${alias}_greet`, arguments: { name: 'Ada' } })
        expect(prompt).toMatchObject({ messages: [{ content: { text: 'Greet Ada' } }] })
      }
      await peer.close()
    },
  )
})
