import type { KubernetesConfig } from '../../config/kubernetes.ts'
import { KubernetesApi, KubernetesError } from './api/api.ts'

/**
 * Creates a Secret, and needs only the right to create. Returns false, and changes nothing, when
 * the name is taken. @throws KubernetesError
 */
export async function createSecret(
  settings: KubernetesConfig,
  name: string,
  stringData: Readonly<Record<string, string>>,
): Promise<boolean> {
  await using api = await KubernetesApi.open(settings)
  const metadata = { name, labels: { 'app.kubernetes.io/part-of': 'mcp-gateway' } }
  const body = { apiVersion: 'v1', kind: 'Secret', metadata, stringData }

  try {
    await api.json(
      'POST',
      `/api/v1/namespaces/${settings.namespace}/secrets`,
      AbortSignal.timeout(30_000),
      { body },
    )

    return true
  } catch (error) {
    if (error instanceof KubernetesError && error.reason === 'AlreadyExists') return false
    throw error
  }
}
