import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../..', import.meta.url))

/** Where each image is built, and what it is called in the registry. */
const images = [
  {
    names: ['contract-server', 'contract-failing', 'contract-silent'],
    context: 'packages/gateway/test/fixtures',
    file: 'test/kubernetes/fixtures/contract-server.Dockerfile',
  },
  { names: ['mcp-example'], context: 'samples/mcp-example', file: 'samples/mcp-example/Dockerfile' },
]

/** Builds and pushes the images of the tests. Without a cluster and a registry there is nothing to test on, which is a failure. */
export async function setup(): Promise<void> {
  const { KUBECONFIG, REGISTRY } = process.env
  if (KUBECONFIG === undefined || REGISTRY === undefined)
    throw new Error(
      'These tests run on a real cluster, which they may disturb: set KUBECONFIG to the kubeconfig of a disposable one (kind, k3d, …), and REGISTRY to a registry ' +
        "that the cluster pulls from and this machine pushes to, for example 'localhost:5000'.",
    )
  const engine = await imageEngine()
  const local = /^(localhost|127\.|\[::1\])/.test(REGISTRY)
  const push = engine === 'docker' || !local ? ['push'] : ['push', '--tls-verify=false']
  for (const { names, context, file } of images) {
    const [first = '', ...others] = names.map((name) => `${REGISTRY}/${name}:1.0.0`)
    await run(engine, ['build', '-t', first, '-f', file, context], { cwd: root, maxBuffer: 2 ** 26 })
    for (const other of others) await run(engine, ['tag', first, other])
    for (const reference of [first, ...others]) await run(engine, [...push, reference])
  }
}

/** Whatever builds images here; IMAGE_ENGINE chooses. */
async function imageEngine(): Promise<string> {
  const candidates = process.env['IMAGE_ENGINE'] === undefined ? ['docker', 'podman', 'buildah'] : [process.env['IMAGE_ENGINE']]
  for (const engine of candidates) {
    const works = await run(engine, [engine === 'buildah' ? 'version' : 'info']).then(
      () => true,
      () => false,
    )
    if (works) return engine
  }
  throw new Error(`No program that builds images works here (${candidates.join(', ')}).`)
}
