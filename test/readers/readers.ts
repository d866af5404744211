import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { idKey } from '@mcp-gateway/protocol'
import { cacheFolder } from '@mcp-gateway/testkit'

/** The places of the members on which the gateway decides. */
export const decisivePaths = [
  ['id'],
  ['method'],
  ['params', 'name'],
  ['params', 'uri'],
  ['params', 'requestId'],
  ['params', '_meta', 'progressToken'],
]

type Read = (texts: readonly Buffer[]) => Promise<string[]>

export interface Reader {
  readonly name: string
  /** Prepares the reader, or says why it is missing. */
  readonly open: () => Promise<{ readonly read: Read } | { readonly missing: string }>
  /** True if the printed values of the reader are those of the gateway. */
  readonly agrees: (ours: string, theirs: string) => boolean
  /**
   * The reader agrees with the gateway on at least one message in this many. Typed readers refuse
   * most of the hostile ones.
   */
  readonly oneAlikeIn: number
  /**
   * At least one message in this many differs from the gateway's reading, and the gateway refuses
   * it.
   */
  readonly oneRefusedIn: number
}

/** Go's installer does not put Go into `PATH`. */
const environment = {
  ...process.env,
  PATH: `${process.env['PATH'] ?? ''}${delimiter}/usr/local/go/bin`,
  GO111MODULE: 'off',
}
const folder = fileURLToPath(new URL('.', import.meta.url))
const sources = ['readers.ts', 'reader.go', 'java', 'rust'].map((name) => join(folder, name))
const cache = cacheFolder('readers', ...sources)

const run = (command: string, ...args: string[]): Promise<unknown> =>
  promisify(execFile)(command, args, { env: environment, maxBuffer: 2 ** 26 })

/**
 * Gives the reader, if its toolchain is here. `fetch` needs the network, and `build` does not. Both
 * run once for each state of their sources.
 */
async function built(
  toolchain: readonly string[],
  fetch: () => Promise<unknown>,
  build: () => Promise<unknown>,
  command: string,
  ...args: string[]
): ReturnType<Reader['open']> {
  for (const program of toolchain) {
    const isThere = await run(program, program === 'go' ? 'version' : '--version').catch(
      (error: NodeJS.ErrnoException) => error.code !== 'ENOENT',
    )
    if (isThere === false) return { missing: `'${program}' is not installed.` }
  }

  const done = join(cache, `.${toolchain[0]}-done`)
  if (!existsSync(done)) {
    mkdirSync(cache, { recursive: true })
    try {
      await fetch()
    } catch (error) {
      return { missing: `Its packages cannot be fetched: ${String(error).slice(0, 500)}` }
    }
    await build()
    writeFileSync(done, '')
  }
  return { read: (texts) => linesOf(command, args, texts) }
}

/** Gives the printed lines of a program, one for each text. */
function linesOf(
  command: string,
  args: readonly string[],
  texts: readonly Buffer[],
): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { env: environment, stdio: ['pipe', 'pipe', 'ignore'] })
    const chunks: Buffer[] = []
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk))
    child.on('error', reject)
    child.on('close', (code) =>
      code === 0
        ? resolve(Buffer.concat(chunks).toString().split('\n').slice(0, -1))
        : reject(new Error(`${command} ended with exit code ${code}.`)),
    )
    child.stdin.end(texts.map((text) => `${text.toString('base64')}\n`).join(''))
  })
}

const nothing = (): Promise<void> => Promise.resolve()

function rust(reader: string): ReturnType<Reader['open']> {
  const project = ['--locked', '--manifest-path', join(folder, 'rust/Cargo.toml')]
  const target = join(cache, 'rust')
  return built(
    ['cargo'],
    () => run('cargo', 'fetch', ...project),
    () => run('cargo', 'build', '--offline', '--release', '--target-dir', target, ...project),
    join(target, 'release/reader'),
    reader,
  )
}

const copyDependencies = 'org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies'

