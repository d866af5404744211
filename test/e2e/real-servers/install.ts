import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { cacheFolder } from '@mcp-gateway/testkit'

const run = promisify(execFile)
const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url))
const cache = cacheFolder('real-servers', here('servers.ts'), here('install.ts'))
/** Users of sandboxes run it, and may not enter the home of the user who runs the tests. */
const uvFolder = here('../../../.cache/uv')
const uvVersion = '0.13.9'
const installMs = 300_000

/** The places of installed programs. */
export const binaries = {
  npm: join(cache, 'npm/node_modules/.bin'),
  python: join(cache, 'bin'),
  uv: join(uvFolder, 'bin'),
}

export interface Package {
  readonly package: string
  readonly version: string
  readonly with?: string
}

/**
 * Installs the packages into the user's cache.
 * @returns why one of the sources cannot be used here: no network, no Python
 */
export async function install(
  npm: readonly Package[],
  python: readonly Package[],
): Promise<{ readonly npm: string | undefined; readonly PyPI: string | undefined }> {
  mkdirSync(cache, { recursive: true })
  const [fromNpm, fromPypi] = await Promise.all([
    reasonOf(() => once('npm', () => installNpm(npm))),
    reasonOf(() => installUv().then(() => once('python', () => installPython(python)))),
  ])
  return { npm: fromNpm, PyPI: fromPypi }
}

/** Installs packages unless they are in the cache, whose name changes with their versions. */
async function once(source: string, installing: () => Promise<unknown>): Promise<void> {
  const done = join(cache, `.${source}-done`)
  if (existsSync(done)) return
  await installing()
  writeFileSync(done, '')
}

async function installNpm(packages: readonly Package[]): Promise<void> {
  const names = packages.map(({ package: name, version }) => `${name}@${version}`)
  const flags = ['--no-save', '--no-audit', '--no-fund', '--ignore-scripts']
  await run('npm', ['install', '--prefix', join(cache, 'npm'), ...flags, ...names], {
    timeout: installMs,
  })
}

async function installUv(): Promise<void> {
  if (existsSync(join(binaries.uv, 'uv'))) return
  rmSync(uvFolder, { recursive: true, force: true })
  await run('python3', ['-m', 'venv', uvFolder], { timeout: installMs })
  const words = ['install', '--quiet', `uv==${uvVersion}`]
  await run(join(binaries.uv, 'pip'), words, { timeout: installMs })
}

/** Each package gets an environment of its own, as with `uvx`, because they need different SDKs. */
async function installPython(packages: readonly Package[]): Promise<void> {
  const uv = join(binaries.uv, 'uv')
  const env = {
    ...process.env,
    UV_TOOL_DIR: join(cache, 'tools'),
    UV_TOOL_BIN_DIR: binaries.python,
  }
  for (const { package: name, version, with: other } of packages) {
    const flags = ['--python', 'python3', '--force']
    const beside = other === undefined ? [] : ['--with', other]
    await run(uv, ['tool', 'install', ...flags, ...beside, `${name}==${version}`], {
      env,
      timeout: installMs,
    })
  }
}

async function reasonOf(work: () => Promise<void>): Promise<string | undefined> {
  try {
    await work()
    return undefined
  } catch (error) {
    return `cannot be installed here: ${(error as Error).message.split('\n').slice(0, 3).join(' ')}`
  }
}
