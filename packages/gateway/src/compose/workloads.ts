import { privateFiles, privateFolders } from '../config/private-files.ts'
import { accessRules } from '../core/access.ts'
import { startReconciler } from '../reconcile/reconciler.ts'
import { renderWorkload } from '../reconcile/render.ts'
import { builtinImages } from '../runtime/builtin-images.ts'
import { openRuntime } from '../runtime/open.ts'
import type { AppOptions, Composition } from './composition.ts'
import type { State } from './state.ts'

export type Workloads = Awaited<ReturnType<typeof openWorkloads>>

/** Opens the runtime, and the reconciler that makes it match the store. */
export async function openWorkloads(
  { config, log, parts }: Composition,
  { environment }: Pick<AppOptions, 'environment'>,
  { store, secretSources }: State,
) {
  const programs = { ...builtinImages(), ...config.runtime.images }
  const access = accessRules(config.access, {
    development: config.identity.mode === 'development',
    lendsIdentity: config.runtime.kind === 'kubernetes',
    anonymous: config.identity.allowAnonymous,
    imageVariables: Object.fromEntries(
      Object.entries(config.runtime.images).map(([name, { variables }]) => [name, variables]),
    ),
  })

  const runtime = parts.use(
    await openRuntime({
      settings: config.runtime,
      dataDir: config.dataDir,
      privateFiles: privateFiles(config, environment),
      privateFolders: privateFolders(config),
      programs,
      environment,
      log,
    }),
  )

  const reconciler = parts.use(
    startReconciler({
      store,
      runtime,
      render: (resource) => renderWorkload(resource, secretSources, access),
      onClusterSecret: (listener) => secretSources.kubernetes.onChange(listener),
      log,
      resyncMs: 60_000,
      retry: { firstMs: 200, maxMs: 30_000 },
    }),
  )

  return { access, runtime, reconciler }
}
