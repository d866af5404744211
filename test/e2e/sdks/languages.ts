import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { cacheFolder } from '@mcp-gateway/testkit'

export type Era = 'legacy' | 'modern'

/** A server program of one SDK, started in one way. */
export interface SdkServer {
  readonly name: string
  readonly title: string
  readonly transport: 'stdio' | 'HTTP'
  /** The versions that the server speaks without a gateway. */
  readonly speaks: string
  readonly command: readonly string[]
}

export interface SdkClient {
  readonly name: string
  readonly title: string
  readonly era: Era
  readonly command: readonly string[]
}

/** An official SDK, with our server and client programs in the folder of its name. */
export interface Sdk {
  readonly name: string
  /** The official package, and its pinned version in the folder. */
  readonly title: string
  /** Commands that show whether the toolchain is there. */
  readonly needs: readonly string[]
  /** Commands that build the programs into `cache`. They run in the folder. */
  readonly build: readonly (readonly string[])[]
  readonly servers: readonly SdkServer[]
  readonly clients: readonly SdkClient[]
}

const here = fileURLToPath(new URL('.', import.meta.url))
/** Another one for every change of the programs, or of their builds in this file. */
const cacheOf = (name: string): string =>
  cacheFolder(`sdk-${name}`, join(here, name), fileURLToPath(import.meta.url))

/** The ways to start one server program: its words, and the versions that it then speaks. */
function serversOf(
  name: string,
  title: string,
  command: readonly string[],
  ways: Readonly<Record<string, string>>,
): SdkServer[] {
  return Object.entries(ways).map(([way, speaks]) => ({
    name: `${name}-${way.replaceAll(' ', '-')}`,
    title: `${title}, ${way}`,
    transport: way.startsWith('stdio') ? 'stdio' : 'HTTP',
    speaks,
    command: [...command, ...way.split(' ')],
  }))
}

function clientsOf(
  name: string,
  title: string,
  command: readonly string[],
  eras: readonly Era[],
): SdkClient[] {
  return eras.map((era) => ({ name: `${name}-${era}`, title: `${title}, ${era}`, era, command }))
}

const both: readonly Era[] = ['legacy', 'modern']

function python(major: 1 | 2, version: string): Sdk {
  const name = `python${major}`
  const title = `Python ${version}`
  const cache = cacheOf(name)
  const program = (file: string): string[] => [join(cache, 'bin/python'), join(here, name, file)]
  return {
    name,
    title,
    needs: ['python3', '-c', 'import sys, venv; assert sys.version_info >= (3, 11)'],
    build: [
      ['python3', '-m', 'venv', cache],
      [join(cache, 'bin/pip'), 'install', '--quiet', '--requirement', 'requirements.txt'],
    ],
    servers: serversOf(
      name,
      title,
      program('server.py'),
      major === 1
        ? { stdio: 'legacy', http: 'legacy' }
        : { stdio: 'both', http: 'both', 'http stateless': 'both, its legacy side stateless' },
    ),
    clients: clientsOf(name, title, program('client.py'), major === 1 ? ['legacy'] : both),
  }
}

function typescript(major: 1 | 2, version: string): Sdk {
  const name = `typescript${major}`
  const title = `TypeScript ${version}`
  const program = (file: string): string[] => [
    process.execPath,
    join(here, 'typescript', `${file}${major}.mjs`),
  ]
  return {
    name,
    title,
    needs: ['node', '--version'],
    build: [],
    servers: serversOf(
      name,
      title,
      program('server'),
      major === 1
        ? { stdio: 'legacy', http: 'legacy' }
        : { stdio: 'both', http: 'both, its legacy side stateless' },
    ),
    clients: clientsOf(name, title, program('client'), major === 1 ? ['legacy'] : both),
  }
}

function go(version: string): Sdk {
  const cache = cacheOf('go')
  const title = `Go ${version}`
  const ways = {
    stdio: 'both',
    http: 'legacy',
    'http stateless': 'both, its legacy side stateless',
  }
  return {
    name: 'go',
    title,
    needs: ['go', 'version'],
    build: [['go', 'build', '-o', `${cache}/`, './...']],
    servers: serversOf('go', title, [join(cache, 'server')], ways),
    clients: clientsOf('go', title, [join(cache, 'client')], both),
  }
}

function rust(version: string): Sdk {
  const cache = cacheOf('rust')
  const title = `Rust ${version}`
  const speaks = {
    'stdio both': 'both',
    'stdio legacy': 'legacy',
    'stdio modern': 'modern',
    'http both': 'both',
    'http legacy': 'legacy',
    'http modern': 'modern',
  }
  return {
    name: 'rust',
    title,
    needs: ['cargo', '--version'],
    build: [['cargo', 'build', '--locked', '--quiet', '--target-dir', cache]],
    servers: serversOf('rust', title, [join(cache, 'debug/server')], speaks),
    clients: clientsOf('rust', title, [join(cache, 'debug/client')], both),
  }
}

function java(version: string): Sdk {
  const cache = cacheOf('java')
  const title = `Java ${version}`
  const program = (main: string): string[] => [
    'java',
    '-XX:TieredStopAtLevel=1',
    '-cp',
    `${join(cache, 'classes')}:${join(cache, 'lib/*')}`,
    main,
  ]
  const copy = ['dependency:copy-dependencies', '-DincludeScope=runtime']
  return {
    name: 'java',
    title,
    needs: ['mvn', '--version'],
    build: [
      ['mvn', '-q', '-B', `-Dbuilt=${cache}`, 'compile', ...copy, `-DoutputDirectory=${cache}/lib`],
    ],
    servers: [
      ...serversOf('java', title, program('Server'), { stdio: 'legacy', http: 'legacy' }),
      ...serversOf('java-modern', `${title} modern`, program('ModernServer'), {
        stdio: 'modern',
        http: 'modern',
      }),
    ],
    clients: clientsOf('java', title, program('Client'), both),
  }
}

export const sdks: readonly Sdk[] = [
  typescript(1, '1.32'),
  typescript(2, '2.4'),
  python(1, '1.30'),
  python(2, '2.3'),
  go('1.8'),
  rust('3.11'),
  java('2.2'),
]

/** The file that says that a build went through. */
const doneFile = (name: string): string => join(cacheOf(name), '.done')

/** Gives the reason why the programs of an SDK cannot run; undefined if they can. */
export function missing(sdk: Sdk): string | undefined {
  const [tool = '', ...words] = sdk.needs
  if (spawnSync(tool, words).status !== 0) return `${tool} is not installed, or is too old`
  if (sdk.build.length === 0) return undefined
  return existsSync(doneFile(sdk.name)) ? undefined : 'its programs are not built: run npm run sdks'
}

/** Builds the programs that are not built yet. */
export function build(sdk: Sdk): void {
  if (missing(sdk)?.startsWith('its') !== true) return
  mkdirSync(cacheOf(sdk.name), { recursive: true })
  for (const [command = '', ...words] of sdk.build) {
    const { status } = spawnSync(command, words, { cwd: join(here, sdk.name), stdio: 'inherit' })
    if (status !== 0) throw new Error(`${sdk.name} was not built: ${command} ${words.join(' ')}`)
  }
  writeFileSync(doneFile(sdk.name), '')
}
