import type { AddressInfo } from 'node:net'
import { parseArgs } from 'node:util'
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js'
import { InMemoryServerEventBus, type McpServer } from '@modelcontextprotocol/server'
import { serveStdio } from '@modelcontextprotocol/server/stdio'
import { letListsChange, type Change } from './catalogue.ts'
import type { Era } from './fixture-process.ts'
import { createHttpFixture } from './http.ts'
import { createLegacyServer } from './legacy-half.ts'
import { modernServers } from './modern-half.ts'

/**
 * The conformance fixture: `--era legacy|modern|dual --transport http|stdio [--unguarded]`. Over
 * HTTP it listens at HOST and PORT (0: any port), and prints its URL. With `--changing`, a list
 * that is announced as changed has changed.
 */
const { values } = parseArgs({
  options: {
    era: { type: 'string', default: 'dual' },
    transport: { type: 'string', default: 'http' },
    unguarded: { type: 'boolean', default: false },
    changing: { type: 'boolean', default: false },
  },
})

const era = oneOf(values.era, ['legacy', 'modern', 'dual'])
const transport = oneOf(values.transport, ['http', 'stdio'])

if (values.changing) letListsChange()
if (transport === 'http') listen(era, !values.unguarded)
else if (era === 'legacy')
  await createLegacyServer(new InMemoryServerEventBus()).connect(new StdioServerTransport())
else serveModernStdio(era === 'dual')

function listen(httpEra: Era, guarded: boolean): void {
  const { HOST = '127.0.0.1', PORT = '0' } = process.env
  const http = createHttpFixture(httpEra, guarded)
  http.listen(Number(PORT), HOST, () =>
    console.log(`http://${HOST}:${(http.address() as AddressInfo).port}/mcp`),
  )
  process.once('SIGTERM', () => process.exit(0))
}

function serveModernStdio(legacyToo: boolean): void {
  const create = modernServers()
  serveStdio(() => create(announce), { legacy: legacyToo ? 'serve' : 'reject' })
}

/**
 * On stdio the server announces changes itself. The SDK sends them to listening streams, or to the
 * whole connection of a legacy client.
 */
async function announce({ server }: McpServer, change: Change): Promise<void> {
  switch (change.kind) {
    case 'tools_list_changed':
      return server.sendToolListChanged()
    case 'prompts_list_changed':
      return server.sendPromptListChanged()
    case 'resources_list_changed':
      return server.sendResourceListChanged()
    case 'resource_updated':
      return server.sendResourceUpdated({ uri: change.uri })
  }
}

function oneOf<Value extends string>(value: string, allowed: readonly Value[]): Value {
  const found = allowed.find((candidate) => candidate === value)
  if (found === undefined) throw new Error(`${value} is none of ${allowed.join(', ')}`)
  return found
}
