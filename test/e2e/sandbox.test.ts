import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { GatewayProcess, officialServer, skipNote } from '@mcp-gateway/testkit'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const isRoot = process.getuid?.() === 0
const otherUser = 699_999
const asOther = { ...(isRoot ? { uid: otherUser, gid: otherUser } : {}), cwd: '/' }
const works = (command: string, ...args: string[]): boolean =>
  spawnSync(command, args, asOther).status === 0
const look = 'require("fs").accessSync(process.argv[1])'
const readable = works(process.execPath, '-e', look, officialServer('everything'))
const bwrap = works('bwrap', '--ro-bind', '/', '/', '--proc', '/proc', '--unshare-pid', 'true')

const needs = 'needs root, a checkout that every user can read, or a bwrap that works'
const places = [
  { sandbox: 'uid', root: true, possible: isRoot && readable },
  { sandbox: 'bwrap', root: true, possible: isRoot && readable && bwrap },
  { sandbox: 'bwrap', root: false, possible: readable && bwrap },
].map((place) => ({
  ...place,
  of: place.root ? 'root' : 'another user',
  note: skipNote(place.possible ? undefined : needs),
}))

/** A short stdio server, so that npx can install something without a registry. */
const server = `#!/usr/bin/env node
const answers = {
  initialize: ({ protocolVersion }) => ({
    protocolVersion, capabilities: { tools: {} }, serverInfo: { name: 'where', version: '1' },
  }),
  'tools/list': () => ({ tools: [{ name: 'where', inputSchema: { type: 'object' } }] }),
  'tools/call': () => ({ content: [{ type: 'text', text: process.env.HOME }] }),
}
require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
  const { id, method, params } = JSON.parse(line)
  if (id === undefined) return
  console.log(JSON.stringify({ jsonrpc: '2.0', id, result: answers[method]?.(params) ?? {} }))
})
`

describe.each(places)(
  'servers as people run them, in $sandbox of a gateway of $of,$note',
  (place) => {
    const { sandbox, root, possible } = place
    const promise = test.skipIf(!possible)
    let gateway: GatewayProcess
    let folder: string
    beforeAll(async () => {
      if (!possible) return
      folder = mkdtempSync(join(tmpdir(), 'mcpgw-package-'))
      const manifest = { name: 'where-mcp', version: '1.0.0', bin: 'server.cjs' }
      writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest))
      writeFileSync(join(folder, 'server.cjs'), server, { mode: 0o755 })
      spawnSync('npm', ['pack'], { cwd: folder })
      chmodSync(folder, 0o755)
      gateway = await GatewayProcess.start({
        ...(root || !isRoot ? {} : { user: otherUser }),
        environment: { MCPGW_RUNTIME_SANDBOX: sandbox },
        config: { runtime: { mounts: [{ path: folder }] } },
      })
    })
    afterAll(async () => {
      await gateway?.[Symbol.asyncDispose]()
      if (!possible) return
      for (const each of [folder, `${gateway.dataDir}-homes`])
        rmSync(each, { recursive: true, force: true })
    })

    async function connected(name: string, command: string, args: string): Promise<Client> {
      const environmentVariables = { MCP_COMMAND: command, MCP_ARGS: args }
      const { status } = await gateway.api('POST', '/adapters', {
        name,
        imageName: 'mcp-proxy',
        imageVersion: '1',
        environmentVariables,
      })
      expect(status).toBe(201)
      await gateway.untilStatus(name, ({ readyReplicas }) => readyReplicas === 1)
      const client = new Client({ name: 'test', version: '1' })
      const transport = new StreamableHTTPClientTransport(
        new URL(`${gateway.origin}/adapters/${name}/mcp`),
      )
      await client.connect(transport as never)
      return client
    }

    promise('npx installs a package into the home of its owner and runs it', async () => {
      const client = await connected(
        'packaged',
        'npx',
        `-y --package ${join(folder, 'where-mcp-1.0.0.tgz')} where-mcp`,
      )
      const { content } = await client.callTool({ name: 'where', arguments: {} })
      const [{ text: home }] = content as [{ text: string }]
      await client.close()

      expect(home.startsWith(`${gateway.dataDir}-homes/`)).toBe(true)
      expect(existsSync(join(home, '.npm/_npx'))).toBe(true)
    })

    promise('an official server runs from the folder where it is installed', async () => {
      const client = await connected('official', 'node', `${officialServer('everything')} stdio`)
      const called = await client.callTool({ name: 'echo', arguments: { message: 'Zoë' } })
      await client.close()

      expect(called.content).toEqual([{ type: 'text', text: 'Echo: Zoë' }])
    })
  },
)
