// npm run bundle [PACKAGE …]: writes packages/*/bundle, which `npm pack` and the images ship.
import { copyFileSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { builtinModules, createRequire } from 'node:module'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build, type BuildOptions, type Metafile, type Plugin } from 'esbuild'

const root = fileURLToPath(new URL('..', import.meta.url))

/** The files of each package that ships. Threads and child processes need files of their own. */
const programs: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  bridge: { 'mcp-bridge': 'packages/bridge/src/main.ts' },
  gateway: {
    'mcp-gateway': 'packages/gateway/src/main.ts',
    'schema-worker': 'packages/gateway/src/lib/json/schema-worker.ts',
    'openapi-worker': 'packages/gateway/src/control/tool-import/openapi/openapi-worker.ts',
    'mcp-bridge': 'packages/bridge/src/main.ts',
    'mcp-example': 'samples/mcp-example/src/main.ts',
    'weather-tool': 'samples/tool-example/src/main.ts',
  },
}

/** Large packages that few installations need, each imported dynamically. Each gets a file. */
const readWhenUsed: Readonly<Record<string, string>> = { '@kubernetes/client-node': 'kubernetes' }

/** Packages import these where they are installed, and do without them elsewhere. */
const optional = ['bufferutil', 'encoding', 'pg-native', 'supports-color', 'utf-8-validate']

/**
 * Fastify loads these for routes with JSON Schemas and for tests, of which the gateway has none.
 */
const neverLoaded = [
  '@fastify/ajv-compiler',
  '@fastify/fast-json-stringify-compiler',
  'light-my-request',
]

/** The gateway speaks English. The other languages of zod are a tenth of it. */
const englishAlone: Plugin = {
  name: 'english-alone',
  setup(building) {
    building.onLoad({ filter: /\/zod\/v4\/locales\/index\.js$/ }, ({ path }) => ({
      contents: "export { default as en } from './en.js'",
      resolveDir: dirname(path),
    }))
  },
}

type Output = Metafile['outputs'][string]

const common: BuildOptions = {
  absWorkingDir: root,
  bundle: true,
  platform: 'node',
  target: 'node20.19',
  format: 'esm',
  conditions: ['mcpgw-source'],
  // Names stay, so that errors and stack traces can be read.
  minifyWhitespace: true,
  minifySyntax: true,
  sourcemap: 'external',
  legalComments: 'none',
  metafile: true,
  logLevel: 'warning',
  // CommonJS packages call `require` for modules of Node.js.
  banner: {
    js:
      "import { createRequire as createRequireOf } from 'node:module'; " +
      'const require = createRequireOf(import.meta.url);',
  },
}

interface Manifest {
  readonly version: string
  readonly license?: string
  readonly dependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
}

const read = <Json>(file: string): Json =>
  JSON.parse(readFileSync(join(root, file), 'utf8')) as Json

/**
 * Writes the bundle of one package of the workspace, with the licences of all that went into it.
 */
async function bundle(name: string): Promise<void> {
  const entryPoints = programs[name]
  if (entryPoints === undefined)
    throw new Error(`'${name}' ships no program. Known are ${Object.keys(programs).join(', ')}.`)

  const folder = `packages/${name}`
  const outdir = `${folder}/bundle`
  const { dependencies = {} } = read<Manifest>(`${folder}/package.json`)
  const external = [...Object.keys(dependencies), ...optional, ...neverLoaded]
  const options = { ...common, outdir, external }

  rmSync(join(root, outdir), { recursive: true, force: true })

  const used = new Set<string>()
  const main = await build({
    ...options,
    entryPoints: { ...entryPoints },
    plugins: [apart(used), englishAlone],
  })
  const others = Object.fromEntries([...used].map((each) => [readWhenUsed[each] ?? each, each]))
  const rest = await build({ ...options, entryPoints: others })

  const outputs = [main, rest].flatMap(({ metafile }) => Object.values(metafile?.outputs ?? {}))
  refuseUnshipped(outputs, Object.keys(dependencies))
  const packed = packagesIn(outputs)
  writeFileSync(join(root, outdir, 'LICENSES.txt'), licencesOf(packed))

  const beside = [...installedWith(Object.keys(dependencies), folder)]
  const bundled = { packages: lockOf([...packed, ...beside]), beside }
  writeFileSync(join(root, outdir, 'bundled.json'), `${JSON.stringify(bundled, null, 1)}\n`)
  copyFileSync(join(root, 'LICENSE'), join(root, folder, 'LICENSE'))
}

