import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const packageFolder = fileURLToPath(new URL('..', import.meta.url))

/** Built programs that tests start. */
export const programs = {
  gateway: join(packageFolder, '../gateway/dist/main.js'),
  bridge: join(packageFolder, '../bridge/dist/main.js'),
  echoHttp: join(packageFolder, 'dist/echo-http-server.js'),
  echoStdio: join(packageFolder, 'dist/echo-stdio-server.js'),
}

/** The main file of an official MCP server that the test kit depends on. */
export function officialServer(
  name: 'everything' | 'filesystem' | 'memory' | 'sequential-thinking',
): string {
  const folder = dirname(
    createRequire(import.meta.url).resolve(`@modelcontextprotocol/server-${name}/package.json`),
  )
  return join(folder, 'dist/index.js')
}

/** The Azure MCP server, a .NET program behind an npm script. */
export function azureServer(): string {
  return join(
    dirname(createRequire(import.meta.url).resolve('@azure/mcp/package.json')),
    'index.js',
  )
}

/** Joins words to a text that a shell, and `MCP_ARGS`, split into the same words. */
export function quoted(words: readonly string[]): string {
  return words.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ')
}
