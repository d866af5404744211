// npm run images [-- NAME ...]: builds the project's images, or those that are named, and pushes
// them to REGISTRY (localhost:5000), by docker, podman or buildah; IMAGE_ENGINE chooses.
import { execFile, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)
const root = fileURLToPath(new URL('..', import.meta.url))
const registry = process.env['REGISTRY'] ?? 'localhost:5000'
const { version } = JSON.parse(readFileSync(`${root}/package.json`, 'utf8')) as { version: string }

export interface Image {
  /** Its names in the registry: one or several `name:tag`. */
  readonly references: readonly string[]
  readonly context: string
  readonly file: string
  readonly target?: string
}

const ours = (name: string, ...tags: string[]): Image => ({
  references: tags.map((tag) => `${name}:${tag}`),
  context: '.',
  file: 'deploy/Dockerfile',
  target: name,
})
const sample = (reference: string, context: string): Image => ({
  references: [reference],
  context,
  file: `${context}/Dockerfile`,
})

/** The images that the manifests and the documents deploy. */
export const projectImages: readonly Image[] = [
  ours('mcp-gateway', 'latest', version),
  ours('tool-gateway', 'latest', version),
  ours('mcp-proxy', '1.0.0'),
  sample('mcp-example:1.0.0', 'samples/mcp-example'),
  sample('weather-tool:1.0.0', 'samples/tool-example'),
]

/**
 * The images of the given names; all of them without names. @throws Error for a name that is none
 */
export function imagesNamed(names: readonly string[]): readonly Image[] {
  const known = new Map(projectImages.map((image) => [nameOf(image), image]))
  const chosen = names.map((name) => {
    const image = known.get(name)
    if (image === undefined)
      throw new Error(`There is no image '${name}'. There are: ${[...known.keys()].join(', ')}.`)
    return image
  })
  return chosen.length === 0 ? projectImages : chosen
}

function nameOf({ references: [first = ''] }: Image): string {
  return first.slice(0, first.indexOf(':'))
}

/**
 * Builds an image and pushes it by all its references. With `shows` the engine writes to this
 * terminal. @throws Error with what the engine said
 */
export async function publishImage(
  { references, context, file, target }: Image,
  shows = false,
): Promise<void> {
  const [first = '', ...others] = references
  const engine = await imageEngine()
  // From the same files comes the same image, whenever it is built.
  const same =
    engine === 'docker' ? ['--build-arg', 'SOURCE_DATE_EPOCH=0'] : ['--layers', '--timestamp', '0']
  const part = target === undefined ? [] : ['--target', target]
  const labels = Object.entries(await versionLabels()).flatMap(([name, value]) => [
    '--label',
    `org.opencontainers.image.${name}=${value}`,
  ])
  const options = [...same, ...part, ...labels, '-t', `${registry}/${first}`, '-f', file]
  const words = ['build', ...options, context]

  if (shows) await shown(engine, words)
  else await run(engine, words, { cwd: root, maxBuffer: 2 ** 28 })
  await push(engine, first)
  for (const other of others) await pushAs(first, other)
}

/** Runs a command whose output goes to standard error, so that its progress is seen. */
async function shown(command: string, words: readonly string[]): Promise<void> {
  const child = spawn(command, words, { cwd: root, stdio: ['ignore', 2, 2] })
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  if (code !== 0) throw new Error(`'${command} ${words.join(' ')}' ended with code ${code}.`)
}

/** Pushes an image that was built here by another reference. */
export async function pushAs(built: string, reference: string): Promise<void> {
  const engine = await imageEngine()
  await run(engine, ['tag', `${registry}/${built}`, `${registry}/${reference}`])
  await push(engine, reference)
}

async function push(engine: string, reference: string): Promise<void> {
  const local = /^(localhost|127\.|\[::1\])/.test(registry)
  await run(engine, [
    ...(engine === 'docker' || !local ? ['push'] : ['push', '--tls-verify=false']),
    `${registry}/${reference}`,
  ])
}

async function versionLabels(): Promise<Record<string, string>> {
  const revision = await run('git', ['rev-parse', 'HEAD'], { cwd: root }).then(
    ({ stdout }) => ({ revision: stdout.trim() }),
    () => ({}),
  )
  return { version, ...revision }
}

/** Whatever builds images here; IMAGE_ENGINE chooses. */
async function imageEngine(): Promise<string> {
  const candidates =
    process.env['IMAGE_ENGINE'] === undefined
      ? ['docker', 'podman', 'buildah']
      : [process.env['IMAGE_ENGINE']]
  for (const engine of candidates) {
    const works = await run(engine, [engine === 'buildah' ? 'version' : 'info']).then(
      () => true,
      () => false,
    )
    if (works) return engine
  }
  throw new Error(`No program that builds images works here (${candidates.join(', ')}).`)
}

async function publishNamed(names: readonly string[]): Promise<void> {
  const images = imagesNamed(names)
  for (const [index, image] of images.entries()) {
    const begun = performance.now()
    console.error(`\n[${index + 1}/${images.length}] ${nameOf(image)}: building`)
    await publishImage(image, true)
    const seconds = Math.round((performance.now() - begun) / 1000)
    console.error(`[${index + 1}/${images.length}] ${nameOf(image)}: pushed after ${seconds} s`)
    for (const reference of image.references) console.log(`${registry}/${reference}`)
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  await publishNamed(process.argv.slice(2)).catch((error: unknown) => {
    console.error((error as Error).message)
    process.exitCode = 1
  })
