import { delimiter, dirname, resolve } from 'node:path'
import type { Config } from './config.ts'

/**
 * Every file and folder that a configuration names, besides the data folder, and that may hold
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
    // Secrets of a cluster need one with every runtime. (`secrets.kubernetes`)
    runtime.kubernetes.kubeconfig,
    ...(environment['KUBECONFIG']?.split(delimiter).filter((path) => path !== '') ?? []),
    ...Object.values(secrets.files).map(({ path }) => path),
    ...Object.values(declared).map(({ folder }) => folder),
    // Beside its folder: it may be a link that leads elsewhere.
    ...(audit.sinks ?? []).map((sink) => (sink.type === 'file' ? sink.path : undefined)),
  ]
  return named.flatMap((path) => (path === undefined ? [] : [resolve(path)]))
}

/** The folders of audit logs. A full log gets another name, so its folder counts and not the file. */
export function privateFolders({ audit }: Pick<Config, 'audit'>): string[] {
  return (audit.sinks ?? []).flatMap((sink) =>
    sink.type === 'file' && sink.path !== undefined ? [dirname(resolve(sink.path))] : [],
  )
}
