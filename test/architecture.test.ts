import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))

/**
 * The imports that each room of the gateway may have. The planes (`proxy`, `aggregate`, `control`) meet
 * in the store and in `core`, and never import each other. Only an `open.ts` imports its backends,
 * lazily. A stale line fails.
 */
const gatewayTable: Readonly<Record<string, readonly string[]>> = {
  main: ['commands', 'config'],
  commands: [
    'app',
    'audit',
    'compose',
    'config',
    'demo',
    'runtime',
    'secrets',
    'store',
    'telemetry',
    'tool-gateway',
  ],
  app: ['compose', 'config'],
  'tool-gateway': [
    'aggregate',
    'compose',
    'core',
    'http',
    'ingress',
    'servers',
    'tools',
    'upstream',
  ],
  compose: [
    'aggregate',
    'audit',
    'auth',
    'config',
    'control',
    'core',
    'declared',
    'http',
    'ingress',
    'proxy',
    'reconcile',
    'runtime',
    'secrets',
    'servers',
    'store',
    'telemetry',
    'tools',
    'upstream',
  ],
  demo: [],
  config: ['core'],
  core: [],
  crypto: [],
  audit: ['config', 'core', 'http', 'telemetry'],
  auth: ['config', 'core', 'store', 'telemetry'],
  http: ['core'],
  control: ['audit', 'core', 'http', 'runtime', 'secrets', 'store'],
  ingress: ['audit', 'core', 'crypto', 'http', 'telemetry'],
  upstream: ['core', 'crypto'],
  servers: ['config', 'core', 'ingress', 'store', 'upstream'],
  proxy: ['config', 'core', 'ingress', 'servers', 'upstream'],
  tools: ['audit', 'config', 'core', 'crypto', 'ingress', 'store', 'telemetry', 'upstream'],
  aggregate: [
    'audit',
    'config',
    'core',
    'crypto',
    'ingress',
    'servers',
    'store',
    'telemetry',
    'tools',
  ],
  declared: ['config', 'control', 'core', 'reconcile', 'runtime', 'telemetry'],
  reconcile: ['core', 'runtime', 'secrets', 'store', 'telemetry'],
  runtime: ['config', 'core', 'telemetry'],
  secrets: ['core', 'crypto', 'store'],
  store: ['core', 'crypto'],
  telemetry: [],
}

/**
 * The rooms of `aggregate` that each of them may import. Their parts come together beside them, in
 * the files of `aggregate` itself.
 */
const aggregateTable: Readonly<Record<string, readonly string[]>> = {
  names: [],
  lists: [],
  catalogue: ['lists', 'names'],
  members: ['catalogue', 'lists', 'names'],
  calls: ['catalogue', 'members', 'names'],
  server: ['calls', 'catalogue', 'lists', 'members', 'names'],
  search: ['calls', 'catalogue', 'members', 'names', 'server'],
  front: ['members'],
}

const packageTable: Readonly<Record<string, readonly string[]>> = {
  contract: [],
  protocol: [],
  'mcp-http': ['protocol'],
  warden: [],
  bridge: ['mcp-http', 'protocol', 'warden'],
  declared: [],
  gateway: ['contract', 'declared', 'mcp-http', 'protocol', 'warden'],
}

/**
 * The readers of the wall clock, with their reasons. All other code measures by `monotonicNow`,
 * which never jumps.
 */
const wallClockTable: Readonly<Record<string, string>> = {
  'gateway/src/compose/composition.ts':
    'tokens, keys, sealed ids, signatures and records carry a time',
  'gateway/src/audit/file-sink.ts': 'the name of a damaged file',
  'gateway/src/runtime/process/running-workload.ts': 'the status shows when a condition changed',
  'gateway/src/runtime/process/replica/replica-process.ts': 'the status has the times of starts',
  'gateway/src/runtime/process/replica/output.ts': 'each line of a log has a time',
  'gateway/src/runtime/kubernetes/announce.ts': 'an Event has a time',
  'gateway/src/runtime/kubernetes/lease.ts': 'the Lease shows when it was renewed',
}

