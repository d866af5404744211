import { delimiter, dirname, join, resolve } from 'node:path'
import { parsePostgresUrl } from '../lib/postgres-url.ts'
import type { Config } from './config.ts'
import { credentialFiles, linkedFiles } from './secret-paths.ts'

type Environment = Readonly<Record<string, string | undefined>>

/** The token of a pod's account. A pod need not keep it in `/run`, which sandboxes hide. */
const podAccount = '/var/run/secrets/kubernetes.io/serviceaccount'

/** SQLite keeps recent changes in files beside its own. */
const besideDatabase = ['', '-wal', '-shm', '-journal']

/**
 * Lists every file and folder outside the data folder from which the gateway may read secrets: all
 * that the configuration names, the files that these name, and the files to which links lead.
 */
export function privateFiles(config: Config, environment: Environment): string[] {
  const { dataDir, store, secrets, audit, declared } = config
  const kubeconfigs = kubeconfigsOf(config, environment)
  const folders = [
    ...Object.values(secrets.files).map(({ path }) => path),
    ...Object.values(declared).map(({ folder }) => folder),
  ]

  const named = [
    // The configuration itself may hold keys.
    environment['MCPGW_CONFIG'] ?? 'mcp-gateway.yaml',
    ...databaseFiles(store, environment),
    ...kubeconfigs,
    ...kubeconfigs.flatMap((path) => credentialFiles(path)),
    podAccount,
    ...folders,
    ...folders.flatMap((folder) => linkedFiles(folder)),
    ...linkedFiles(dataDir).flatMap((file) => besideDatabase.map((end) => `${file}${end}`)),
    // Listed besides its folder, because the path may be a link to another folder.
    ...(audit.sinks ?? []).map((sink) => (sink.type === 'file' ? sink.path : undefined)),
  ]

  return [...new Set(named.flatMap((path) => (path === undefined ? [] : [resolve(path)])))]
}

/** Secrets of a cluster (`secrets.kubernetes`) need a kubeconfig with every runtime. */
function kubeconfigsOf({ runtime }: Config, { KUBECONFIG, HOME }: Environment): string[] {
  return [
    runtime.kubernetes.kubeconfig,
    ...(KUBECONFIG?.split(delimiter) ?? []),
    HOME === undefined ? undefined : join(HOME, '.kube', 'config'),
  ].flatMap((path) => (path === undefined || path === '' ? [] : [resolve(path)]))
}

/** The files that the connection to a database needs. */
function databaseFiles(
  { url, passwordFile }: Config['store'],
  { PGPASSFILE, HOME = '' }: Environment,
): (string | undefined)[] {
  if (url === undefined) return [PGPASSFILE]
  const { host, key, certificate } = parsePostgresUrl(url)
  // The database knows the gateway by its user, so a server could be the gateway at the socket.
  const socket = host.startsWith('/') ? host : undefined
  return [PGPASSFILE, join(HOME, '.pgpass'), passwordFile, key, certificate, socket]
}

/**
 * Lists the folders of audit logs. A full log gets another name, so the whole folder is private.
 */
export function privateFolders({ audit }: Pick<Config, 'audit'>): string[] {
  return (audit.sinks ?? []).flatMap((sink) =>
    sink.type === 'file' && sink.path !== undefined ? [dirname(resolve(sink.path))] : [],
  )
}
