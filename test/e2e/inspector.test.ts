import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { GatewayProcess, officialServer } from '@mcp-gateway/testkit'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const run = promisify(execFile)
const inspector = join(
  dirname(createRequire(import.meta.url).resolve('@modelcontextprotocol/inspector/package.json')),
  'clients/launcher/build/index.js',
)
const folder = mkdtempSync(join(tmpdir(), 'mcpgw-inspector-'))
writeFileSync(join(folder, 'hello.txt'), 'hello from a file')

/** Gives the output of the Inspector's command line for a target: a URL, or a command of words. */
async function inspect(target: readonly string[], ...words: readonly string[]): Promise<unknown> {
  const environment = {
    ...process.env,
    MCP_CATALOG_PATH: join(folder, 'catalog.json'),
    MEMORY_FILE_PATH: join(folder, 'memory.jsonl'),
  }
  const { stdout } = await run(process.execPath, [inspector, '--cli', ...target, ...words], {
    env: environment,
  })
  return JSON.parse(stdout)
}

let gateway: GatewayProcess
beforeAll(async () => {
  gateway = await GatewayProcess.start()
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
})

describe('the MCP Inspector', () => {
  test.each([
    [
      'everything',
      ['stdio'],
      ['--tool-name', 'get-sum', '--tool-arg', 'a=2', '--tool-arg', 'b=40'],
    ],
    [
      'filesystem',
      [folder],
      ['--tool-name', 'read_text_file', '--tool-arg', `path=${join(folder, 'hello.txt')}`],
    ],
    ['memory', [], ['--tool-name', 'read_graph']],
    [
      'sequential-thinking',
      [],
      [
        '--tool-name',
        'sequentialthinking',
        '--tool-arg',
        'thought=t',
        'nextThoughtNeeded=false',
        'thoughtNumber=1',
        'totalThoughts=1',
      ],
    ],
  ] as const)(
    'the Inspector shows the same of server-%s through the gateway as directly',
    async (name, args, call) => {
      const words = [process.execPath, officialServer(name), ...args]
      const { status } = await gateway.api('POST', '/adapters', {
        name,
        imageName: 'mcp-proxy',
        imageVersion: '1.0.0',
        environmentVariables: {
          MCP_COMMAND: process.execPath,
          MCP_ARGS: words.slice(1).join(' '),
          MEMORY_FILE_PATH: join(folder, 'memory.jsonl'),
        },
      })
      expect(status).toBe(201)
      const url = [`${gateway.origin}/adapters/${name}/mcp`, '--transport', 'http']
      for (const asked of [
        ['--method', 'tools/list'],
        ['--method', 'tools/call', ...call],
      ])
        expect(await inspect(url, ...asked)).toEqual(await inspect(words, ...asked))
    },
  )
})