function java(reader: string): ReturnType<Reader['open']> {
  const target = join(cache, 'java')
  const [libraries, classes] = [join(target, 'lib'), join(target, 'classes')]
  const pom = join(folder, 'java/pom.xml')
  const path = `${libraries}/*${delimiter}${classes}`
  return built(
    ['java', 'javac', 'mvn'],
    async () => {
      rmSync(target, { recursive: true, force: true })
      await run('mvn', '-q', '-B', '-f', pom, `-DoutputDirectory=${libraries}`, copyDependencies)
    },
    () => run('javac', '-cp', path, '-d', classes, join(folder, 'java/Reader.java')),
    'java',
    '-cp',
    path,
    'Reader',
    reader,
  )
}

/**
 * A value in the readers' form: a string as its UTF-16 units, a number as its text, other values by
 * their kind.
 */
export function shown(value: unknown, raw?: string): string {
  if (typeof value === 'number') return `n${raw ?? value}`
  if (typeof value === 'string') return `s${Buffer.from(value, 'utf16le').swap16().toString('hex')}`
  return value === null || typeof value === 'boolean' ? `l${value}` : 'o'
}

/** The decisive values that `JSON.parse` sees. */
function byJsonParse(text: string): string {
  const parsed: unknown = JSON.parse(text)
  return (Array.isArray(parsed) ? parsed : [parsed])
    .map((message: unknown) =>
      decisivePaths
        .map((path) => {
          let value = message
          for (const name of path)
            value = (value as Record<string, unknown> | null | undefined)?.[name]
          return value === undefined ? '' : shown(value)
        })
        .join(),
    )
    .join('|')
}

const exactly = (number: string): string => number
const asDouble = (number: string): string => `${Number(number)}`
/** Prints integers as they are, and all others as doubles. */
const asIntegerOrDouble = (number: string): string =>
  /^-?\d+$/.test(number) ? number : asDouble(number)

/** A reader that refuses little, and prints numbers by `seen`. */
const lenient = (
  seen: (number: string) => string,
  nullIsNothing = false,
): Omit<Reader, 'name' | 'open'> => ({
  agrees: agreement(seen, nullIsNothing),
  oneAlikeIn: 5,
  oneRefusedIn: 100,
})

/** A reader with the types of an official SDK. It takes no batches. */
const typed = {
  agrees: agreement(asIntegerOrDouble),
  oneAlikeIn: 50,
  oneRefusedIn: 10_000,
}

/** Compares numbers by their value; `?` is a value that a reader does not show. */
function agreement(seen: (number: string) => string, nullIsNothing = false): Reader['agrees'] {
  return (ours, theirs) => {
    if (ours === theirs) return true
    const values = ours.split(/[,|]/)
    const others = theirs.split(/[,|]/)
    return (
      values.length === others.length &&
      values.every((value, at) => {
        const other = others[at] as string
        if (other === value || other === '?') return true
        if (nullIsNothing && value === 'lnull') return other === ''
        return (
          value.startsWith('n') &&
          other.startsWith('n') &&
          idKey(seen(value.slice(1))) === idKey(other.slice(1))
        )
      })
    )
  }
}

export const readers: readonly Reader[] = [
  {
    name: 'JSON.parse of JavaScript',
    open: () =>
      Promise.resolve({
        read: (texts) => Promise.resolve(texts.map((text) => byJsonParse(text.toString()))),
      }),
    ...lenient(asDouble),
  },
  {
    name: 'json of Python',
    open: () => built(['python3'], nothing, nothing, 'python3', join(folder, 'reader.py')),
    ...lenient(exactly),
  },
  {
    name: 'encoding/json of Go',
    open: () => {
      const program = join(cache, 'reader-go')
      const build = () => run('go', 'build', '-o', program, join(folder, 'reader.go'))
      return built(['go'], nothing, build, program)
    },
    ...lenient(exactly),
  },
  {
    name: 'serde_json of Rust',
    open: () => rust('serde_json'),
    ...lenient(exactly, true),
    // It refuses members that stand twice.
    oneRefusedIn: 2000,
  },
  { name: 'the official SDK of Rust', open: () => rust('rmcp'), ...typed },
  { name: 'Jackson of Java', open: () => java('jackson'), ...lenient(exactly) },
  { name: 'the official SDK of Java', open: () => java('sdk'), ...typed },
]
