import { delimiter, dirname, resolve } from 'node:path'
import type { Config } from './config.ts'

/**
 * Lists every file and folder outside the data folder that a configuration names and that may hold
 * secrets.
 */
export function privateFiles(
  { store, secrets, audit, declared, runtime }: Config,
  environment: Readonly<Record<string, string | undefined>>,
): string[] {
  const named = [
    // The configuration itself may hold keys.
    environment['MCPGW_CONFIG'] ?? 'mcp-gateway.yaml',
    environment['PGPASSFILE'],
    store.passwordFile,
    // Secrets of a cluster (`secrets.kubernetes`) need a kubeconfig with every runtime.
    runtime.kubernetes.kubeconfig,
    ...(environment['KUBECONFIG']?.split(delimiter).filter((path) => path !== '') ?? []),
    ...Object.values(secrets.files).map(({ path }) => path),
    ...Object.values(declared).map(({ folder }) => folder),
    // Listed besides its folder, because the path may be a link to another folder.
    ...(audit.sinks ?? []).map((sink) => (sink.type === 'file' ? sink.path : undefined)),
  ]
  return named.flatMap((path) => (path === undefined ? [] : [resolve(path)]))
}

/**
 * Lists the folders of audit logs. A full log gets another name, so the whole folder is private.
 */
export function privateFolders({ audit }: Pick<Config, 'audit'>): string[] {
  return (audit.sinks ?? []).flatMap((sink) =>
    sink.type === 'file' && sink.path !== undefined ? [dirname(resolve(sink.path))] : [],
  )
}
