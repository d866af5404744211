import { join } from 'node:path'
import { officialServer } from '@mcp-gateway/testkit'
import { binaries } from './install.ts'

/** The things that a test prepares for servers. */
export interface Place {
  readonly folder: string
  /** The address of a page. */
  readonly page: string
}

export interface RealServer {
  readonly from: 'npm' | 'PyPI'
  readonly package: string
  readonly version: string
  /** A dependency to install in place of the package's own choice. */
  readonly with?: string
  /** The test kit installs it. */
  readonly bundled?: true
  readonly start: (place: Place) => readonly string[]
  readonly environment?: (place: Place) => Readonly<Record<string, string>>
  readonly tool: string
  readonly args: (place: Place) => Record<string, unknown>
  /**
   * The expected answer. Some tools need a browser or the internet, and say that they have none.
   */
  readonly says: RegExp
}

const node = process.execPath
const npm = (name: string): string => join(binaries.npm, name)
const python = (name: string): string => join(binaries.python, name)

/** Popular servers, with the versions under test. */
export const realServers: readonly RealServer[] = [
  {
    from: 'npm',
    package: '@modelcontextprotocol/server-everything',
    version: '2026.8.31',
    bundled: true,
    start: () => [node, officialServer('everything'), 'stdio'],
    tool: 'get-sum',
    args: () => ({ a: 2, b: 40 }),
    says: /42/,
  },
  {
    from: 'npm',
    package: '@modelcontextprotocol/server-filesystem',
    version: '2026.8.31',
    bundled: true,
    start: ({ folder }) => [node, officialServer('filesystem'), folder],
    tool: 'read_text_file',
    args: ({ folder }) => ({ path: join(folder, 'hello.txt') }),
    says: /hello from a file/,
  },
  {
    from: 'npm',
    package: '@modelcontextprotocol/server-memory',
    version: '2026.8.31',
    bundled: true,
    start: () => [node, officialServer('memory')],
    environment: ({ folder }) => ({ MEMORY_FILE_PATH: join(folder, 'memory.jsonl') }),
    tool: 'read_graph',
    args: () => ({}),
    says: /entities/,
  },
  {
    from: 'npm',
    package: '@modelcontextprotocol/server-sequential-thinking',
    version: '2026.8.31',
    bundled: true,
    start: () => [node, officialServer('sequential-thinking')],
    tool: 'sequentialthinking',
    args: () => ({ thought: 't', nextThoughtNeeded: false, thoughtNumber: 1, totalThoughts: 1 }),
    says: /thoughtNumber/,
  },
  {
    from: 'npm',
    package: '@upstash/context7-mcp',
    version: '4.1.1',
    start: () => [node, npm('context7-mcp')],
    tool: 'resolve-library-id',
    args: () => ({ libraryName: 'react', query: 'hooks' }),
    says: /\w/,
  },
  {
    from: 'npm',
    package: '@playwright/mcp',
    version: '0.0.83',
    start: () => [node, npm('playwright-mcp'), '--headless', '--isolated'],
    tool: 'browser_close',
    args: () => ({}),
    says: /\w/,
  },
  {
    from: 'npm',
    package: '@eslint/mcp',
    version: '0.3.13',
    start: () => [node, npm('mcp')],
    tool: 'lint-files',
    args: ({ folder }) => ({ filePaths: [join(folder, 'hello.js')] }),
    says: /no-var/,
  },
  {
    from: 'npm',
    package: 'chrome-devtools-mcp',
    version: '1.11.0',
    start: () => [node, npm('chrome-devtools-mcp'), '--headless', '--isolated'],
    tool: 'list_pages',
    args: () => ({}),
    says: /\w/,
  },
  {
    from: 'PyPI',
    package: 'mcp-server-time',
    version: '2026.10.19',
    start: () => [python('mcp-server-time'), '--local-timezone=UTC'],
    tool: 'get_current_time',
    args: () => ({ timezone: 'Europe/Berlin' }),
    says: /Europe\/Berlin/,
  },
  {
    from: 'PyPI',
    package: 'mcp-server-git',
    version: '2026.10.19',
    start: ({ folder }) => [python('mcp-server-git'), '--repository', folder],
    tool: 'git_status',
    args: ({ folder }) => ({ repo_path: folder }),
    says: /hello\.txt/,
  },
  {
    from: 'PyPI',
    package: 'mcp-server-fetch',
    version: '2026.10.24',
    start: () => [python('mcp-server-fetch'), '--ignore-robots-txt', '--allow-private-ips'],
    tool: 'fetch',
    args: ({ page }) => ({ url: page, raw: true }),
    says: /hello from a page/,
  },
  {
    from: 'PyPI',
    package: 'mcp-server-sqlite',
    version: '2025.4.25',
    // It does not start with later SDKs.
    with: 'mcp==1.30.0',
    start: ({ folder }) => [python('mcp-server-sqlite'), '--db-path', join(folder, 'a.db')],
    tool: 'read_query',
    args: () => ({ query: 'SELECT 6 * 7 AS answer' }),
    says: /42/,
  },
  {
    from: 'PyPI',
    package: 'mcp-server-calculator',
    version: '0.2.1',
    start: () => [python('mcp-server-calculator')],
    tool: 'calculate',
    args: () => ({ expression: '6 * 7' }),
    says: /42/,
  },
  {
    from: 'PyPI',
    package: 'mcp-server-motherduck',
    version: '1.1.0',
    start: () => [python('mcp-server-motherduck'), '--db-path', ':memory:', '--read-write'],
    tool: 'execute_query',
    args: () => ({ sql: 'SELECT 6 * 7 AS answer' }),
    says: /42/,
  },
  {
    from: 'PyPI',
    package: 'awslabs.aws-documentation-mcp-server',
    version: '1.2.3',
    start: () => [python('awslabs.aws-documentation-mcp-server')],
    environment: () => ({ FASTMCP_LOG_LEVEL: 'ERROR' }),
    tool: 'read_documentation',
    args: () => ({ url: 'https://docs.aws.amazon.com/s3/index.html' }),
    says: /\w/,
  },
]

/** Servers that download themselves at their start, as most people run them. */
export const sandboxedServers: readonly (Omit<RealServer, 'version'> & {
  readonly by: 'npx' | 'uvx' | 'node'
})[] = [
  {
    by: 'npx',
    from: 'npm',
    package: '@upstash/context7-mcp',
    start: () => ['npx', '-y', '@upstash/context7-mcp@4.1.1'],
    tool: 'resolve-library-id',
    args: () => ({ libraryName: 'react', query: 'hooks' }),
    says: /\w/,
  },
  {
    by: 'uvx',
    from: 'PyPI',
    package: 'mcp-server-time',
    start: () => ['uvx', 'mcp-server-time@2026.10.19', '--local-timezone=UTC'],
    tool: 'get_current_time',
    args: () => ({ timezone: 'Europe/Berlin' }),
    says: /Europe\/Berlin/,
  },
  {
    by: 'uvx',
    from: 'PyPI',
    package: 'mcp-server-fetch',
    start: () => [
      'uvx',
      'mcp-server-fetch@2026.10.24',
      '--ignore-robots-txt',
      '--allow-private-ips',
    ],
    tool: 'fetch',
    args: ({ page }) => ({ url: page, raw: true }),
    says: /hello from a page/,
  },
  {
    by: 'node',
    from: 'npm',
    package: '@modelcontextprotocol/server-filesystem',
    start: ({ folder }) => [node, officialServer('filesystem'), folder],
    tool: 'read_text_file',
    args: ({ folder }) => ({ path: join(folder, 'hello.txt') }),
    says: /hello from a file/,
  },
]