/** Leads imports of what is read when used to its own file, and notes that there has to be one. */
function apart(used: Set<string>): Plugin {
  return {
    name: 'apart',
    setup(building) {
      building.onResolve({ filter: /^[^./]/ }, ({ path }) => {
        const file = readWhenUsed[path]
        if (file === undefined) return undefined

        used.add(path)
        return { path: `./${file}.js`, external: true }
      })
    },
  }
}

/** @throws Error when a file imports what neither its package nor Node.js brings along */
function refuseUnshipped(outputs: readonly Output[], dependencies: readonly string[]): void {
  const shipped = [...dependencies, ...Object.values(readWhenUsed).map((file) => `./${file}.js`)]
  const known = new Set([...shipped, ...optional, ...neverLoaded, ...builtinModules])
  const missing = outputs
    .flatMap(({ imports }) => imports.filter(({ external }) => external === true))
    .map(({ path }) => path)
    .filter((path) => !path.startsWith('node:') && !known.has(path))

  if (missing.length > 0)
    throw new Error(
      `The bundle imports ${missing.join(', ')}, which is not installed with it. ` +
        `Add it to 'dependencies'.`,
    )
}

/** The folders of the packages of npm that are part of what was built. */
function packagesIn(outputs: readonly Output[]): string[] {
  const files = outputs.flatMap(({ inputs }) => Object.keys(inputs))
  const folders = files.flatMap(
    (file) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(file)?.[0] ?? [],
  )

  return [...new Set(folders)].toSorted()
}

/** Most licences ask that their text goes with each copy. */
function licencesOf(folders: readonly string[]): string {
  const sections = folders.map((folder) => {
    const { version, license } = read<Manifest>(`${folder}/package.json`)
    const texts = readdirSync(join(root, folder))
      .filter((file) => /^(licen[cs]e|notice|copying)/i.test(file))
      .filter((file) => !/\.[cm]?[jt]s$/.test(file))
      .map((file) => readFileSync(join(root, folder, file), 'utf8').trim())
    const title = `${nameOf(folder)} ${version} (${license ?? 'see below'})`

    return [title, '='.repeat(title.length), ...texts].join('\n\n')
  })

  return `These packages are part of the programs beside this file.\n\n${sections.join('\n\n\n')}\n`
}

/** The folders of dependencies and of theirs, but for those that are not for this machine. */
function installedWith(names: readonly string[], from: string, found = new Set<string>()) {
  const places = createRequire(join(root, from, 'package.json')).resolve
  for (const name of names) {
    const place = places.paths(name)?.find((folder) => existsSync(join(folder, name)))
    const folder = place === undefined ? undefined : relative(root, join(place, name))
    if (folder === undefined || found.has(folder)) continue

    found.add(folder)
    const { dependencies, optionalDependencies } = read<Manifest>(`${folder}/package.json`)
    installedWith(Object.keys({ ...dependencies, ...optionalDependencies }), folder, found)
  }

  return found
}

/** Their lines of the lock file, from which the images' bill of materials is made. */
function lockOf(folders: readonly string[]): object {
  const { packages } = read<{ packages: Readonly<Record<string, object>> }>('package-lock.json')

  return Object.fromEntries(folders.map((folder) => [folder, packages[folder]]))
}

function nameOf(folder: string): string {
  return folder.slice(folder.lastIndexOf('node_modules/') + 'node_modules/'.length)
}

const chosen = process.argv.slice(2)
for (const name of chosen.length === 0 ? Object.keys(programs) : chosen) await bundle(name)
