import { loadSessionKeys } from '../ingress/session-keys.ts'
import { openClusterSecrets } from '../runtime/open-cluster-secrets.ts'
import { ClusterSource } from '../secrets/cluster-source.ts'
import { fileSource } from '../secrets/file-source.ts'
import { openSealedStore } from '../secrets/sealed-store.ts'
import { storeSource } from '../secrets/store-source.ts'
import type { Renewal } from '../store/sealed.ts'
import type { Log } from '../telemetry/log.ts'
import type { AppOptions, Composition } from './composition.ts'

export type State = Awaited<ReturnType<typeof openState>>

/** Opens everything that outlives the process: the store, the sources of secrets, and the keys. */
export async function openState(
  { config, log, parts }: Composition,
  { signal }: Pick<AppOptions, 'signal'>,
) {
  const { dataDir } = config
  const store = parts.use(
    await openSealedStore({
      dataDir,
      settings: config.store,
      signal,
      keys: config.secrets.keys,
      report: storeReport(log),
    }),
  )

  const { files, kubernetes: opened } = config.secrets
  const clusterSecrets = parts.use(
    await openClusterSecrets({ opened, settings: config.runtime.kubernetes, log }),
  )
  const secretSources = {
    store: storeSource(store.secrets),
    file: fileSource(files),
    kubernetes: new ClusterSource(opened, clusterSecrets),
  }

  logRenewal(await store.renewSeals(), log)
  const keys = await loadSessionKeys({ dataDir, configured: config.sessions.keys })
  const followFailed = (error: unknown): void =>
    log.error({ err: error }, 'following the store failed, trying again')
  return { store, secretSources, keys, followFailed }
}

function storeReport(log: Log): (problem: Error | undefined) => void {
  return (problem) => {
    if (problem === undefined) log.info('the database answers again')
    else log.error({ err: problem }, 'the database does not answer; trying again')
  }
}

function logRenewal({ renewed, unreadable }: Renewal, log: Log): void {
  if (renewed > 0) log.info({ resources: renewed }, 'stored secrets were sealed with the first key')
  if (unreadable.length > 0)
    log.error({ resources: unreadable }, 'stored secrets cannot be decrypted; see docs/secrets.md')
}
