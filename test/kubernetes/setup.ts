import { projectImages, publishImage } from '../../scripts/images.ts'

/** The folder of each image, and its name in the registry. */
const images = [
  {
    references: ['contract-server:1.0.0', 'contract-failing:1.0.0', 'contract-silent:1.0.0'],
    context: 'packages/gateway/test/fixtures',
    file: 'test/kubernetes/fixtures/contract-server.Dockerfile',
  },
  {
    references: ['echo:1.0.0'],
    context: 'packages/testkit/src',
    file: 'test/kubernetes/fixtures/echo.Dockerfile',
  },
  {
    references: ['postgres:1.1.0'],
    context: 'test/kubernetes/fixtures',
    file: 'test/kubernetes/fixtures/postgres.Dockerfile',
  },
  ...projectImages,
]

/** Builds and pushes the images of the tests. A missing cluster or registry is a failure. */
export async function setup(): Promise<void> {
  const { KUBECONFIG, REGISTRY } = process.env
  if (KUBECONFIG === undefined || REGISTRY === undefined)
    throw new Error(
      'These tests run on a real cluster, which they may disturb: set KUBECONFIG to the ' +
        'kubeconfig of a disposable one (kind, k3d, …), and REGISTRY to a registry ' +
        "that the cluster pulls from and this machine pushes to, for example 'localhost:5000'.",
    )
  for (const image of images) await publishImage(image)
}
