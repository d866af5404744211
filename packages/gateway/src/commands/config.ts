import type { Config } from '../config/config.ts'
import { defined } from '../lib/defined.ts'
import { maskPostgresUrl } from '../lib/postgres-url.ts'
import { say } from './say.ts'

export function printConfig(config: Config): number {
  return say(`${JSON.stringify(withoutSecrets(config), null, 2)}\n`)
}

function withoutSecrets({ sessions, secrets, audit, store, ...config }: Config): object {
  const hidden = (values: object): object =>
    Object.fromEntries(Object.keys(values).map((name) => [name, '[secret]']))
  const sinks = audit.sinks?.map((sink) =>
    sink.type === 'otlp' ? { ...sink, headers: hidden(sink.headers) } : sink,
  )
  const url = store.url === undefined ? undefined : maskPostgresUrl(store.url)
  const masked = (keys: readonly string[]): string[] => keys.map(() => '[secret]')

  return {
    ...config,
    sessions: { keys: masked(sessions.keys) },
    secrets: { ...secrets, keys: masked(secrets.keys) },
    store: { ...store, ...defined({ url }) },
    audit: { ...audit, ...defined({ sinks }) },
  }
}