/** The part of a package.json that lists the packages which its files may import. */
interface Manifest {
  readonly dependencies?: Readonly<Record<string, string>>
  readonly devDependencies?: Readonly<Record<string, string>>
}

interface Import {
  readonly file: string
  readonly specifier: string
}

function sourceFiles(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter(
      (entry) => entry.isFile() && entry.name.endsWith('.ts') && !entry.name.endsWith('.test.ts'),
    )
    .map((entry) => join(entry.parentPath, entry.name))
}

function importsOf(file: string): Import[] {
  const text = readFileSync(file, 'utf8')
  return [...text.matchAll(/(?:from\s+|import\s*\(?\s*)'([^']+)'/g)].map((match) => ({
    file,
    specifier: match[1] ?? '',
  }))
}

/** Gives the files of one circle of imports, or none. */
function circleIn(graph: ReadonlyMap<string, readonly string[]>): readonly string[] {
  const done = new Set<string>()
  const visit = (file: string, path: readonly string[]): readonly string[] => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file]
    if (done.has(file)) return []

    for (const imported of graph.get(file) ?? []) {
      const circle = visit(imported, [...path, file])
      if (circle.length > 0) return circle
    }
    done.add(file)
    return []
  }
  for (const file of graph.keys()) {
    const circle = visit(file, [])
    if (circle.length > 0) return circle
  }
  return []
}

function withoutComments(text: string): string {
  return text.replaceAll(/\/\*[^]*?\*\/|^\s*\/\/.*$/gm, '')
}

const gatewaySource = join(root, 'packages/gateway/src')
const roomOf = (file: string): string =>
  relative(gatewaySource, file).split(sep)[0]?.replace(/\.ts$/, '') ?? ''

