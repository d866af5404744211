import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)
const cache = fileURLToPath(new URL('../../../.cache/real-servers', import.meta.url))
const uvVersion = '0.13.9'
const installMs = 300_000

/** The places of installed programs. */
export const binaries = {
  npm: join(cache, 'npm/node_modules/.bin'),
  python: join(cache, 'bin'),
  uv: join(cache, 'uv/bin'),
}

export interface Package {
  readonly package: string
  readonly version: string
  readonly with?: string
}

/**
 * Installs the packages into a cache that git ignores.
 * @returns why one of the sources cannot be used here: no network, no Python
 */
export async function install(
  npm: readonly Package[],
  python: readonly Package[],
): Promise<{ readonly npm: string | undefined; readonly PyPI: string | undefined }> {
  mkdirSync(cache, { recursive: true })
  const [fromNpm, fromPypi] = await Promise.all([
    reasonOf(() => once('npm', npm, () => installNpm(npm))),
    reasonOf(() => once('python', python, () => installPython(python))),
  ])
  return { npm: fromNpm, PyPI: fromPypi }
}

/** Installs the packages unless these very versions are there. */
async function once(
  what: string,
  packages: readonly Package[],
  installing: () => Promise<unknown>,
): Promise<void> {
  const names = packages
    .map(({ package: name, version, with: other = '' }) => `${name}@${version}${other}`)
    .join(' ')
  const digest = createHash('sha256').update(names).digest('hex').slice(0, 16)
  const done = join(cache, `${what}-${digest}`)
  if (existsSync(done)) return
  await installing()
  writeFileSync(done, names)
}

async function installNpm(packages: readonly Package[]): Promise<void> {
  const names = packages.map(({ package: name, version }) => `${name}@${version}`)
  const flags = ['--no-save', '--no-audit', '--no-fund', '--ignore-scripts']
  await run('npm', ['install', '--prefix', join(cache, 'npm'), ...flags, ...names], {
    timeout: installMs,
  })
}

/** Each package gets an environment of its own, as with `uvx`, because they need different SDKs. */
async function installPython(packages: readonly Package[]): Promise<void> {
  const venv = join(cache, 'uv')
  const uv = join(venv, 'bin/uv')
  if (!existsSync(uv)) {
    rmSync(venv, { recursive: true, force: true })
    await run('python3', ['-m', 'venv', venv], { timeout: installMs })
    await run(join(venv, 'bin/pip'), ['install', '--quiet', `uv==${uvVersion}`], {
      timeout: installMs,
    })
  }
  const env = {
    ...process.env,
    UV_TOOL_DIR: join(cache, 'tools'),
    UV_TOOL_BIN_DIR: binaries.python,
  }
  for (const { package: name, version, with: other } of packages) {
    const flags = ['--python', join(venv, 'bin/python'), '--force']
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