describe('the architecture', () => {
  const edges = new Map<string, Set<string>>()
  for (const { file, specifier } of sourceFiles(gatewaySource).flatMap(importsOf)) {
    if (!specifier.startsWith('.')) continue
    const from = roomOf(file)
    const to = roomOf(join(dirname(file), specifier))
    if (to === from || to === '..' || to === 'lib') continue
    edges.set(from, (edges.get(from) ?? new Set()).add(to))
  }

  test('each room imports only what its line of the table allows', () => {
    const surplus = [...edges].flatMap(([from, targets]) =>
      [...targets].filter((to) => !gatewayTable[from]?.includes(to)).map((to) => `${from} → ${to}`),
    )
    expect(surplus).toEqual([])
  })

  test('no line of the table is stale', () => {
    const stale = Object.entries(gatewayTable).flatMap(([from, targets]) =>
      targets.filter((to) => !edges.get(from)?.has(to)).map((to) => `${from} → ${to}`),
    )
    expect(stale).toEqual([])
  })

  test('the rooms of aggregate import what their table has, and nothing else', () => {
    const folder = join(gatewaySource, 'aggregate')
    const innerRoom = (file: string): string => relative(folder, file).split(sep)[0] ?? ''
    const found = Object.keys(aggregateTable).map((room) => {
      const targets = sourceFiles(join(folder, room))
        .flatMap(importsOf)
        .filter(({ specifier }) => specifier.startsWith('.'))
        .map(({ file, specifier }) => join(dirname(file), specifier))
        .filter((target) => target.startsWith(folder) && innerRoom(target) !== room)
      return [room, [...new Set(targets.map(innerRoom))].toSorted()]
    })
    expect(Object.fromEntries(found)).toEqual(aggregateTable)

    const folders = readdirSync(folder, { withFileTypes: true }).filter((each) =>
      each.isDirectory(),
    )
    expect(folders.map(({ name }) => name).toSorted()).toEqual(
      Object.keys(aggregateTable).toSorted(),
    )
  })

  test('no file imports itself by way of others, types included', () => {
    for (const name of readdirSync(join(root, 'packages'))) {
      const files = sourceFiles(join(root, 'packages', name, 'src'))
      const graph = new Map(
        files.map((file) => [
          file,
          importsOf(file)
            .filter(({ specifier }) => specifier.startsWith('.'))
            .map(({ specifier }) => join(dirname(file), specifier)),
        ]),
      )
      expect(circleIn(graph).map((file) => relative(root, file))).toEqual([])
    }
  })

  test('mechanisms in lib know nothing of the rest', () => {
    const foreign = sourceFiles(join(gatewaySource, 'lib'))
      .flatMap(importsOf)
      .filter(({ file, specifier }) =>
        specifier.startsWith('.')
          ? roomOf(join(dirname(file), specifier)) !== 'lib'
          : specifier.startsWith('@mcp-gateway/'),
      )
    expect(foreign).toEqual([])
  })

  test('a package imports only the packages that its line of the table allows', () => {
    for (const [name, allowed] of Object.entries(packageTable)) {
      const used = sourceFiles(join(root, 'packages', name, 'src'))
        .flatMap(importsOf)
        .flatMap(({ specifier }) => /^@mcp-gateway\/([^/]+)/.exec(specifier)?.[1] ?? [])
      expect([...new Set(used)].filter((used) => !allowed.includes(used) && used !== name)).toEqual(
        [],
      )
    }
  })

  test('no built file imports a package that only tests need', () => {
    const foreign = Object.keys(packageTable).flatMap((name) => {
      const folder = join(root, 'packages', name)
      const own = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest
      const declared = Object.keys({ ...own.dependencies, ...own.devDependencies })

      return sourceFiles(join(folder, 'src'))
        .flatMap(importsOf)
        .filter(({ specifier }) => /^(?!node:)@?\w/.test(specifier))
        .filter(({ specifier }) => !declared.some((each) => `${specifier}/`.startsWith(`${each}/`)))
    })
    expect(foreign).toEqual([])
  })

  test('protocol does no I/O', () => {
    const io = sourceFiles(join(root, 'packages/protocol/src'))
      .flatMap(importsOf)
      .filter(({ specifier }) => !specifier.startsWith('.'))
    expect(io).toEqual([])
  })

  test('only main.ts reads the environment of the gateway', () => {
    const readers = sourceFiles(gatewaySource).filter((file) =>
      /process\.env\b/.test(readFileSync(file, 'utf8')),
    )
    expect(readers.map((file) => relative(gatewaySource, file))).toEqual(['main.ts'])
  })

  test('a timeout is joined with other signals where it is kept from being collected', () => {
    const joining = sourceFiles(gatewaySource).filter((file) =>
      /AbortSignal\.any\([^\n]*timeout/i.test(readFileSync(file, 'utf8')),
    )
    expect(joining.map((file) => relative(gatewaySource, file))).toEqual([
      join('lib', 'async', 'timeout-signal.ts'),
    ])
  })

  // V8 gives each such object a hidden class of its own, which keeps it alive until a full
  // collection.
  test('no object that lives for one request in the gateway has a getter in its literal', () => {
    const literal = sourceFiles(gatewaySource).filter((file) =>
      /^ {4,}get \w+\(\)/m.test(readFileSync(file, 'utf8')),
    )
    expect(literal.map((file) => relative(gatewaySource, file))).toEqual([])
  })

  test('the monotonic clock measures, and the table has who reads the wall clock', () => {
    const readers = Object.keys(packageTable).flatMap((name) =>
      sourceFiles(join(root, 'packages', name, 'src')).filter((file) =>
        /\bDate\.now\b|new Date\(\)/.test(withoutComments(readFileSync(file, 'utf8'))),
      ),
    )
    expect(
      readers.map((file) => relative(join(root, 'packages'), file).replaceAll(sep, '/')).sort(),
    ).toEqual(Object.keys(wallClockTable).sort())
  })
})
